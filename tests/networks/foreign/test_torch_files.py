import argparse
import io
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.networks.cnn6 import CNN6
from coppice.networks.cp_mobile import CPMobile
from coppice.networks.foreign.torch_files import import_torch, read_torch

ZIP_AND_LEGACY = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def state():
    return {
        "layer.weight": torch.randn(30, 20),
        "layer.bias": torch.randn(30).half(),
        "norm.num_batches_tracked": torch.tensor(7),
        "empty": torch.empty(0, 3),
    }


def written(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def saved_bytes(content, zipped=True):
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def equal(first, second):
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


@ZIP_AND_LEGACY
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state_dict"])
def test_named_tensors_come_out_bit_for_bit(tmp_path, zipped, wrapper):
    tensors = state()
    content = tensors if wrapper is None else {wrapper: tensors, "iteration": 600_000}
    found, rest = read_torch(written(tmp_path / "weights.pth", content, zipped))
    assert equal(found, tensors)
    assert rest == ({} if wrapper is None else {"iteration": 600_000})


@ZIP_AND_LEGACY
def test_the_tensors_do_not_hang_on_the_file(tmp_path, zipped):
    tensors = state()
    path = written(tmp_path / "weights.pth", tensors, zipped)
    found = read_torch(path).state
    path.write_bytes(bytes(path.stat().st_size))
    assert equal(found, tensors)


@ZIP_AND_LEGACY
def test_views_transposed_and_tied_tensors_and_parameters_come_out_whole(tmp_path, zipped):
    base = torch.randn(6, 4)
    tensors = {"view": base[1:3], "turned": base.T, "first": base, "second": base, "parameter": nn.Parameter(base)}
    found = read_torch(written(tmp_path / "weights.pth", tensors, zipped)).state
    assert equal(found, {name: tensor.detach() for name, tensor in tensors.items()})
    found["first"].zero_()
    assert torch.equal(found["second"], base)


@ZIP_AND_LEGACY
def test_a_lightning_checkpoint_gives_its_plain_values_and_nothing_else(tmp_path, zipped):
    content = {
        "state_dict": state(),
        "epoch": 3,
        "hyper_parameters": {
            "lr": 0.005,
            "strides": {"b2": (1, 1)},
            "config": argparse.Namespace(name="baseline"),
            "folder": pathlib.Path("some/where"),
        },
        "callbacks": {"best": np.float64(0.5), "scores": np.arange(3.0), "seed": np.int64(1)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    }
    found, rest = read_torch(written(tmp_path / "last.ckpt", content, zipped))
    assert equal(found, content["state_dict"])
    assert (rest["epoch"], rest["hyper_parameters"]) == (3, {"lr": 0.005, "strides": {"b2": (1, 1)}})
    assert "Namespace" not in repr(rest) and "exp_avg" not in repr(rest)


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@ZIP_AND_LEGACY
@pytest.mark.parametrize(
    "function, arguments, named",
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open('{}', 'w')",), "eval"),
        (exec, ("open('{}', 'w')",), "exec"),
        (bytearray, (10**12,), "bytearray"),  # torch.load(weights_only=True) would fill the memory
        (torch.Tensor, (10**12,), "Tensor"),
    ],
)
def test_a_file_that_names_code_is_refused_and_nothing_runs(tmp_path, zipped, function, arguments, named):
    mark = tmp_path / "ran"
    arguments = tuple(part.format(mark) if isinstance(part, str) else part for part in arguments)
    path = written(tmp_path / "evil.pth", {"model": state(), "extra": Evil(function, *arguments)}, zipped)
    with pytest.raises(CoppiceError, match=named):
        read_torch(path)
    assert not mark.exists()


@ZIP_AND_LEGACY
def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path, zipped):
    path = written(tmp_path / "network.pt", nn.Sequential(nn.Conv2d(1, 3, 3)), zipped)
    with pytest.raises(CoppiceError, match=r"whole pickled network.*torch\.save\(network\.state_dict\(\)"):
        read_torch(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path):
    torch.jit.trace(nn.Linear(2, 3), torch.zeros(1, 2)).save(tmp_path / "script.pt")
    with pytest.raises(CoppiceError, match="TorchScript"):
        read_torch(tmp_path / "script.pt")


@pytest.mark.parametrize(
    "content, words",
    [
        ({"model": {"weight": 3}}, "a int under 'weight'"),
        ({"model": {3: torch.zeros(2)}}, "under 3"),
        ({"model": {"weight": argparse.Namespace(a=1)}}, "placeholder"),
        ({"iteration": 1, "net": {}}, "'iteration'"),
        ({"model": {}}, "no tensors"),
        ([torch.zeros(2)], "a list"),
        (torch.zeros(2), "a Tensor"),
        ({"weight": torch.eye(3).to_sparse()}, "sparse"),
        ({"weight": torch.empty(10**12, device="meta")}, "meta"),
        ({"weight": torch.zeros(1).expand(10**12)}, "other sizes than it claims"),
    ],
)
@ZIP_AND_LEGACY
def test_what_is_not_named_dense_tensors_is_refused(tmp_path, content, words, zipped):
    with pytest.raises(CoppiceError, match=words):
        read_torch(written(tmp_path / "odd.pth", content, zipped))


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"a text file, not weights", "begins with"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "begins with"),
        (pickle.dumps({"weight": [1.0]}), "not a file of torch.save"),
        (pickle.dumps({"weight": [1.0]}, protocol=2), "not a file of torch.save"),
        (saved_bytes({"a": torch.zeros(3)}, zipped=False)[:9], "is a pickle|ends after 9 bytes"),
        (b"PK\x03\x04", "not a whole file"),
    ],
)
def test_another_kind_of_file_is_refused_in_one_sentence(tmp_path, content, words):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(CoppiceError, match=words):
        read_torch(tmp_path / "file.pth")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(CoppiceError, match="no such file"):
        read_torch(tmp_path / "none.pth")
    with pytest.raises(CoppiceError, match="folder"):
        read_torch(tmp_path)


def test_another_zip_archive_is_refused(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    with pytest.raises(CoppiceError, match=r"no data\.pkl"):
        read_torch(tmp_path / "arrays.npz")


def test_another_pickle_protocol_is_refused_by_name(tmp_path):
    torch.save(state(), tmp_path / "new.pth", pickle_protocol=4)
    with pytest.raises(CoppiceError, match="pickle protocol 2"):
        read_torch(tmp_path / "new.pth")


@ZIP_AND_LEGACY
def test_every_truncation_is_refused(tmp_path, zipped):
    content = saved_bytes({"model": {"weight": torch.randn(3)}}, zipped)
    path = tmp_path / "cut.pth"
    for length in [*range(1, len(content), 7), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(CoppiceError):
            read_torch(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    with (
        zipfile.ZipFile(io.BytesIO(saved_bytes(state()))) as original,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in original.infolist():
            bomb.writestr(entry.filename, original.read(entry))
        bomb.writestr("archive/data/9", bytes(10**7))
    assert (tmp_path / "bomb.pth").stat().st_size < 10**5
    with pytest.raises(CoppiceError, match="compressed"):
        read_torch(tmp_path / "bomb.pth")


# The 600 values of the largest tensor, as the description writes them: BININT2; and 2**30 as BININT.
HONEST, GREEDY = b"M" + struct.pack("<H", 600), b"J" + struct.pack("<i", 2**30)


def test_a_description_that_claims_more_than_a_zip_holds_is_refused(tmp_path):
    path = tmp_path / "greedy.pth"
    with zipfile.ZipFile(io.BytesIO(saved_bytes(state()))) as original, zipfile.ZipFile(path, "w") as greedy:
        for entry in original.infolist():
            content = original.read(entry)
            greedy.writestr(
                entry.filename, content.replace(HONEST, GREEDY) if "data.pkl" in entry.filename else content
            )
    with pytest.raises(CoppiceError, match="other sizes than it claims"):
        read_torch(path)


def test_a_description_that_claims_more_than_a_legacy_file_holds_is_refused(tmp_path):
    content = saved_bytes(state(), zipped=False)
    (tmp_path / "greedy.pth").write_bytes(content.replace(HONEST, GREEDY))
    with pytest.raises(CoppiceError, match=r"promises 42949\d+ bytes"):
        read_torch(tmp_path / "greedy.pth")


ORIGINALS = {
    zipped: saved_bytes({"model": CNN6(widths=(1, 1, 1, 1), dense=1, classes=2, bands=16).state_dict()}, zipped)
    for zipped in (True, False)
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    zipped=st.booleans(),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 12)), max_size=4
    ),
)
def test_a_damaged_file_loads_or_is_refused_but_nothing_else_happens(tmp_path_factory, zipped, changes):
    content = ORIGINALS[zipped]
    for place, inserted, removed in changes:
        start = int(place * len(content))
        content = content[:start] + inserted + content[start + removed :]
    path = tmp_path_factory.mktemp("damaged") / "weights.pth"
    path.write_bytes(content)
    try:
        import_torch(path)
    except CoppiceError as error:
        assert str(path) in str(error)


def test_networks_are_recognised_by_their_tensors(tmp_path):
    panns = CNN6(widths=(1, 2, 3, 4), dense=5, classes=6).state_dict()
    baseline = {f"model.{name}": tensor for name, tensor in CPMobile(base_channels=8).state_dict().items()}
    assert import_torch(written(tmp_path / "a.pth", {"model": panns})).network.config()["widths"] == [1, 2, 3, 4]
    assert type(import_torch(written(tmp_path / "b.ckpt", {"state_dict": baseline})).network) is CPMobile


def test_an_unknown_network_is_refused_with_what_is_supported(tmp_path):
    path = written(tmp_path / "mine.pth", nn.Linear(2, 3).state_dict())
    with pytest.raises(CoppiceError, match=r"mine\.pth: its tensors, 'weight', 'bias', .* E-PANNs .* baselines"):
        import_torch(path)


def test_a_device_is_refused_where_there_is_one_network(tmp_path):
    path = written(tmp_path / "a.pth", CNN6(widths=(1, 2, 3, 4), dense=5, classes=6).state_dict())
    with pytest.raises(CoppiceError, match="leave device out"):
        import_torch(path, device="a")

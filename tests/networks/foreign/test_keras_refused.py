import copy
import json
import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.networks.foreign import own_process
from coppice.networks.foreign.keras import import_model, read_keras
from coppice.networks.foreign.keras_file import read_file
from coppice.networks.foreign.own_process import MEMORY_BYTES, read_apart


def random_weights(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32) * 0.3


def norm_weights(channels, seed=0):
    values = np.random.default_rng(seed).uniform(0.5, 1.5, size=(4, channels)).astype(np.float32)
    return dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), values, strict=True))


def conv2d(filters, kernel, channels, seed=0, **config):
    weights = {"kernel": random_weights(*kernel, channels, filters, seed=seed), "bias": random_weights(filters)}
    return ("Conv2D", {"filters": filters, "kernel_size": list(kernel), **config}, weights)


def dense(features, units, seed=0, **config):
    weights = {"kernel": random_weights(features, units, seed=seed), "bias": random_weights(units)}
    return ("Dense", {"units": units, **config}, weights)


def start(*shape, key="batch_input_shape"):
    return ("InputLayer", {key: [None, *shape]}, {})


def refused(path):
    with pytest.raises(CoppiceError) as caught:
        read_keras(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


SMALL = [start(4, 4, 1), conv2d(2, (3, 3), 1), ("Flatten", {}, {}), dense(8, 2, activation="softmax")]

RICH = [
    start(12, 3),
    (
        "Conv1D",
        {"filters": 4, "kernel_size": [3], "strides": [2], "dilation_rate": [1], "groups": 1, "padding": "causal"},
        {"kernel": random_weights(3, 3, 4), "bias": random_weights(4)},
    ),
    ("BatchNormalization", {"axis": [2], "epsilon": 0.01, "momentum": 0.9, "scale": True}, norm_weights(4)),
    ("LeakyReLU", {"alpha": 0.1}, {}),
    ("ZeroPadding1D", {"padding": [1, 2]}, {}),
    ("AveragePooling1D", {"pool_size": 2, "strides": None, "padding": "same"}, {}),
    ("Dropout", {"rate": 0.4}, {}),
    ("Reshape", {"target_shape": [-1]}, {}),
    dense(20, 5, activation="elu"),
    ("ReLU", {"max_value": 6, "negative_slope": 0.0, "threshold": 0.0}, {}),
    dense(5, 2, activation="softmax"),
]


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (("SeparableConv2D", {"filters": 2}, {}), "layer 'odd' (SeparableConv2D)"),
        (("LSTM", {"units": 3}, {}), "supported are"),
        (("Conv2D", {"filters": 2, "kernel_size": [3, 3], "data_format": "channels_first"}, {}), "channels_first"),
        (("BatchNormalization", {"axis": 1}, norm_weights(4)), "axis 1"),
        (("Activation", {"activation": "softmax"}, {}), "a softmax over a map"),
        (("Activation", {"activation": "sine"}, {}), "'sine'"),
        (("Dense", {"units": 3}, {"kernel": random_weights(1, 3), "bias": random_weights(3)}), "Flatten"),
        (("Reshape", {"target_shape": [2, 8]}, {}), "only a flatten"),
        (("MaxPooling2D", {"pool_size": [9, 9]}, {}), "does not fit"),
        (("LeakyReLU", {"alpha": "a lot"}, {}), "'a lot'"),
        (conv2d(2, (3, 3), 5), "does not fit an input of (1, 4, 4)"),
        (("BatchNormalization", {}, norm_weights(3)), "does not fit 1 channels"),
        (("BatchNormalization", {}, {"gamma": np.ones(1)}), "it has 1 weights"),
    ],
)
def test_a_layer_that_cannot_be_imported_is_named_with_its_type_and_file(layer, words, tmp_path, write_keras):
    kind, config, weights = layer
    path = write_keras(tmp_path / "net.h5", [SMALL[0], (kind, {**config, "name": "odd"}, weights), *SMALL[1:]])
    message = refused(path)
    assert words in message and "odd" in message and kind in message


def test_weights_that_are_not_numbers_are_refused(tmp_path, write_keras):
    kind, config, weights = conv2d(2, (3, 3), 1)
    layer = (kind, config, {**weights, "bias": np.array([1.0, np.nan])})
    assert "not finite" in refused(write_keras(tmp_path / "nan.h5", [SMALL[0], layer, *SMALL[2:]]))


def test_a_branch_is_refused(tmp_path, write_keras):
    path = write_keras(tmp_path / "net.h5", SMALL, functional=True)
    with h5py.File(path, "r+") as file:
        model = json.loads(file.attrs["model_config"])
        model["config"]["layers"][2]["inbound_nodes"] = [[["layer_0", 0, 0, {}]]]
        file.attrs["model_config"] = json.dumps(model)
    assert "only a chain is supported" in refused(path)


def test_weights_alone_say_how_to_save_the_model_whole(tmp_path, write_keras):
    path = write_keras(tmp_path / "weights.h5", SMALL)
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    assert 'model.save("name.h5")' in refused(path)


def test_the_newer_archive_format_says_how_to_save_as_h5(tmp_path):
    path = tmp_path / "net.keras"
    path.write_bytes(b"PK\x03\x04" + bytes(40))
    assert 'model.save("name.h5")' in refused(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_a_file_that_is_no_hdf5_is_refused(content, tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(content)
    refused(path)


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refused(tmp_path / "nowhere.h5")


def replaced_kernel(path, make):
    """Put something else where the kernel of the first convolution stands."""
    with h5py.File(path, "r+") as file:
        group = file["model_weights/layer_1/layer_1_1"]
        del group["kernel:0"]
        make(group)
    return refused(path)


def test_traps_of_hdf5_are_refused_and_open_no_other_file(tmp_path, write_keras):
    other = write_keras(tmp_path / "other.h5", SMALL)
    inside = "model_weights/layer_1/layer_1_1/kernel:0"
    (tmp_path / "raw.bin").write_bytes(bytes(72))

    def virtual(group):
        layout = h5py.VirtualLayout((3, 3, 1, 2), "f4")
        layout[:] = h5py.VirtualSource(str(other), inside, shape=(3, 3, 1, 2))
        group.create_virtual_dataset("kernel:0", layout)

    traps = {
        "link to elsewhere": lambda group: group.__setitem__("kernel:0", h5py.ExternalLink(str(other), inside)),
        "is a link": lambda group: group.__setitem__("kernel:0", h5py.SoftLink("/" + inside)),
        "stands in another file": virtual,
        "another file": lambda group: group.create_dataset(
            "kernel:0", (3, 3, 1, 2), "f4", external=[(str(tmp_path / "raw.bin"), 0, 72)]
        ),
        "claims 4000000000000 bytes": lambda group: group.create_dataset("kernel:0", (10**12,), "f4"),
        "bytes but": lambda group: group.create_dataset(
            "kernel:0", (10**5, 10**5), "f4", chunks=(100, 100), compression="gzip"
        ),
        "holds int32": lambda group: group.create_dataset("kernel:0", data=np.zeros((3, 3, 1, 2), np.int32)),
        "holds object": lambda group: group.create_dataset("kernel:0", data=b"abc"),
        "has no array": lambda group: group.create_group("kernel:0"),
        "packed by filter": lambda group: group.create_dataset(
            "kernel:0", data=np.zeros((3, 3, 1, 2), np.float32), compression="lzf"
        ),
    }
    for words, make in traps.items():
        path = write_keras(tmp_path / "trap.h5", SMALL)
        assert words in replaced_kernel(path, make), words


def test_a_group_that_holds_itself_is_no_trap(tmp_path, write_keras):
    path = write_keras(tmp_path / "round.h5", SMALL)
    with h5py.File(path, "r+") as file:
        file["model_weights/layer_1/again"] = file["model_weights"]
        file["model_weights/layer_1"].attrs["weight_names"] = [b"again/layer_1/" * 50 + b"layer_1_1/kernel:0"] * 2
    assert "layer_1" in refused(path)


def test_many_names_that_are_one_long_text_are_refused(tmp_path, write_keras):
    path = write_keras(tmp_path / "names.h5", SMALL)
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        del group.attrs["layer_names"]
        group.attrs.create("layer_names", ["conv"] * 4_000, dtype=h5py.string_dtype())
    with path.open("ab") as file:
        file.write(bytes(300_000))
    assert "claims more than the file can hold" in refused(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("filters", 10**12, "filters"),
        ("kernel_size", [10**9, 3], "kernel"),
        ("strides", 0, "stride"),
        ("strides", [[1]], "stride"),
        ("padding", "round", "padding"),
        ("groups", -1, "does not fit"),
        ("groups", "two", "does not fit"),
        ("dilation_rate", {}, "dilation"),
        ("use_bias", "yes", "use_bias"),
        ("activation", {"class_name": "function", "config": "os.system"}, "os.system"),
        ("batch_input_shape", [None, None, 4, 1], "(?, 4, 1)"),
        ("name", "half\udcff", "half"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(key, value, words, tmp_path, write_keras):
    path = write_keras(tmp_path / "net.h5", SMALL[1:])
    with h5py.File(path, "r+") as file:
        model = json.loads(file.attrs["model_config"])
        model["config"]["layers"][0]["config"] |= {"batch_input_shape": [None, 4, 4, 1], key: value}
        file.attrs["model_config"] = json.dumps(model)
    message = refused(path)
    assert words in message
    message.encode()


@pytest.fixture(scope="module")
def reader():
    """A process whose only children are those that read: what the system tells is the largest child so far."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as process:
        yield process


@pytest.fixture(scope="module")
def small_file(tmp_path_factory, write_keras):
    return write_keras(tmp_path_factory.mktemp("keras") / "small.h5", SMALL).read_bytes()


@pytest.mark.proof
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_gives_one_plain_error_or_a_network(data, reader, small_file, tmp_path):
    damaged = bytearray(small_file)
    for _ in range(data.draw(st.integers(1, 8), "flips")):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.h5"
    path.write_bytes(damaged)
    began = time.monotonic()
    with suppress(CoppiceError):
        assert reader.submit(read_keras, path).result().network.input_shape == (1, 4, 4)
    assert time.monotonic() - began < 60
    assert reader.submit(resource.getrusage, resource.RUSAGE_CHILDREN).result().ru_maxrss * 1024 < MEMORY_BYTES


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(share, small_file, tmp_path):
    path = tmp_path / "cut.h5"
    path.write_bytes(small_file[: int(share * len(small_file))])
    refused(path)


def test_a_crash_of_the_library_is_one_plain_error(tmp_path):
    path = tmp_path / "net.h5"
    path.write_bytes(b"x")
    with pytest.raises(CoppiceError, match=r"net\.h5 is damaged: the library that reads it crashed"):
        read_apart("faulthandler:_sigsegv", path)


def test_a_reader_that_never_ends_is_stopped(tmp_path, monkeypatch):
    path = tmp_path / "net.h5"
    os.mkfifo(path)  # opening it waits for a writer who never comes
    monkeypatch.setattr(own_process, "WALL_SECONDS", 1.5)
    with pytest.raises(CoppiceError, match=r"net\.h5 cannot be read within 2 s"):
        read_apart("coppice.core.files:file_digest", path)


def places(value, path=()):
    """Return the path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in inner for place in places(child, (*path, key)))]


@pytest.fixture(scope="module")
def files(tmp_path_factory, write_keras):
    folder = tmp_path_factory.mktemp("keras")
    paths = [
        write_keras(folder / f"{position}.h5", layers, functional=position > 1)
        for position, layers in enumerate((SMALL, RICH, SMALL, RICH))
    ]
    return [read_file(path) for path in paths]


ODD = [
    None,
    True,
    0,
    -1,
    2,
    10**30,
    0.5,
    float("nan"),
    "",
    "same",
    "x" * 300,
    "\ud800",
    [],
    [[]],
    [1, 1],
    {},
    {"a": []},
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_an_odd_value_anywhere_in_the_configuration_gives_one_plain_error_or_a_network(data, files):
    file = data.draw(st.sampled_from(files))
    model = json.loads(file.config)
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(places(model)[1:]))
        parent = model
        for key in path:
            parent = parent[key]
        parent[last] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
    try:
        network = import_model(replace(file, config=json.dumps(model)), "odd.h5").network
    except CoppiceError as error:
        assert "odd.h5" in str(error) and "\n" not in str(error) and len(str(error)) < 2_000
        str(error).encode()
    else:
        with torch.no_grad():
            assert network(torch.zeros(1, *network.input_shape)).ndim == 2


def test_a_deeply_nested_configuration_is_refused(files):
    for depth in (500, 900, 990, 100_000):
        text = '{"class_name": "Sequential", "config": [' + "[" * depth + "]" * depth + "]}"
        with pytest.raises(CoppiceError, match=r"deep\.h5 is damaged"):
            import_model(replace(files[0], config=text), "deep.h5")

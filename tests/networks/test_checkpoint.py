import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.networks.checkpoint import load, save, serialise
from coppice.networks.classifier import Classifier
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.prune import prune
from coppice.quantization.rounding import quantize


class Separable(nn.Module):
    """A user's network: grouped and depthwise convolutions, one without bias, tied weights."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(16, 12, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.head = nn.Linear(6, 3)
        self.same = nn.Linear(6, 3)
        self.same.weight = self.head.weight

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.up(torch.relu(self.grouped(torch.relu(self.depth(x)))))).mean((2, 3))
        return self.head(x) + self.same(x)


def edited(path, target, **changes):
    """Copy a checkpoint with some entries of its header set, or left out where the value is None."""
    tensors = load_file(path)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["coppice"])
    header |= changes
    text = json.dumps({key: value for key, value in header.items() if value is not None})
    save_file(tensors, target, metadata={"coppice": text})
    return target


@pytest.fixture
def file(classifier, tmp_path):
    return save(classifier, tmp_path / "net.safetensors")


def refusal(path, **options) -> str:
    """Return the one plain sentence with which a file is refused."""
    with pytest.raises(CoppiceError) as caught:
        load(path, **options)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and len(text) < 600 + len(str(path))
    return text


def test_a_loaded_classifier_has_the_same_logits_bit_for_bit(classifier, file, log_mel):
    again = load(file)
    assert torch.equal(again.logits(log_mel), classifier.logits(log_mel))
    assert (again.labels, again.lineage, again.metrics) == (classifier.labels, classifier.lineage, classifier.metrics)
    assert again.front_end == classifier.front_end and again.stored_as == "float32"
    assert not again.network.training and again.network.config() == classifier.network.config()


def test_saving_leaves_the_classifier_as_it_is(classifier, tmp_path):
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    classifier.network.train()
    save(replace(classifier, stored_as="float16"), tmp_path / "net.safetensors")
    assert classifier.network.training
    for name, tensor in classifier.network.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype, name


def test_the_same_classifier_gives_the_same_bytes(classifier, file):
    assert serialise(load(file)) == file.read_bytes() == serialise(classifier)


def test_a_network_in_channels_last_is_stored_alike(classifier, log_mel, tmp_path):
    expected = classifier.logits(log_mel)
    classifier.network.to(memory_format=torch.channels_last)
    assert torch.equal(load(save(classifier, tmp_path / "net")).logits(log_mel), expected)


def test_float16_halves_the_tensors_and_equals_rounding(classifier, log_mel, tmp_path):
    wide = save(classifier, tmp_path / "wide.safetensors")
    half = save(quantize(classifier), tmp_path / "half.safetensors")

    def network_bytes(path):
        return sum(
            t.numel() * t.element_size()
            for name, t in load_file(path).items()
            if name.startswith("network.") and t.is_floating_point()
        )

    assert network_bytes(half) * 2 == network_bytes(wide)
    for name, tensor in load(half).network.state_dict().items():
        original = classifier.network.state_dict()[name]
        expected = original.half().float() if original.is_floating_point() else original
        assert tensor.dtype == expected.dtype and torch.equal(tensor, expected), name
    assert torch.equal(load(half).logits(log_mel), quantize(classifier).logits(log_mel))


def test_the_normalisation_stays_float32_in_a_float16_file(classifier, tmp_path):
    again = load(save(quantize(classifier), tmp_path / "half.safetensors"))
    assert torch.equal(again.band_mean, classifier.band_mean) and torch.equal(again.band_std, classifier.band_std)


def test_a_parameter_beyond_float16_is_refused_by_name(classifier):
    with torch.no_grad():
        classifier.network.conv2.bias[1] = 1e6
    with pytest.raises(CoppiceError, match=r"'conv2.bias' holds values that float16 cannot \(1e\+06"):
        serialise(replace(classifier, stored_as="float16"))


def test_an_unknown_number_format_is_refused(classifier):
    with pytest.raises(CoppiceError, match="cannot be stored as 'int8'"):
        serialise(replace(classifier, stored_as="int8"))


def test_a_pruned_registered_network_loads_with_nothing_but_the_file(classifier, log_mel, tmp_path):
    plan = PruningPlan(None, (LayerPlan("conv2", 3, (0, 2)), LayerPlan("conv3", 5, (1, 2, 4))))
    small = prune(classifier, plan)
    again = load(save(small, tmp_path / "small.safetensors"))
    assert again.network.config()["widths"] == [4, 2, 3]
    assert torch.equal(again.logits(log_mel), small.logits(log_mel))


@pytest.mark.parametrize("factory", [Separable, lambda: Separable().half(), lambda: Separable().train()])
def test_a_pruned_network_of_a_users_class_loads_with_that_class(classifier, log_mel, tmp_path, factory):
    mine = replace(classifier, network=Separable().eval())
    plan = PruningPlan(
        None,
        (
            LayerPlan("stem", 8, (0, 2, 4, 6)),
            LayerPlan("grouped", 12, (0, 1, 3, 4, 6, 7, 9, 10)),
            LayerPlan("up", 6, (1, 5)),
        ),
    )
    small = prune(mine, plan)
    again = load(save(small, tmp_path / "small.safetensors"), network=factory).network
    assert (again.stem.out_channels, again.norm.num_features) == (4, 4)
    assert (again.depth.in_channels, again.depth.out_channels, again.depth.groups) == (4, 8, 4)
    assert (again.grouped.in_channels, again.grouped.out_channels, again.grouped.groups) == (8, 8, 4)
    assert (again.up.in_channels, again.up.out_channels) == (8, 2)
    assert again.head.in_features == 2
    assert torch.equal(replace(small, network=again).logits(log_mel), small.logits(log_mel))


def test_a_depthwise_convolution_pruned_to_one_channel_loads(classifier, log_mel, tmp_path):
    def network():
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    small = prune(replace(classifier, network=network().eval()), PruningPlan(None, (LayerPlan("0", 4, (2,)),)))
    again = load(save(small, tmp_path / "small.safetensors"), network=network)
    assert again.network[1].groups == small.network[1].groups == 1
    assert torch.equal(again.logits(log_mel), small.logits(log_mel))


def test_loading_leaves_the_global_random_state_alone(classifier, file, tmp_path):
    mine = save(replace(classifier, network=Separable()), tmp_path / "mine.safetensors")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load(file)
    load(mine, network=Separable)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("network, words", [(Separable(), "give the class"), (lambda: 5, "returned a int")])
def test_what_builds_no_network_is_refused(file, network, words):
    assert words in refusal(file, network=network)


def test_a_network_of_other_sizes_than_its_labels_is_not_saved(classifier, tmp_path):
    with pytest.raises(CoppiceError, match="built for 3 classes but front end and labels give 2"):
        save(replace(classifier, labels=("bus", "park")), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_users_class_is_asked_for_and_never_imported(classifier, tmp_path):
    path = save(replace(classifier, network=Separable()), tmp_path / "mine.safetensors")
    assert "load(path, network=YourClass)" in refusal(path)
    (tmp_path / "planted.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    edited(path, tmp_path / "planted.safetensors", network={"class": "planted.Network"})
    code = "import sys; from coppice.networks.checkpoint import load; load(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, "planted.safetensors"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "planted.Network" in done.stderr and "CoppiceError" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_another_class_than_the_files_is_refused_by_tensor(classifier, tmp_path):
    path = save(replace(classifier, network=Separable()), tmp_path / "mine.safetensors")
    assert "Linear does not fit the checkpoint" in refusal(path, network=lambda: nn.Linear(2, 3))

    class Flat(Separable):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv1d(1, 8, 3, bias=False)

    assert "'stem.weight' has 3 dimensions in the class and 4 in the file" in refusal(path, network=Flat)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "nowhere.safetensors")
    assert "it is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_refused(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    assert "not a whole checkpoint" in refusal(file)


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b"RIFF this is a sound and no network " * 9,
        (2**63 - 1).to_bytes(8, "little"),
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (9).to_bytes(8, "little") + b"[" * 9,
        bytes(64),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    refusal(path)


def test_another_programs_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    assert "not a Coppice checkpoint" in refusal(path)
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a Coppice checkpoint" in refusal(path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused(file, tmp_path, version):
    assert f"format version {version!r}" in refusal(edited(file, tmp_path / "v", version=version))


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"version": ' + "1" * 5000 + "}"])
def test_a_header_that_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "damaged.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"coppice": text})
    refusal(path)


BASE = {"classes": 3, "bands": 40, "frames": 25, "dropout": 0.3, "dense": 6}
NAME = "dcase2021"


@pytest.mark.parametrize(
    "changes",
    [
        {"network": None},
        {"network": 5},
        {"network": {"name": "nonesuch", "config": {}}},
        {"network": {"name": ["dcase2021"], "config": {}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [4, 4, 5]}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": "445"}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [10**9] * 3}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [65_536] * 3, "dense": 65_536}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [4, 3, 5], "bands": 10**12}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [4, 3, 5], "frames": 10**30}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [4, 3, 5], "frames": 50}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [4, 3, 5], "classes": 10**400}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [4, 3, 5], "name": "x"}}},
        {"network": {"name": NAME, "config": {**BASE, "widths": [4, 3, 5], "dropout": "x"}}},
        {"network": {"name": NAME, "config": []}},
        {"front_end": None},
        {"front_end": {"version": 1}},
        {"front_end": []},
        {"labels": None},
        {"labels": 7},
        {"labels": ["bus", "park"]},
        {"labels": ["bus", "bus", "park"]},
        {"labels": "abc"},
        {"lineage": None},
        {"lineage": 3},
        {"lineage": "abc"},
        {"metrics": None},
        {"metrics": 3},
        {"stored_as": None},
        {"stored_as": "int4"},
        {"stored_as": []},
    ],
)
def test_a_header_that_does_not_go_with_the_tensors_is_refused(file, tmp_path, changes):
    assert "cannot load" in refusal(edited(file, tmp_path / "edited.safetensors", **changes))


@pytest.mark.parametrize("groups", [5, {"depth": 10**9}, {"depth": 0}, {"depth": -8}, {"depth": "8"}, {"depth": 3}])
def test_groups_that_do_not_go_with_the_tensors_are_refused(classifier, tmp_path, groups):
    path = save(replace(classifier, network=Separable()), tmp_path / "mine.safetensors")
    edited(path, tmp_path / "edited.safetensors", groups=groups)
    refusal(tmp_path / "edited.safetensors", network=Separable)


@pytest.mark.parametrize(
    "name, tensor",
    [
        ("network.conv1.weight", torch.zeros(4, 1, 7, 6)),
        ("network.conv1.weight", torch.zeros(4, 1, 7, 7, dtype=torch.int32)),
        ("network.conv1.weight", torch.zeros(4, 1, 7, 7, dtype=torch.complex64)),
        ("network.bn1.running_var", torch.zeros(4, dtype=torch.int64)),
        ("network.extra", torch.zeros(1)),
        ("band_mean", torch.zeros(39)),
        ("band_std", torch.zeros(40, 1)),
        ("band_std", torch.zeros(40)),
        ("band_mean", torch.full((40,), float("nan"))),
        ("network.bn2.bias", None),
        ("band_std", None),
    ],
)
def test_tensors_that_do_not_go_with_the_header_are_refused(file, tmp_path, name, tensor):
    tensors = load_file(file) | {name: tensor}
    if tensor is None:
        del tensors[name]
    raw = file.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
    path = tmp_path / "edited.safetensors"
    save_file(tensors, path, metadata=header)
    refusal(path)


def test_hostile_widths_allocate_nothing(file, tmp_path):
    config = {**BASE, "widths": [65_536] * 3, "dense": 65_536}  # 800 GB, were it built
    path = edited(file, tmp_path / "huge.safetensors", network={"name": NAME, "config": config})
    assert "should have shape (65536, 1, 7, 7) but is (4, 1, 7, 7)" in refusal(path)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_plainly_or_loads(whole, tmp_path_factory, data):
    damaged = bytearray(whole)
    header_end = 8 + int.from_bytes(whole[:8], "little")
    anywhere = st.one_of(st.integers(0, header_end), st.integers(0, len(whole) - 1))  # most of it is tensors
    for _ in range(data.draw(st.integers(0, 4), label="flips")):
        damaged[data.draw(anywhere, label="where")] = data.draw(st.integers(0, 255), label="byte")
    end = data.draw(st.one_of(st.just(len(whole)), anywhere), label="end")
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(damaged[:end])
    try:
        assert isinstance(load(path), Classifier)
    except CoppiceError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def whole():
    from coppice.audio.front_end import front_end
    from coppice.networks.dcase2021 import DCASE2021

    torch.manual_seed(0)
    return serialise(
        Classifier(
            network=DCASE2021(widths=(1, 1, 1), dense=2, classes=2, frames=25),
            front_end=front_end("dcase2021", duration_s=0.5),
            labels=("bus", "park"),
            band_mean=torch.zeros(40),
            band_std=torch.ones(40),
        )
    )


def test_loaded_tensors_begin_where_vectors_do_so_that_kernels_add_up_as_before(file):
    loaded = load(file)
    tensors = [*loaded.network.state_dict().values(), loaded.band_mean, loaded.band_std]
    assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors)

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.front_end import front_end
from coppice.complexity.params import count_params
from coppice.core.errors import CoppiceError
from coppice.networks.cp_mobile import CPMobile
from coppice.networks.foreign.lightning import SCENES, from_lightning
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune

# What the baselines hand to Lightning, as far as it concerns features (repository CPJKU/dcase2024_task1_baseline).
HYPER = {
    "sample_rate": 32000,
    "window_length": 3072,
    "hop_length": 500,
    "n_fft": 4096,
    "n_mels": 256,
    "f_min": 0,
    "f_max": None,
    "n_classes": 10,
    "base_channels": 32,
    "lr": 0.005,
}


def trained(**config) -> CPMobile:
    network = CPMobile(**{"base_channels": 8, **config})
    for tensor in network.state_dict().values():
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def under(root: str, network: CPMobile) -> dict[str, torch.Tensor]:
    return {f"{root}{name}": tensor for name, tensor in network.state_dict().items()}


def frozen() -> dict[str, torch.Tensor]:
    ear = front_end("dcase2024", duration_s=1.0)
    return {
        "mel.1.spectrogram.window": torch.hann_window(3072),
        "mel.1.mel_scale.fb": torch.from_numpy(ear.filterbank().T.copy()).float(),
    }


@pytest.fixture
def clips():
    return torch.randn(3, 1, 64, 33)


@pytest.fixture
def devices():
    """A device-specific checkpoint of 2025: a base network and one for each training device."""
    networks = {name: trained() for name in (None, "a", "b", "s1")}
    state = under("multi_device_model.base_model.", networks[None])
    for name in ("a", "b", "s1"):
        state |= under(f"multi_device_model.device_models.{name}.", networks[name])
    return networks, state


@pytest.mark.parametrize("root", ["model.", ""])
def test_a_checkpoint_of_2024_gives_the_network_with_its_front_end_and_labels(root, clips):
    network = trained()
    imported = from_lightning({**frozen(), **under(root, network)}, hyper={})
    assert torch.equal(imported.network(clips), network(clips))
    assert not imported.network.training
    assert imported.front_end == front_end("dcase2024", duration_s=1.0) and imported.normalised
    assert imported.labels == SCENES and list(SCENES) == sorted(SCENES)
    assert (imported.format, imported.score, imported.notes) == ("dcase2024-lightning", "softmax", ())
    assert imported.network.input_shape == (1, *imported.front_end.shape) == (1, 256, 65)


def test_the_published_widths_take_the_published_bytes():
    imported = from_lightning(under("model.", CPMobile().half()), hyper=HYPER)
    assert imported.stored_bytes == {"float16": 122_296}
    assert all(p.dtype == torch.float32 for p in imported.network.parameters())
    assert count_params(imported.network, torch.zeros(1, 1, 256, 65)).trainable == 61_148
    assert imported.layer_names["stages.s2.b5.block.1.0"] == "model.stages.s2.b5.block.1.0"
    assert imported.layer_names["feed_forward.1"] == "model.feed_forward.1"


def test_bytes_are_counted_by_number_format():
    state = under("model.", trained())
    name = "model.stages.s1.b1.block.0.0.weight"
    state[name] = state[name].half()
    stored = from_lightning(state, hyper={}).stored_bytes
    params = sum(p.numel() for p in trained().parameters())
    assert stored == {"float16": 2 * state[name].numel(), "float32": 4 * (params - state[name].numel())}


def test_a_pruned_checkpoint_keeps_its_widths(clips):
    network = trained()
    example = clips[:1]
    pruned = prune(network, plan(network, "l1", ratios=0.4, example=example), example=example)
    imported = from_lightning(under("model.", pruned), hyper=HYPER)
    for key in ("stem", "widths", "expanded", "shortcuts"):
        assert imported.network.config()[key] == pruned.config()[key]
    assert torch.equal(imported.network(clips), pruned(clips))


def test_the_callers_tensors_stay_theirs():
    state = under("model.", trained())
    imported = from_lightning(state, hyper={})
    before = copy.deepcopy(state)
    with torch.no_grad():
        for parameter in imported.network.parameters():
            parameter.zero_()
    assert all(torch.equal(state[name], before[name]) for name in state)
    assert all(parameter.requires_grad for parameter in imported.network.parameters())


def test_without_a_device_the_base_network_is_taken_and_the_others_are_named(devices, clips):
    networks, state = devices
    imported = from_lightning(state, hyper=HYPER)
    assert torch.equal(imported.network(clips), networks[None](clips))
    assert imported.format == "dcase2025-lightning"
    assert "'a', 'b', 's1'" in imported.notes[0] and "device='a'" in imported.notes[0]
    assert imported.layer_names["in_c.0.0"] == "multi_device_model.base_model.in_c.0.0"


@pytest.mark.parametrize("device", ["a", "b", "s1"])
def test_a_device_chooses_its_network(devices, clips, device):
    networks, state = devices
    imported = from_lightning(state, hyper=HYPER, device=device)
    assert torch.equal(imported.network(clips), networks[device](clips))
    assert imported.notes == (f"This is the network for recordings of device {device}.",)


def test_a_device_that_is_not_there_is_refused(devices):
    _, state = devices
    with pytest.raises(CoppiceError, match="for 'a', 'b', 's1' but none for 's2'; leave device out"):
        from_lightning(state, hyper={}, device="s2")
    with pytest.raises(CoppiceError, match="one network for all devices and none for 'a'; leave device out"):
        from_lightning(under("model.", trained()), hyper={}, device="a")
    only = {name: tensor for name, tensor in state.items() if ".base_model." not in name}
    with pytest.raises(CoppiceError, match="no base network, only one for each of 'a', 'b', 's1'; give device='a'"):
        from_lightning(only, hyper={})


def test_another_number_of_classes_has_no_labels():
    assert from_lightning(under("model.", trained(classes=4)), hyper={}).labels is None


@pytest.mark.parametrize("key, value, words", [("n_mels", 128, "n_mels 128, not 256"), ("f_max", 14000, "f_max 14000")])
def test_other_features_than_the_published_ones_leave_the_front_end_open(key, value, words):
    imported = from_lightning(under("model.", trained()), hyper={**HYPER, key: value})
    assert imported.front_end is None and not imported.normalised
    assert words in imported.notes[0]


def test_sizes_of_other_features_are_those_of_the_hyper_parameters():
    imported = from_lightning(under("model.", trained()), hyper={**HYPER, "n_mels": 128, "hop_length": 320})
    assert imported.network.input_shape == (1, 128, 101)


@pytest.mark.parametrize("name", ["mel.1.mel_scale.fb", "mel.1.spectrogram.window", "mel.mel_scale.fb"])
def test_a_frozen_front_end_is_checked_against_ours(name):
    state = under("model.", trained()) | frozen()
    state["mel.mel_scale.fb"] = state["mel.1.mel_scale.fb"].clone()
    assert from_lightning(state, hyper=HYPER).front_end is not None
    state[name] = state[name] * 1.01
    imported = from_lightning(state, hyper=HYPER)
    assert imported.front_end is None and f"other values in {name}" in imported.notes[0]
    state[name] = state[name][:-1]
    assert f"{name} of shape" in from_lightning(state, hyper=HYPER).notes[0]


def test_strides_of_the_hyper_parameters_are_used(clips):
    strides = {"b2": (1, 1), "b3": (2, 2), "b9": (1, 1)}
    network = trained(strides={"b3": (2, 2)})
    imported = from_lightning(under("model.", network), hyper={"strides": strides})
    assert torch.equal(imported.network(clips), network(clips))
    with pytest.raises(CoppiceError, match="stride 'x' in b3"):
        from_lightning(under("model.", network), hyper={"strides": {"b3": "x"}})


def test_other_blocks_than_the_published_ones_are_imported_with_a_note():
    imported = from_lightning(under("model.", trained(blocks=(2, 2))), hyper={})
    assert imported.network.config()["blocks"] == [2, 2]
    assert "does not hold the strides" in imported.notes[0]


def test_what_does_not_belong_to_the_network_is_left_aside_and_named():
    state = under("model.", trained()) | {"teacher.fc.weight": torch.zeros(3)}
    assert from_lightning(state, hyper={}).notes == ("Left aside: the tensors under 'teacher'.",)


def broken(state: dict, name: str, value: object) -> dict:
    return {**state, f"model.{name}": value}


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: {}, "it begins with nothing"),
        (lambda s: {"fc1.weight": torch.zeros(2)}, "it begins with 'fc1.weight'"),
        (lambda s: {f"student.{name}": t for name, t in s.items()}, "under 'model.' or 'multi_device_model.'"),
        (lambda s: s | under("", trained()), "the same network under 'model.' and ''"),
        (lambda s: broken(s, "stages.s1.b1.block.2.0.weight", 3), "is a int, not a tensor"),
        (lambda s: broken(s, "feed_forward.1.weight", torch.zeros(10).bool()), "is bool, strided, on cpu"),
        (lambda s: broken(s, "feed_forward.1.weight", torch.zeros(10).to_sparse()), "sparse"),
        (lambda s: broken(s, "feed_forward.1.weight", torch.zeros(10, device="meta")), "on meta"),
        (lambda s: broken(s, "feed_forward.1.weight", torch.full((10,), torch.nan)), "NaN or infinity"),
        (
            lambda s: broken(s, "feed_forward.1.weight", torch.zeros(9)),
            r"shape \(9,\) where its neighbours need \(10,\)",
        ),
        (lambda s: broken(s, "in_c.0.0.weight", torch.zeros(2, 3, 3, 3)), r"need \(2, 1, 3, 3\)"),
        (lambda s: broken(s, "in_c.0.0.weight", torch.zeros(18)), "no 2-D convolution"),
        (lambda s: broken(s, "in_c.0.0.weight", torch.zeros(0, 1, 3, 3)), "cannot have 0 units"),
        (lambda s: broken(s, "stages.s2.b5.se.fc.weight", torch.zeros(2)), "'model.stages.s2.b5.se.fc.weight'"),
        (lambda s: broken(s, "stages.s1.b9.block.0.0.weight", torch.zeros(2)), "not numbered through"),
        (lambda s: broken(s, "stages.s3.b1.block.0.0.weight", torch.zeros(2)), "two stages"),
        (lambda s: {n: t for n, t in s.items() if ".s2." not in n}, "not numbered through"),
        (lambda s: {n: t for n, t in s.items() if "running_var" not in n}, "no tensor 'model.in_c.0.1.running_var'"),
        (
            lambda s: {n: t for n, t in s.items() if "feed_forward.0" not in n},
            "no tensor 'model.feed_forward.0.weight'",
        ),
    ],
)
def test_a_checkpoint_that_is_none_of_these_is_refused_with_the_tensor_named(change, words):
    with pytest.raises(CoppiceError, match=words) as caught:
        from_lightning(change(under("model.", trained())), hyper={})
    assert len(str(caught.value)) < 400


def test_a_shape_that_is_only_claimed_is_refused_before_memory_is_taken():
    state = under("model.", trained())
    state["model.in_c.0.0.weight"] = torch.zeros(1).expand(2**20, 2**20, 3, 3)
    with pytest.raises(CoppiceError, match="stores 4 bytes"):
        from_lightning(state, hyper={})


@given(st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_damage_gives_one_plain_sentence_or_a_network(data):
    state: dict = under("model.", CPMobile(base_channels=8))
    for name in data.draw(st.lists(st.sampled_from(sorted(state)), max_size=3, unique=True)):
        shape = data.draw(st.lists(st.integers(0, 9), max_size=5))
        state[name] = data.draw(st.sampled_from([torch.zeros(shape), None, "text", torch.zeros(shape).long()]))
    for name in data.draw(st.lists(st.sampled_from(sorted(state)), max_size=2, unique=True)):
        state[data.draw(st.sampled_from([name + "x", name.replace("s1", "s4"), "b", "model.stages.s0.b0."]))] = (
            state.pop(name)
        )
    hyper = {
        "n_mels": data.draw(st.sampled_from([256, 10**12, None, "x", -1])),
        "sample_rate": 32000,
        "hop_length": 500,
    }
    try:
        imported = from_lightning(state, hyper=hyper)
    except CoppiceError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(imported.network, CPMobile)

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save as to_safetensors

import coppice
from coppice.audio.front_end import front_end
from coppice.challenge.storage import storage_of
from coppice.core.errors import CoppiceError
from coppice.networks.checkpoint import load, save
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.number_formats import packed, unpacked
from coppice.quantization.rounding import quantize


@pytest.fixture
def classifier():
    return Classifier(
        network=DCASE2021(widths=(4, 3, 5), dense=6, classes=2, frames=25),
        front_end=front_end("dcase2021", duration_s=0.5),
        labels=("bus", "park"),
        band_mean=torch.full((40,), -5.1),
        band_std=torch.full((40,), 1.1),
        lineage=({"verb": "train"},),
        metrics={"accuracy": 0.5},
    )


def test_every_parameter_is_numpys_float16_and_the_arithmetic_float32(classifier):
    small = quantize(classifier)
    original = classifier.network.state_dict()
    for name, tensor in small.network.state_dict().items():
        given = original[name].numpy()
        expected = given.astype(np.float16).astype(np.float32) if given.dtype == np.float32 else given
        assert np.array_equal(tensor.numpy(), expected) and tensor.dtype == original[name].dtype, name
    assert small.logits(torch.randn(2, 40, 25)).dtype == torch.float32


def test_the_given_classifier_is_left_as_it_is(classifier):
    before = {name: tensor.clone() for name, tensor in classifier.network.state_dict().items()}
    quantize(classifier)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.network.state_dict().items())
    assert classifier.stored_as == "float32" and classifier.metrics


def test_old_measurements_are_dropped_and_the_step_is_noted(classifier):
    small = quantize(classifier)
    assert small.metrics == {} and small.stored_as == "float16"
    assert small.lineage == ({"verb": "train"}, {"verb": "quantize", "to": "float16"})


def test_quantizing_twice_changes_no_number(classifier):
    once, x = quantize(classifier), torch.randn(3, 40, 25)
    assert torch.equal(quantize(once).logits(x), once.logits(x))


def test_posteriors_stay_close(classifier):
    x = torch.randn(5, 40, 25)
    difference = (quantize(classifier).posteriors(x) - classifier.posteriors(x)).abs().max()
    assert 0 < difference < 2e-3


@pytest.mark.parametrize("value", [1e5, float("inf"), float("nan")])
def test_a_parameter_that_float16_cannot_hold_is_refused_by_name(classifier, value):
    with torch.no_grad():
        classifier.network.conv2.bias[1] = value
    with pytest.raises(CoppiceError, match=r"'conv2\.bias'"):
        quantize(classifier)


@pytest.mark.parametrize("to", ["int8", "float8", 16])
def test_an_unknown_format_is_refused(classifier, to):
    with pytest.raises(CoppiceError, match="float16"):
        quantize(classifier, to=to)


def test_a_frozen_network_in_training_mode_is_fine(classifier):
    frozen = replace(classifier, network=classifier.network.requires_grad_(False).train())
    small = quantize(frozen)
    assert small.network.training and not any(p.requires_grad for p in small.network.parameters())


def test_bfloat16_keeps_eight_bits_of_each_number_and_the_range_of_float32(classifier, tmp_path):
    with torch.no_grad():
        classifier.network.conv2.bias[0] = 1e30
    small = quantize(classifier, to="bfloat16")
    for name, tensor in small.network.state_dict().items():
        bits = tensor.numpy().view(np.uint32) if tensor.is_floating_point() else np.zeros(1, np.uint32)
        assert not (bits & 0xFFFF).any(), name
    given = classifier.network.state_dict()["conv2.weight"]
    assert ((small.network.conv2.weight - given).abs() <= given.abs() * 2**-8).all()
    assert load(save(small, tmp_path / "small.safetensors")).stored_as == "bfloat16"


@pytest.fixture
def wide(classifier):
    """Layers of 1,024 weights and more: conv2, conv3 and dense1."""
    torch.manual_seed(3)
    return replace(classifier, network=DCASE2021(widths=(6, 6, 6), dense=50, classes=2, frames=25))


def test_dynamic_int8_is_one_byte_for_each_weight_of_large_tensors(wide, tmp_path):
    small = quantize(wide, to="dynamic_int8")
    path = save(small, tmp_path / "small.safetensors")
    given = wide.network.state_dict()
    large = {"conv2.weight", "conv3.weight"} | ({"dense1.weight"} if given["dense1.weight"].numel() >= 1024 else set())
    with safe_open(path, framework="np") as file:
        stored = {name.removeprefix("network."): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in given.items():
        if name not in large:
            assert np.array_equal(stored[name], tensor.numpy())
            continue
        weight = tensor.numpy()
        scale = np.abs(weight).max() / np.float32(127)
        assert stored[name].dtype == np.int8 and stored[f"{name}.scale"] == scale
        assert np.array_equal(stored[name], np.clip(np.rint(weight / scale), -127, 127))
        assert np.array_equal(small.network.state_dict()[name].numpy(), stored[name] * scale)
    plain = save(wide, tmp_path / "plain.safetensors").stat().st_size
    saved = 3 * sum(given[name].numel() for name in large)
    assert plain - path.stat().st_size == pytest.approx(saved, abs=500)  # of the header


@pytest.mark.parametrize("to", ["float16", "bfloat16", "dynamic_int8"])
def test_the_file_gives_the_rounded_numbers_back_bit_for_bit(wide, tmp_path, to):
    small = quantize(wide, to=to)
    again = load(save(small, tmp_path / "small.safetensors"))
    assert again.stored_as == to
    for name, tensor in small.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    assert quantize(again, to=to).network.conv2.weight.equal(small.network.conv2.weight)
    assert save(again, tmp_path / "again.safetensors").read_bytes() == (tmp_path / "small.safetensors").read_bytes()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-60, 60),
    st.sampled_from(["normal", "zeros", "one"]),
)
def test_any_weight_is_rounded_once_and_then_stays(seed, exponent, kind):
    random = np.random.default_rng(seed)
    layer = torch.nn.Linear(64, 16)
    values = {"normal": random.standard_normal((16, 64)), "zeros": np.zeros((16, 64)), "one": np.eye(16, 64)}[kind]
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(values * 2.0**exponent))
    first = packed(layer, "dynamic_int8")
    rounded = unpacked(first)
    assert (rounded["weight"] - layer.weight).abs().max() <= first["weight.scale"] * 0.5001
    layer.load_state_dict(rounded)
    second = packed(layer, "dynamic_int8")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", ["unpruned", "C1", "C12", "C123", "C2", "C23", "C3"])
def test_dynamic_int8_gives_the_published_files_of_2022_bit_for_bit(shared_data, name):
    folder = shared_data / "surrey2022" / name
    rounded = quantize(coppice.load(folder / "float32.tflite"), to="dynamic_int8").network.state_dict()
    published = coppice.load(folder / "int8_dynamic.tflite").network.state_dict()
    assert all(torch.equal(tensor, published[layer]) for layer, tensor in rounded.items())


@pytest.mark.parametrize(
    ("entry", "tensor"),
    [
        ("network.conv2.weight.scale", torch.tensor(-1.0)),
        ("network.conv2.weight.scale", torch.tensor(float("nan"))),
        ("network.conv2.weight.scale", torch.ones(6)),
        ("network.conv2.weight", torch.ones(6, 6, 7, 7)),
    ],
)
def test_a_file_whose_scale_cannot_be_is_refused(wide, tmp_path, entry, tensor):
    path = save(quantize(wide, to="dynamic_int8"), tmp_path / "small.safetensors")
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    tensors[entry] = tensor
    path.write_bytes(to_safetensors(tensors, metadata=metadata))
    with pytest.raises(CoppiceError, match=r"cannot load .*scale of 'conv2\.weight'"):
        load(path)


def test_a_checkpoint_cut_in_half_is_refused(wide, tmp_path):
    path = save(quantize(wide, to="dynamic_int8"), tmp_path / "small.safetensors")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CoppiceError, match="not a whole checkpoint"):
        load(path)


def test_the_counted_bytes_are_those_of_both_formats(wide):
    stored = storage_of(quantize(wide, to="dynamic_int8"))
    large = sum(p.numel() for n, p in wide.network.named_parameters() if n.endswith("weight") and p.numel() >= 1024)
    assert stored.weight_formats["int8"] == large
    assert stored.params_bytes == large + 4 * (stored.params - large)

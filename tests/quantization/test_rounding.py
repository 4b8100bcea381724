from dataclasses import replace

import numpy as np
import pytest
import torch

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
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

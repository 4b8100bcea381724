from dataclasses import replace

import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import as_network


def test_normalisation_is_per_band_and_adds_the_channel(classifier, log_mel):
    out = classifier.normalise(log_mel)
    assert out.shape == (7, 1, 40, 25)
    mean, std = classifier.band_mean.numpy(), classifier.band_std.numpy()
    expected = (log_mel.numpy() - mean[None, :, None]) / std[None, :, None]
    torch.testing.assert_close(out[:, 0], torch.from_numpy(expected))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_logits_do_not_depend_on_the_batch_size(classifier, log_mel, batch_size):
    whole = classifier.network(classifier.normalise(log_mel))
    torch.testing.assert_close(classifier.logits(log_mel, batch_size=batch_size), whole, rtol=1e-5, atol=1e-6)


def test_posteriors_are_the_float64_softmax_of_the_logits(classifier, log_mel):
    logits = classifier.logits(log_mel).double()
    posteriors = classifier.posteriors(log_mel)
    assert posteriors.dtype == torch.float64
    torch.testing.assert_close(posteriors, logits.exp() / logits.exp().sum(1, keepdim=True), rtol=1e-12, atol=0)


def test_logits_are_those_of_eval_mode_and_every_modules_mode_comes_back(classifier, log_mel):
    expected = classifier.logits(log_mel)
    statistics = classifier.network.bn1.running_mean.clone()
    classifier.network.train()
    classifier.network.bn2.eval()
    assert torch.equal(classifier.logits(log_mel), expected)
    assert classifier.network.training and classifier.network.bn1.training
    assert not classifier.network.bn2.training
    assert torch.equal(classifier.network.bn1.running_mean, statistics)


def test_modes_come_back_after_an_error_too(classifier, log_mel):
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("no")

    broken = replace(classifier, network=Broken().train())
    with pytest.raises(ValueError):
        broken.logits(log_mel)
    assert broken.network.training


def test_no_clips_give_no_logits(classifier):
    assert classifier.logits(torch.empty(0, 40, 25)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(40, 25), (2, 40, 26), (2, 39, 25), (2, 1, 40, 25)])
def test_log_mel_of_another_shape_is_refused(classifier, shape):
    with pytest.raises(CoppiceError, match="40 mels, 25 frames"):
        classifier.logits(torch.zeros(shape))


def test_a_classifier_brings_its_own_example(classifier):
    network, example = as_network(classifier)
    assert network is classifier.network and example.shape == classifier.input_shape == (1, 1, 40, 25)
    assert torch.equal(example, as_network(classifier)[1])


def test_a_bare_module_needs_an_example():
    with pytest.raises(CoppiceError, match="give one example input"):
        as_network(nn.Linear(2, 3))


def test_what_is_no_network_is_refused():
    with pytest.raises(CoppiceError, match="a str is not a network"):
        as_network("net.safetensors")

"""Fits with our own layers beside the same fits with PyTorch's."""

import copy

import pytest
import torch
from torch import nn

from coppice.networks.dcase2021 import DCASE2021
from coppice.training.batch_norm import layer as batch_norm
from coppice.training.fit import fit
from coppice.training.quick_layers import use_quick_layers_
from coppice.training.winograd import layer as winograd
from made_sides import made_sides


@pytest.fixture
def wide():
    """A network with layers of both kinds: wide enough for our convolutions, too narrow for PyTorch's normalisation."""
    torch.manual_seed(3)
    return DCASE2021(widths=(11, 16, 32), dense=6, classes=3, frames=25, dropout=0.0).eval()


@pytest.mark.usefixtures("machine_code")
def test_a_fit_gives_what_it_gives_with_pytorchs_layers_but_for_rounding(wide, settings, monkeypatch):
    sides = made_sides(32, 7)
    monkeypatch.setattr(batch_norm, "_LEAST_NARROW", 1)
    used = {"convolutions": 0, "normalisations": 0}
    for name, module, function in (
        ("convolutions", winograd, "winograd_convolution"),
        ("normalisations", batch_norm, "batch_normalisation"),
    ):
        original = getattr(module, function)

        def counted(*given, original=original, name=name):
            used[name] += 1
            return original(*given)

        monkeypatch.setattr(module, function, counted)
    ours = fit(wide, *sides, settings=settings)
    assert used["convolutions"] > 0
    assert used["normalisations"] > 0
    counts = dict(used)
    monkeypatch.setattr(winograd, "compiles", lambda: False)
    monkeypatch.setattr(batch_norm, "compiles", lambda: False)
    theirs = fit(wide, *sides, settings=settings)
    assert used == counts
    for own, their in zip(ours.history, theirs.history, strict=True):
        for key in ("train_log_loss", "validation_log_loss"):
            assert own[key] == pytest.approx(their[key], abs=5e-3)


@pytest.mark.usefixtures("machine_code")
def test_a_fit_leaves_the_network_that_comes_back_with_pytorchs_own_layers(wide, settings):
    fitted = fit(wide, *made_sides(18, 7), settings=settings)
    assert {type(layer) for layer in fitted.network.modules()} == {type(layer) for layer in wide.modules()}
    assert type(wide.conv2) is nn.Conv2d


def test_what_is_changed_is_changed_in_place_and_in_no_copy_made_before(wide):
    before = copy.deepcopy(wide)
    use_quick_layers_(wide)
    assert type(before.conv2) is nn.Conv2d
    assert isinstance(wide.conv2, winograd.WinogradConv2d)
    assert list(wide.state_dict()) == list(before.state_dict())

import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import _CRITERIA, criterion, rank
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.decide import plan
from coppice.pruning.planning.requests import kept_count
from coppice.pruning.surgery.prune import prune


def widths(made):
    return {layer.name: len(layer.keep) for layer in made.layers}


@pytest.mark.parametrize(
    ("filters", "ratio", "count"),
    [(64, 0.25, 48), (10, 0.25, 7), (10, 0.1, 9), (10, 0.7, 3), (3, 0.9, 1), (10, 0.3, 7)],
)
def test_counts_can_be_rounded_down_without_the_dust_of_binary_fractions(filters, ratio, count):
    assert kept_count(filters, ratio, rounding="floor") == count


def test_ratios_can_be_rounded_down_and_to_multiples_and_stop_at_a_minimum(plain, image):
    how = {"ratios": 0.5, "example": image}
    assert widths(plan(plain, "l1", **how)) == {"conv1": 3, "conv2": 3, "conv3": 4}
    assert widths(plan(plain, "l1", rounding="floor", **how)) == {"conv1": 3, "conv2": 2, "conv3": 3}
    assert widths(plan(plain, "l1", round_to=4, **how)) == {"conv1": 4, "conv2": 4, "conv3": 4}
    assert widths(plan(plain, "l1", minimum=6, **how)) == {"conv1": 6, "conv2": 5, "conv3": 6}
    assert plan(plain, "l1", round_to=4, minimum=2, **how).decided_by.endswith("minimum=2; round_to=4")
    rounded = plan(plain, "l1", round_to=4, **how)
    assert rounded.keep("conv1") == rank(plain.conv1.weight, "l1").keep_count(4)
    own = plan(plain, "cosine_similarity", example=image)
    wider = plan(plain, "cosine_similarity", round_to=2, example=image)
    for layer in own.layers:
        assert set(layer.keep) <= set(wider.keep(layer.name))
        assert len(wider.keep(layer.name)) % 2 == 0 or len(wider.keep(layer.name)) == layer.filters


def test_protected_layers_keep_all_filters_and_so_do_layers_coupled_to_them(residual, image):
    made = plan(residual, "l1", ratios=0.5, protect=["second.0"], example=image)
    assert widths(made) == {"first.0": 3, "third.0": 2}
    assert prune(residual, made, example=image).second[0].in_channels == 3  # it still reads fewer
    with pytest.raises(CoppiceError, match=r"'stem.0' cannot be cut: its filters leave only with"):
        plan(residual, "l1", ratios={"stem.0": 0.5}, protect=["second.0"], example=image)
    with pytest.raises(CoppiceError, match=r"'first.0' cannot be cut: its filters are protected"):
        plan(residual, "l1", ratios={"first.0": 0.5}, protect=["first.0"], example=image)
    with pytest.raises(CoppiceError, match="no layer of this network can be cut"):
        plan(residual, "l1", ratios=0.5, protect=["stem.0", "first.0", "third.0"], example=image)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budget": Budget(macs="50%"), "ratios": 0.5}, "not both"),
        ({"budget": Budget(macs="50%"), "keep": {"conv1": 2}}, "not both"),
        ({"budget": "macs=50%"}, 'such as Budget(macs="50%")'),
        ({"ratios": 0.5, "scope": "layers"}, "Did you mean 'layer'"),
        ({"ratios": 0.5, "rounding": "up"}, "no rounding 'up'"),
        ({"ratios": 0.5, "normalisation": "sum"}, "no normalisation 'sum'"),
        ({"ratios": 0.5, "round_to": 0}, "round_to is 0"),
        ({"ratios": 0.5, "round_to": 2.0}, "round_to is 2.0"),
        ({"ratios": 0.5, "minimum": True}, "minimum is True"),
        ({"ratios": 0.5, "protect": ["con1"]}, "cannot protect 'con1'"),
        ({"ratios": 1.5, "scope": "network"}, "0.25 for 25 %"),
        ({"ratios": 1, "scope": "network"}, "leaves no filter"),
        ({"keep": {"conv1": 2}, "round_to": 2}, "leave out round_to and minimum"),
        ({"keep": {"conv1": 2}, "minimum": 2}, "leave out round_to and minimum"),
        ({"budget": Budget(macs="50%"), "layers": ["conv9"]}, "no convolution or linear layer 'conv9'"),
    ],
)
def test_requests_that_make_no_sense_are_refused(plain, image, arguments, said):
    with pytest.raises(CoppiceError) as refused:
        plan(plain, "l1", example=image, **arguments)
    assert said in str(refused.value)


def test_a_layer_that_some_slices_alone_read_is_not_emptied():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.left, self.right = nn.Conv1d(1, 8, 1), nn.Conv1d(4, 3, 1), nn.Conv1d(4, 3, 1)

        def forward(self, x):
            first, second = self.stem(x).chunk(2, dim=1)
            return self.left(first).mean(2), self.right(second).mean(2)

    network, example = Halves(), torch.randn(1, 1, 6)
    with torch.no_grad():
        network.stem.weight[:4] *= 0.01  # the first half is least important
    with pytest.raises(CoppiceError, match="params cannot go below"):
        plan(network, "l1", budget=Budget(params=1), example=example)


def test_clips_are_run_once_for_all_layers(plain, image):
    calls = []
    plain.register_forward_hook(lambda *_: calls.append(1))

    @criterion("loudest")
    def loudest(weight, *, maps):
        return Ranking.from_scores("loudest", maps.flatten(2).abs().mean(dim=(0, 2)))

    try:
        plan(plain, "loudest", ratios=0.5, example=image, clips=torch.randn(2, 1, 8, 12))
        three = len(calls)
        calls.clear()
        plan(plain, "loudest", ratios={"conv1": 0.5}, example=image, clips=torch.randn(2, 1, 8, 12))
        assert len(calls) == three
    finally:
        del _CRITERIA["loudest"]

"""What layers read of others, against plain loops."""

import numpy as np
import pytest
import torch
from torch import nn

import coppice as cp
from coppice.core.errors import CoppiceError
from coppice.pruning.evidence import reading
from coppice.pruning.evidence.reading import readings


def net(bias=True, classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(1, 4, 3),
        nn.Tanh(),
        nn.Conv1d(4, 5, 3, bias=bias),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(5 * 8, classes),
    ).double()


def clips(count=40):
    return torch.randn(count, 1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def fisher(network, layer, x, score="softmax"):
    """Sum over clips, positions and classes of products of the gradients of log-posteriors, class by class."""
    made = []
    hook = lambda _layer, _given, out: made.append(out) or out.clone()  # noqa: E731 - what follows works in place
    handle = network.get_submodule(layer).register_forward_hook(hook)
    total, rows = 0.0, 0
    for clip in x:
        made.clear()
        logits = network(clip[None])[0]
        p = (logits.softmax(0) if score == "softmax" else logits.sigmoid()).detach()
        for index in range(len(p)):
            terms = [(logits.log_softmax(0)[index], p[index])]
            if score == "sigmoid":
                yes, no = nn.functional.logsigmoid(logits[index]), nn.functional.logsigmoid(-logits[index])
                terms = [(yes, p[index]), (no, 1 - p[index])]
            for term, share in terms:
                (slope,) = torch.autograd.grad(term, made[0], retain_graph=True)
                flat = slope[0].reshape(slope.shape[1], -1).numpy()
                total, width = total + float(share) * flat @ flat.T, flat.shape[1]
        rows += width
    handle.remove()
    return total / rows


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_products_and_weights_equal_plain_loops(bias, score):
    network, x = net(bias), clips()
    found = readings(network, ["0"], x, score=score)["0"]
    with torch.no_grad():
        read = network[:2](x).numpy()
    rows = np.array([clip[:, place : place + 3].ravel() for clip in read for place in range(8)])
    rows = rows - rows.mean(0) if bias else rows
    np.testing.assert_allclose(found.gram.reshape(12, 12).numpy(), rows.T @ rows / len(x), rtol=1e-9, atol=1e-12)
    flat, weights = network[2].weight.detach().reshape(5, 12).numpy(), found.weights.reshape(12, 5).numpy()
    expected = flat.T @ fisher(network, "2", x, score) @ flat
    np.testing.assert_allclose(weights @ weights.T, expected, rtol=1e-7, atol=1e-14)


def test_a_flattened_layer_reads_each_filter_at_every_position():
    network, x = net(), clips()
    found = readings(network, ["2"], x)["2"]
    assert found.gram.shape == (5, 8, 5, 8) and found.weights.shape == (5, 8, 3)
    with torch.no_grad():
        rows = network[:5](x).numpy()
    rows = rows - rows.mean(0)
    np.testing.assert_allclose(found.gram.reshape(40, 40).numpy(), rows.T @ rows / len(x), rtol=1e-9, atol=1e-12)


def test_more_classes_than_directions_are_sampled_alike_each_time(monkeypatch):
    network, x = net(classes=12), clips(200)
    one, again = (readings(network, ["0"], x)["0"].weights for _ in range(2))
    assert torch.equal(one, again)
    monkeypatch.setattr(reading, "DIRECTIONS", 12)
    exact = readings(network, ["0"], x)["0"].weights
    energies = [(weights.flatten(0, 1) @ weights.flatten(0, 1).T).trace() for weights in (one, exact)]
    assert energies[0] == pytest.approx(float(energies[1]), rel=0.2)


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv1d(4, 3, 1), nn.Conv1d(4, 2, 1)
        self.one, self.two = nn.Conv1d(5, 4, 1), nn.Conv1d(3, 2, 3)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        left = self.left(x).sin()
        one, two = self.one(torch.cat([left, self.right(x).cos()], 1)), self.two(left)
        return self.head(torch.cat([one.tanh().mean(2), two.tanh().mean(2)], 1))


def test_several_readers_stand_side_by_side_and_channels_that_stay_make_up_for_what_they_can():
    torch.manual_seed(0)
    network, x = Joined().double(), torch.randn(40, 4, 12, dtype=torch.float64)
    found = readings(network, ["left"], x)["left"]
    assert found.gram.shape == (3, 4, 3, 4) and found.weights.shape == (3, 4, 6)
    assert (
        not found.gram[:, 0, :, 1:].any() and not found.weights[:, 0, 4:].any() and not found.weights[:, 1:, :4].any()
    )
    with torch.no_grad():
        left, right = network.left(x).sin(), network.right(x).cos()
    own, others = (some.movedim(1, 2).reshape(-1, some.shape[1]).numpy() for some in (left, right))
    own, others = own - own.mean(0), others - others.mean(0)
    rest = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
    np.testing.assert_allclose(found.gram[:, 0, :, 0].numpy(), rest.T @ rest / len(x), rtol=1e-4, atol=1e-6)


def test_filters_that_leave_together_are_read_once(networks):
    network, example = networks["Grouped"]
    found = readings(network, ["grouped.0"], torch.randn(6, *example.shape[1:]))["grouped.0"]
    read = found.weights.abs().sum((1, 2)) > 0
    assert read.tolist() == [True, True] + [False] * 6  # the first of each two filters stands for the four groups


def test_the_network_is_left_as_it_is():
    network = net().train()
    network[2].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    readings(network, ["0", "2"], clips())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network[2].weight.requires_grad


def test_what_cannot_be_read_is_refused_by_layer(monkeypatch):
    with pytest.raises(CoppiceError, match=r"layer '5' .* its filters reach the network's output; leave it out"):
        readings(net(), ["5"], clips())
    with pytest.raises(CoppiceError, match=r"output is not of shape \(clips, classes\)"):
        readings(net()[:3], ["0"], clips())
    endless = clips()
    endless[3] = torch.inf
    with pytest.raises(CoppiceError, match="values that are not finite"):
        readings(net(), ["0"], endless)
    monkeypatch.setattr(reading, "MOST_COLUMNS", 11)
    with pytest.raises(CoppiceError, match="'2' has 12 columns, more than the 11"):
        readings(net(), ["0"], clips())


def test_a_plan_by_reconstruction_loses_less_than_others_once_it_is_repaired():
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv1d(1, 16, 5), nn.ReLU(), nn.Conv1d(16, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 10, 4)
    ).double()
    x = torch.randn(300, 1, 16, dtype=torch.float64)
    seen, held = x[:150], x[150:]
    p = network(held).softmax(1).detach()

    def divergence(name):
        plan = cp.plan(network, name, keep={"0": 8}, example=x[:1], clips=seen)
        small = cp.prune(network, plan, example=x[:1])
        q = cp.compensate(small, network, plan, "least_squares", clips=seen)(held).softmax(1).detach()
        return float((p * (p.log() - q.log())).sum(1).mean())

    ours = divergence("reconstruction")
    assert all(ours < divergence(name) for name in ("l1", "geometric_median", "random"))

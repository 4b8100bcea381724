import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coppice.core.dispatch import DispatchMode
from coppice.networks.once import Once


def test_the_same_layer_on_the_same_input_runs_once():
    ran = []
    layer, x = nn.Conv2d(1, 2, 3), torch.randn(1, 1, 8, 8)

    class Count(DispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            ran.append(func.overloadpacket)
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Count(), Once():
        assert layer(x) is layer(x)
        layer(x + 0)
    assert ran.count(torch.ops.aten.convolution) == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda y: y.relu_(),
        lambda y: F.relu(y, inplace=True),
        lambda y: nn.ReLU(inplace=True)(y),
        lambda y: y.__setitem__((slice(None), 0), 0.0),
        lambda y: y.view(-1).zero_(),
        lambda y: torch.add(y, 1, out=y),
        lambda y: y.__iadd__(1.0),
    ],
)
@torch.no_grad()
def test_what_was_written_into_is_computed_again(write):
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    expected = layer(x)
    with Once():
        first = layer(x)
        write(first)
        assert torch.equal(layer(x), expected)


@torch.no_grad()
def test_an_input_written_into_is_heard_anew():
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    with Once():
        before = layer(x).clone()
        x.mul_(2)
        assert not torch.equal(layer(x), before)


def test_random_operators_run_each_time_and_dropout_in_eval_does_not():
    x = torch.ones(1000)
    with Once():
        assert not torch.equal(F.dropout(x, 0.5, training=True), F.dropout(x, 0.5, training=True))
        assert torch.equal(F.dropout(x, 0.5, training=False), x)
        assert not torch.equal(torch.rand_like(x), torch.rand_like(x))


def test_other_arguments_are_another_call():
    x = torch.randn(3, 4)
    with Once():
        assert x.sum(0).shape == (4,) and x.sum(1).shape == (3,)
        assert torch.equal(x[:, 1:3], x[:, 1:3]) and x[:, 1:3].shape != x[:, 1:4].shape


def test_gradients_of_a_shared_layer_are_those_of_both_uses():
    layer, x = nn.Linear(3, 2), torch.randn(5, 3)
    (layer(x).sum() + (layer(x) ** 2).sum()).backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with Once():
        (layer(x).sum() + (layer(x) ** 2).sum()).backward()
    torch.testing.assert_close(layer.weight.grad, expected)

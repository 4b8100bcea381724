import pytest
import torch
from torch import nn

from coppice.core.calls import module_calls


class Nested(nn.Module):
    def __init__(self, fail=False):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        self.again = self.inner[0]
        self.fail = fail

    def forward(self, x):
        seen.append(calls_now())
        x = self.again(self.inner(x))
        if self.fail:
            raise ValueError("on purpose")
        return x


class Forgiving(nn.Module):
    def __init__(self):
        super().__init__()
        self.bad, self.good = Nested(fail=True), nn.ReLU()

    def forward(self, x):
        try:
            self.bad(x)
        except ValueError:
            seen.append(calls_now())
        return self.good(x)


seen = []
active = []


def calls_now():
    return active[-1].current


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.fixture(autouse=True)
def clean():
    seen.clear()
    active.clear()


def test_the_innermost_submodule_is_named_and_shared_ones_by_their_first_name():
    net = nn.Sequential(Nested())
    with module_calls(net) as calls:
        active.append(calls)
        net[0].again.register_forward_pre_hook(lambda *_: seen.append(calls.current))
        net(torch.zeros(1, 2))
        assert calls.current == ""
    assert seen == ["0", "0.inner.0", "0.inner.0"]
    assert hooks(net) == 1


def test_an_exception_that_the_network_catches_leaves_the_names_right():
    net = Forgiving()
    with module_calls(net) as calls:
        active.append(calls)
        net(torch.zeros(1, 2))
        assert calls.names == []
    assert seen == ["bad", ""]


def test_hooks_are_gone_after_an_exception():
    net = Nested(fail=True)
    with pytest.raises(ValueError, match="on purpose"), module_calls(net) as calls:
        active.append(calls)
        net(torch.zeros(1, 2))
    assert hooks(net) == 0

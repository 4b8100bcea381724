import copy

import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.optimizer import rebind_
from coppice.pruning.surgery.prune import prune

KEPT = PruningPlan(None, (LayerPlan("conv1", 6, (0, 2, 5)), LayerPlan("conv3", 7, (1, 3, 4, 6))))
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.01, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, 0.01, amsgrad=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.01),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, 0.01, momentum=0.5),
}


def step(network, optimizer, clips):
    optimizer.zero_grad()
    network(clips).square().mean().backward()
    optimizer.step()


@pytest.fixture
def clips():
    return torch.randn(4, 1, 8, 12)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_fine_tuning_goes_on_after_surgery_and_without_rebinding_would_not(plain, image, clips, kind):
    optimizer = OPTIMIZERS[kind](plain.parameters())
    for _ in range(3):
        step(plain, optimizer, clips)
    small = prune(plain, KEPT, example=image)
    before = {name: tensor.clone() for name, tensor in small.named_parameters()}

    step(small, optimizer, clips)
    assert all(torch.equal(before[name], tensor) for name, tensor in small.named_parameters())

    found = rebind_(optimizer, plain, small, plan=KEPT, example=image)
    step(small, optimizer, clips)
    assert all(not torch.equal(before[name], tensor) for name, tensor in small.named_parameters() if "weight" in name)
    assert set(found.sliced) == {
        *("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "conv2.weight"),
        *("conv3.weight", "conv3.bias", "dense1.weight"),
    }
    assert not found.dropped


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_moves_the_filters_that_stay_as_it_would_have_moved_them_in_the_masked_network(image, clips, kind):
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Conv2d(6, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, 2)
    )
    keep = PruningPlan(None, (LayerPlan("0", 6, (1, 2, 5)),))
    optimizer = OPTIMIZERS[kind](network.parameters())
    for _ in range(3):
        step(network, optimizer, clips)
    with torch.no_grad():
        network[2].weight[:, [0, 3, 4]] = 0  # what the cut filters did is gone: all gradients that stay are the same
    small = prune(network, keep, example=image)
    state = {name: dict(optimizer.state[parameter]) for name, parameter in network.named_parameters()}
    twin = OPTIMIZERS[kind](network.parameters())
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    rebind_(optimizer, network, small, plan=keep, example=image)
    assert state.keys() == {name for name, parameter in small.named_parameters() if parameter in optimizer.state}
    step(network, twin, clips)
    step(small, optimizer, clips)
    torch.testing.assert_close(small[0].weight, network[0].weight[[1, 2, 5]], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(small[2].weight, network[2].weight[:, [1, 2, 5]], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(small[5].weight, network[5].weight, rtol=1e-4, atol=1e-6)


def test_groups_rates_schedules_and_other_parameters_stay(plain, image, clips):
    centre = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD(
        [
            {"params": [*plain.conv1.parameters(), *plain.conv2.parameters()], "lr": 0.1},
            {"params": [*plain.dense1.parameters(), centre], "lr": 0.02, "weight_decay": 0.5},
        ],
        momentum=0.9,
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    step(plain, optimizer, clips)
    schedule.step()
    small = prune(plain, KEPT, example=image)
    rebind_(optimizer, plain, small, plan=KEPT, example=image)
    first, second = optimizer.param_groups
    assert [id(p) for p in first["params"]] == [id(p) for p in (*small.conv1.parameters(), *small.conv2.parameters())]
    assert second["params"][-1] is centre and second["weight_decay"] == 0.5
    schedule.step()
    assert (first["lr"], second["lr"]) == (0.025, 0.005)


def test_without_a_plan_state_of_what_changed_is_dropped_and_said_so(plain, image, clips):
    optimizer = torch.optim.Adam(plain.parameters())
    step(plain, optimizer, clips)
    small = prune(plain, KEPT, example=image)
    found = rebind_(optimizer, plain, small)
    assert "conv1.weight" in found.dropped and "dense2.weight" in found.kept and not found.sliced
    assert small.conv1.weight not in optimizer.state and small.dense2.weight in optimizer.state
    step(small, optimizer, clips)


def test_state_of_another_shape_is_dropped_and_said_so(plain, image, clips):
    optimizer = torch.optim.Adafactor(plain.parameters())
    step(plain, optimizer, clips)
    small = prune(plain, KEPT, example=image)
    found = rebind_(optimizer, plain, small, plan=KEPT, example=image)
    assert "conv1.weight" in found.dropped and "bn2.weight" in found.kept
    step(small, optimizer, clips)


def test_a_wrong_network_or_plan_is_refused_and_the_optimizer_left_alone(plain, residual, image, clips):
    optimizer = torch.optim.Adam(plain.parameters())
    step(plain, optimizer, clips)
    small = prune(plain, KEPT, example=image)
    held = [id(parameter) for parameter in optimizer.param_groups[0]["params"]]
    other = PruningPlan(None, (LayerPlan("conv1", 6, (0, 2)),))
    with pytest.raises(CoppiceError, match="holds no parameter of Residual"):
        rebind_(optimizer, residual, small)
    with pytest.raises(CoppiceError, match=r"Residual has no parameter 'conv1\.weight'"):
        rebind_(optimizer, plain, residual)
    with pytest.raises(CoppiceError, match=r"'conv1\.weight' would have shape \(2, 1, 3, 3\) after this plan"):
        rebind_(optimizer, plain, small, plan=other, example=image)
    assert held == [id(parameter) for parameter in optimizer.param_groups[0]["params"]]
    assert all(parameter in optimizer.state for parameter in plain.parameters())

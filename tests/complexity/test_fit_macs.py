import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coppice.complexity.fit_macs import epoch_macs, fit_macs
from coppice.complexity.macs import count_macs

EXAMPLE = torch.zeros(1, 1, 8, 10)


def tiny():
    """A convolution of 3 × 3 to 4 filters on 8 × 10, pooled to 4 × 5, then a dense layer to 2: counted below."""
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 4 * 5, 2)]
    return nn.Sequential(*layers)


def test_a_fit_by_hand():
    forward = 9 * 4 * 80 + 80 * 2
    assert count_macs(tiny(), EXAMPLE).total == forward
    assert epoch_macs(forward, clips=7, validation_clips=3) == (3 * 7 + 3) * forward
    assert fit_macs(forward, epochs=5, clips=7, validation_clips=3) == 5 * 24 * forward
    assert fit_macs(forward, epochs=5, clips=7, validation_clips=3, teacher_macs=100) == 5 * 24 * forward + 700


def test_a_step_takes_three_times_the_products_of_a_forward_pass():
    """PyTorch counts two operations for a product and its sum, and the gradient of an input if somebody asks for it."""
    with FlopCounterMode(display=False) as counted:
        tiny()(EXAMPLE.requires_grad_()).sum().backward()
    assert counted.get_total_flops() == 2 * epoch_macs(count_macs(tiny(), EXAMPLE).total, clips=1, validation_clips=0)

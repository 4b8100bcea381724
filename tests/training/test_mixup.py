import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.training.mixup import mixup_loss
from coppice.training.settings import TrainingSettings


@pytest.fixture
def batch():
    return torch.randn(6, 1, 2, 3), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture
def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 3))


def test_no_mixup_is_plain_cross_entropy(network, batch):
    inputs, targets = batch
    expected = nn.functional.cross_entropy(network(inputs), targets)
    assert torch.equal(mixup_loss(network, inputs, targets, alpha=0.0), expected)


def test_the_loss_is_the_cross_entropy_with_the_blended_targets(network, batch):
    # Independent: blend one-hot targets with the same draws and take soft cross-entropy.
    inputs, targets = batch
    torch.manual_seed(7)
    loss = mixup_loss(network, inputs, targets, alpha=0.3)
    torch.manual_seed(7)
    share = torch.distributions.Beta(0.3, 0.3).sample((6,))
    share = torch.maximum(share, 1 - share)
    other = torch.randperm(6)
    hot = nn.functional.one_hot(targets, 3).float()
    blended = share[:, None, None, None] * inputs + (1 - share)[:, None, None, None] * inputs[other]
    soft = share[:, None] * hot + (1 - share)[:, None] * hot[other]
    assert torch.allclose(loss, -(soft * network(blended).log_softmax(1)).sum(1).mean())


def test_every_clip_keeps_at_least_half_of_itself(batch):
    _, targets = batch
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.zeros(len(x), 3)

    ones = torch.eye(6).reshape(6, 1, 2, 3)
    mixup_loss(Watch(), ones, targets, alpha=0.3)
    assert (seen[0].flatten(1).diagonal() >= 0.5).all()


def test_a_negative_strength_is_refused():
    with pytest.raises(CoppiceError, match=r"mixup is -1; give 0 for none"):
        TrainingSettings(mixup=-1)

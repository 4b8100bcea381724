import pytest
import torch

from coppice.audio.front_end import front_end
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021


@pytest.fixture(scope="session")
def clips() -> torch.Tensor:
    """Log-mel of half a second; no two alike."""
    generator = torch.Generator().manual_seed(1)
    shade = torch.linspace(-9, -6, 40)[:, None] + 2 * torch.randn(48, 40, 1, generator=generator)
    return shade + torch.linspace(1, 2, 40)[:, None] * torch.randn(48, 40, 25, generator=generator)


@pytest.fixture(scope="session")
def worn(clips) -> Classifier:
    """Three classes, each heard in some of the clips; biases and running statistics are those of no fresh network."""
    torch.manual_seed(0)
    network = DCASE2021(widths=(4, 3, 5), dense=6, classes=3, frames=25).eval()
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        elif tensor.is_floating_point():
            tensor.add_(0.1 * torch.randn_like(tensor))
    ear = front_end("dcase2021", duration_s=0.5)
    classifier = Classifier(network, ear, ("bus", "park", "tram"), torch.linspace(-9, -6, 40), torch.linspace(1, 2, 40))
    logits = classifier.logits(clips)
    with torch.no_grad():
        network.dense2.weight.mul_(2 / logits.std(dim=0)[:, None])
        network.dense2.bias.mul_(2 / logits.std(dim=0)).sub_(2 * logits.mean(dim=0) / logits.std(dim=0))
    assert classifier.posteriors(clips).argmax(1).bincount(minlength=3).min() >= 5
    return classifier

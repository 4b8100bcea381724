"""Singh et al., Pattern Recognition Letters 2020: SoundNet's convolutions, pruned."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from coppice.networks.registry import build_network
from coppice.reproduction.claim import RECOMPUTED, Claim, Paper

PAPER = Paper(
    "soundnet",
    "Pruned SoundNet",
    "A. Singh et al., Pattern Recognition Letters 131, 2020; code: repositories Pruning-1D-CNN and Pruned_SoundNet",
)

_UNPRUNED = (16, 32, 64, 128, 256, 512, 1024)
_PRUNED = (16, 32, 41, 56, 88, 235, 59)


def claims() -> Iterator[Claim]:
    """Yield the parameters of the convolutions before and after, and the share of filters that went."""
    for name, widths, params in (("unpruned", _UNPRUNED, 2_870_256), ("pruned", _PRUNED, 215_187)):
        yield Claim(
            PAPER,
            f"{name}.params",
            f"SoundNet, {name}: parameters of the seven convolutions",
            params,
            partial(_params, widths=widths),
            f"{RECOMPUTED} from the widths in the released code",
            "weights and biases of the convolutions alone",
        )
    yield Claim(
        PAPER,
        "filters",
        "SoundNet: filters removed",
        74.06,
        _removed,
        f"{RECOMPUTED} from the widths in the released code; the papers print 73",
        "share of all filters",
        unit="%",
        tolerance=0.005,
    )


def _params(data: Path, *, widths: tuple[int, ...]) -> int:
    with torch.device("meta"):
        network = build_network("soundnet", widths=widths)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv1d)]
    return sum(parameter.numel() for layer in layers for parameter in layer.parameters())


def _removed(data: Path) -> float:
    return 100 * (1 - sum(_PRUNED) / sum(_UNPRUNED))

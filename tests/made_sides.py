"""Inputs and targets of three classes that differ in one band each, to train and to validate on."""

import torch
from torch import Tensor


def made_sides(train: int, validation: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return so many clips of 40 bands and 25 frames for each side, always the same."""
    generator = torch.Generator().manual_seed(0)

    def side(clips: int) -> tuple[Tensor, Tensor]:
        targets = torch.arange(clips) % 3
        inputs = torch.randn(clips, 1, 40, 25, generator=generator)
        inputs[torch.arange(clips), 0, 8 * targets + 4] += 1.5
        return inputs, targets

    return side(train), side(validation)

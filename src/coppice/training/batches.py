"""Batches straight from memory, in an order that depends on the seed and the epoch only."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from coppice.core.seeds import derive_seed


class EpochOrder(Sampler[list[int]]):
    """Batches of indices, shuffled anew each epoch from (seed, epoch), so that a resumed epoch is the same one."""

    def __init__(self, clips: int, *, batch_size: int, seed: int) -> None:
        self.clips, self.batch_size, self.seed, self.epoch = clips, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        for batch in torch.randperm(self.clips, generator=generator).split(self.batch_size):
            yield batch.tolist()

    def __len__(self) -> int:
        return -(-self.clips // self.batch_size)


def shuffled_batches(
    inputs: Float[Tensor, "clips 1 mels frames"],
    targets: Int[Tensor, " clips"],
    *more: Float[Tensor, "clips classes"],
    batch_size: int,
    seed: int,
) -> DataLoader:
    """Return training batches; every clip comes once an epoch, the last batch may be smaller.

    ``more`` are tensors with a row for each clip that come along, such as what a teacher says.
    """
    order = EpochOrder(len(targets), batch_size=batch_size, seed=seed)
    return DataLoader(TensorDataset(inputs, targets, *more), sampler=order, batch_size=None)


def ordered_batches(
    inputs: Float[Tensor, "clips 1 mels frames"], targets: Int[Tensor, " clips"], *, batch_size: int
) -> DataLoader:
    """Return validation batches, in the order of the clips."""
    chunks = [chunk.tolist() for chunk in torch.arange(len(targets)).split(batch_size)]
    return DataLoader(TensorDataset(inputs, targets), sampler=chunks, batch_size=None)

"""One layer behind a cut, watched in the pruned and in the original network, and fitted to what it made there."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.pruning.compensation.least_squares import PARTS, Sums, fit
from coppice.pruning.compensation.readers import (
    Conv,
    Transposed,
    columns_of,
    from_columns,
    input_of,
    is_reader,
    rows_and_targets,
    to_columns,
)
from coppice.pruning.tracing.channels import Norm
from coppice.pruning.tracing.stored import Stored

MOST_COLUMNS = 4096  # the Gram matrix of so many takes 128 MiB
CLIPS_AT_A_TIME = 16

Runs = list[tuple[Tensor, Tensor]]
Pieces = Callable[[nn.Module, nn.Module, Stored, Tensor], Iterator[tuple[Tensor, Tensor]]]


class _Enough(BaseException):
    """A layer has run as often as it does: the rest of the network need not."""


@dataclass(eq=False)
class RefittedLayer:
    """One weight of one layer, seen in the pruned and in the original network.

    Attributes
    ----------
    layer, tensor : str
        Names of the layer and of the weight.
    times : int
        How often it runs.
    made, read : tuple of int
        Units of its filters and of the channels that it reads.
    doomed : collection of int
        Units that were cut.
    norm : str or None
        Name of the batch normalisation behind it.
    """

    layer: str
    tensor: str
    times: int
    made: tuple[int, ...]
    read: tuple[int, ...]
    doomed: Collection[int]
    norm: str | None

    def refit_(
        self,
        pruned: nn.Module,
        original: nn.Module,
        norms: Iterable[Norm],
        inputs: Float[Tensor, "clips *shape"],
        ridge: float | None,
    ) -> float | None:
        """Fit the weight, and the bias that the layer or the normalisation behind it has; return the ridge."""
        module, stored = pruned.get_submodule(self.layer), Stored(pruned, norms)
        if is_wide(module, stored.read(self.tensor)):
            return self._mix_(pruned, original, norms, inputs, ridge)
        now, bias_name = stored.read(self.tensor), self._bias(module)
        start = (to_columns(module, now) if is_reader(module) else now.T[None]).double().cpu()
        means = None if self.norm is None else pruned.get_buffer(f"{self.norm}.running_mean")
        biased = bias_name in stored or (means is not None and len(means) == start.shape[0] * start.shape[2])
        parts, middle = self._parts(self._pieces, pruned, original, norms, inputs, biased=biased)
        matrix, bias, chosen = fit(parts, start, ridge=ridge, bias=biased)
        new = from_columns(module, matrix, now.shape) if is_reader(module) else matrix[0].T
        stored.write_(self.tensor, new.to(now))
        if bias is not None:
            bias = (bias + (middle[1] - middle[0] @ matrix)[:, 0]).flatten().to(now)
            if bias_name in stored:
                stored.write_(bias_name, bias)
            elif means is not None:  # the same as a bias, where a normalisation follows
                means.sub_(bias.to(means))
        return chosen

    def _mix_(
        self,
        pruned: nn.Module,
        original: nn.Module,
        norms: Iterable[Norm],
        inputs: Float[Tensor, "clips *shape"],
        ridge: float | None,
    ) -> float | None:
        """Fit the lost channels by those that stay, and do with these what was done with those; return the ridge."""
        stored, whole = Stored(pruned, norms), Stored(original, norms)
        parts, middle = self._parts(self._channel_pieces, pruned, original, norms, inputs, biased=True)
        alive, gone = self._places()
        start = torch.zeros(1, len(alive), len(gone), dtype=torch.float64)
        matrix, bias, chosen = fit(parts, start, ridge=ridge, bias=True)
        assert bias is not None
        bias = bias + (middle[1] - middle[0] @ matrix)[:, 0]
        inside = 0 if isinstance(pruned.get_submodule(self.layer), Transposed) else 1
        lost = whole.read(self.tensor).double().cpu().index_select(inside, gone)
        if self.made:
            lost = lost.index_select(1 - inside, _alive(self.made, self.doomed))
        now = stored.read(self.tensor)
        gained = torch.tensordot(matrix[0], lost.movedim(inside, 0), dims=1).movedim(0, inside)
        stored.write_(self.tensor, (now.double().cpu() + gained).to(now))
        constant = torch.tensordot(bias[0], lost.movedim(inside, 0).flatten(2).sum(2), dims=1)
        if f"{self.layer}.bias" in stored:
            before = stored.read(f"{self.layer}.bias")
            stored.write_(f"{self.layer}.bias", before + constant.to(before))
        elif self.norm is not None:
            means = pruned.get_buffer(f"{self.norm}.running_mean")
            means.sub_(constant.to(means))
        return chosen

    def is_comparable(self, pruned: nn.Module, original: nn.Module, inputs: Float[Tensor, "clips *shape"]) -> bool:
        """Say whether the layer has the same rows in both networks; not where it works along another axis."""
        axis = self._axis(pruned.get_submodule(self.layer))
        pairs = zip(self._runs(pruned, inputs), self._runs(original, inputs), strict=True)
        return all(
            given.movedim(axis, 0).shape[1:] == before.movedim(axis, 0).shape[1:] for (given, _), (before, _) in pairs
        )

    def _parts(
        self,
        pieces: Pieces,
        pruned: nn.Module,
        original: nn.Module,
        norms: Iterable[Norm],
        inputs: Float[Tensor, "clips *shape"],
        *,
        biased: bool,
    ) -> tuple[list[Sums], tuple[Tensor, Tensor]]:
        """Return the sums of each part of the clips, and what was taken off rows and targets before."""
        parts: list[Sums] = []
        middle = (torch.zeros((), dtype=torch.float64),) * 2
        for clips in inputs.tensor_split(min(PARTS, len(inputs))):
            sums: Sums | None = None
            for rows, targets in pieces(pruned, original, Stored(original, norms), clips):
                if biased and not parts and sums is None:  # products of small numbers lose fewer digits
                    middle = (rows.mean(1, keepdim=True), targets.mean(1, keepdim=True))
                piece = Sums.of(rows - middle[0], targets - middle[1])
                sums = piece if sums is None else sums.plus(piece)
            assert sums is not None
            if not bool(torch.isfinite(sums.gram).all() and torch.isfinite(sums.energy).all()):
                raise CoppiceError(
                    f"layer {self.layer!r} reads or makes values that are not finite (NaN or infinite) on these "
                    "clips; nothing can be fitted to them."
                )
            parts.append(sums)
        return parts, middle

    def _pieces(
        self, pruned: nn.Module, original: nn.Module, whole: Stored, clips: Float[Tensor, "clips *shape"]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what the layer reads in the pruned network, in rows, and what it should make of them."""
        module = pruned.get_submodule(self.layer)
        for batch in clips.split(CLIPS_AT_A_TIME):
            runs = zip(self._runs(pruned, batch), self._runs(original, batch), strict=True)
            for number, ((given, _), (before, wanted)) in enumerate(runs):
                if number and self.read:  # its own output may be on the way, which is still unrepaired
                    given = self._surviving(module, before)
                if isinstance(module, nn.RNNBase):  # what goes into its gates is linear in what it reads
                    bias = self._bias(module)
                    wanted = F.linear(before, whole.read(self.tensor), whole.read(bias) if bias in whole else None)
                elif self.made:
                    alive = _alive(self.made, self.doomed).to(wanted.device)
                    wanted = wanted.index_select(self._axis(module), alive)
                for rows, targets in rows_and_targets(module, given, wanted):
                    yield rows.cpu(), targets.cpu()

    def _channel_pieces(
        self, pruned: nn.Module, original: nn.Module, whole: Stored, clips: Float[Tensor, "clips *shape"]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the channels that the pruned network has, position by position, and those that it lost."""
        module, (_, gone) = pruned.get_submodule(self.layer), self._places()
        for batch in clips.split(CLIPS_AT_A_TIME):
            runs = zip(self._runs(pruned, batch), self._runs(original, batch), strict=True)
            for number, ((given, _), (before, _)) in enumerate(runs):
                given = self._surviving(module, before) if number else given
                lost = before.index_select(1, gone.to(before.device))
                there, wanted = (some.movedim(1, -1).flatten(0, -2).double().cpu()[None] for some in (given, lost))
                yield there, wanted

    def _places(self) -> tuple[Int64[Tensor, " alive"], Int64[Tensor, " gone"]]:
        gone = [index for index, unit in enumerate(self.read) if unit in self.doomed]
        return _alive(self.read, self.doomed), torch.tensor(gone, dtype=torch.int64)

    def _bias(self, module: nn.Module) -> str:
        if isinstance(module, nn.RNNBase):
            return f"{self.layer}.{self.tensor.rpartition('.')[2].replace('weight', 'bias')}"
        return f"{self.layer}.bias"

    def _surviving(self, module: nn.Module, before: Tensor) -> Tensor:
        """Return what the pruned network leaves of what the layer reads in the original one."""
        axis = self._axis(module)
        groups = range(before.shape[axis] // len(self.read))  # the same channels leave every group
        alive = torch.cat([_alive(self.read, self.doomed) + group * len(self.read) for group in groups])
        return before.index_select(axis, alive.to(before.device))

    def _axis(self, module: nn.Module) -> int:
        return 1 if isinstance(module, Conv) else -1

    def _runs(self, network: nn.Module, batch: Float[Tensor, "clips *shape"]) -> Runs:
        """Return what the layer reads and makes, each time it runs on a batch."""
        found: Runs = []

        def catch(_module: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any], out: Any) -> None:
            read = input_of(self.layer, given, named)
            made = out if isinstance(out, Tensor) else read
            last = len(found) + 1 == self.times
            found.append((read, made) if last else (read.clone(), made.clone()))  # what follows may work in place
            if last:
                raise _Enough

        handle = network.get_submodule(self.layer).register_forward_hook(catch, with_kwargs=True)
        try:
            with suppress(_Enough):
                run(network, batch)
        finally:
            handle.remove()
        return found


def is_wide(module: nn.Module, weight: Tensor) -> bool:
    """Say whether a layer has too many columns for their products to be kept.

    Examples
    --------
    >>> is_wide(nn.Linear(5000, 2), torch.zeros(2, 5000)), is_wide(nn.Linear(50, 2), torch.zeros(2, 50))
    (True, False)
    """
    return columns_of(module, weight) > MOST_COLUMNS


def run(network: nn.Module, inputs: Float[Tensor, "clips *shape"]) -> None:
    """Run a network in eval mode without gradients.

    Raises
    ------
    CoppiceError
        If it does not run.

    Examples
    --------
    >>> run(nn.Linear(2, 3), torch.zeros(1, 4))
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: the network does not run on clips of shape (1, 4): mat1 and mat2 shapes ...
    """
    try:
        with eval_mode(network), torch.no_grad():
            network(inputs)
    except CoppiceError:
        raise
    except Exception as error:
        raise CoppiceError(f"the network does not run on clips of shape {tuple(inputs.shape)}: {error}") from error


def _alive(units: tuple[int, ...], doomed: Collection[int]) -> Int64[Tensor, " alive"]:
    return torch.tensor([index for index, unit in enumerate(units) if unit not in doomed], dtype=torch.int64)

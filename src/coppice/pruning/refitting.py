"""Refitting: layers behind a cut are made, one after the other, to give what they gave before it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.progress import progress_bar
from coppice.pruning.channels import Channels, Norm
from coppice.pruning.least_squares import PARTS, Sums, fit
from coppice.pruning.norms_behind import norms_behind
from coppice.pruning.readers import Conv, from_columns, is_reader, rows_and_targets, to_columns
from coppice.pruning.stored import Stored

MOST_COLUMNS = 4096  # the Gram matrix of so many takes 128 MiB
CLIPS_AT_A_TIME = 16

Runs = list[tuple[Tensor, Tensor]]


class _Enough(BaseException):
    """A layer has run as often as it does: the rest of the network need not."""


def reading_modules(network: nn.Module, channels: Channels, units: Collection[int]) -> dict[str, list[str]]:
    """Return the layers that read channels of some units, with the names of the weights that do.

    Parameters
    ----------
    network : nn.Module
    channels : Channels
        Of this network.
    units : collection of int

    Examples
    --------
    >>> from coppice.pruning.channels import trace
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 3, 3))
    >>> reading_modules(net, trace(net, torch.zeros(1, 1, 8)), {1})
    {'2': ['2.weight']}
    """
    modules = dict(network.named_modules())
    found: dict[str, list[str]] = {}
    for cut in channels.cuts:
        if cut.reads and not set(cut.units).isdisjoint(units):
            owner = cut.tensor.rpartition(".")[0]
            while owner and not (is_reader(modules[owner]) or isinstance(modules[owner], nn.RNNBase)):
                owner = owner.rpartition(".")[0]  # a parametrization of the layer holds its weight
            found.setdefault(owner, []).append(cut.tensor)
    return found


def order_of_runs(network: nn.Module, inputs: Float[Tensor, "clips *shape"]) -> dict[str, int]:
    """Return how often each convolution, linear and recurrent layer runs, in the order in which they first do.

    Examples
    --------
    >>> order_of_runs(nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 3, 3)), torch.zeros(1, 1, 8))
    {'0': 1, '2': 1}
    """
    times: dict[str, int] = {}

    def count(name: str) -> Any:
        return lambda *_: times.update({name: times.get(name, 0) + 1})

    handles = [
        module.register_forward_pre_hook(count(name))
        for name, module in network.named_modules()
        if is_reader(module) or isinstance(module, nn.RNNBase)
    ]
    try:
        _run(network, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return times


def refit_(
    pruned: nn.Module,
    original: nn.Module,
    channels: Channels,
    doomed: Collection[int],
    inputs: Float[Tensor, "clips *shape"],
    *,
    following: bool,
    ridge: float | None,
) -> dict[str, float | None]:
    """Refit, in place, the layers of a pruned network that read cut channels, and those behind them.

    In the order in which the layers run, each is fitted by ridge regression so that on the given inputs, from what it
    reads in the pruned network as it is by then, it makes what it makes in the original one.

    Parameters
    ----------
    pruned : nn.Module
        ``original`` without the doomed units; changed.
    original : nn.Module
        Not touched.
    channels : Channels
        Of ``original``.
    doomed : collection of int
        The units that were cut.
    inputs : Tensor [shape=(clips, ...)]
        Two or more inputs of the networks.
    following : bool
        Also refit the layers behind those that read cut channels.
    ridge : float > 0 or None
        See :func:`~coppice.pruning.least_squares.fit`.

    Returns
    -------
    dict of str to (float or None)
        The layers that were refitted and the ridge of each; None where only its bias changed.

    Raises
    ------
    CoppiceError
        If a layer that reads cut channels cannot be refitted, or what it reads is not finite.
    """
    broken = reading_modules(original, channels, doomed)
    times = order_of_runs(pruned, inputs[:1])
    stored = Stored(pruned, channels.norms)
    for name, tensors in broken.items():
        reason = _why_not(pruned.get_submodule(name), tensors, stored, times.get(name, 0))
        if reason is not None:
            raise CoppiceError(
                f"{tensors[0]!r} reads cut channels but cannot be refitted: {reason}; compensate by merge, or leave "
                "the layers before it whole."
            )
    names = list(times)
    first = min((names.index(name) for name in broken), default=len(names))
    weights = dict(broken)
    for name in names[first:] if following else []:
        module = pruned.get_submodule(name)
        if name not in broken and is_reader(module):
            directions = [norm.direction for norm in channels.norms]
            tensor = next((own for own in directions if own.startswith(f"{name}.")), f"{name}.weight")
            if _why_not(module, [tensor], stored, times[name]) is None:
                weights[name] = [tensor]
    behind = norms_behind(pruned, [name for name in weights if is_reader(pruned.get_submodule(name))], inputs[:1])
    done: dict[str, float | None] = {}
    with eval_mode(pruned), eval_mode(original), torch.no_grad(), progress_bar("refitting", len(weights)) as advance:
        for name in sorted(weights, key=names.index):
            for tensor in weights[name]:
                read = next((cut.units for cut in channels.cuts if cut.tensor == tensor and cut.reads), ())
                view = _View(name, tensor, times[name], channels.filters.get(name, ()), read, doomed, behind.get(name))
                done[name] = view.refit_(pruned, original, channels.norms, inputs, ridge)
            advance(1, name)
    return done


def _alive(units: tuple[int, ...], doomed: Collection[int]) -> Int64[Tensor, " alive"]:
    return torch.tensor([index for index, unit in enumerate(units) if unit not in doomed], dtype=torch.int64)


def _why_not(module: nn.Module, tensors: list[str], stored: Stored, runs: int) -> str | None:
    """Say why a layer cannot be refitted; None where it can."""
    if not runs:
        return "its layer does not run, or not through its own forward"
    if any(name not in stored for name in tensors):
        return "its weights are computed, not stored"
    if any(stored.is_shared(name) for name in tensors):
        return "several layers share it"
    columns = max(columns_of(module, stored.read(name)) for name in tensors)
    if columns > MOST_COLUMNS:
        return f"it has {columns} columns, more than the {MOST_COLUMNS} whose products are kept"
    return None


def columns_of(module: nn.Module, weight: Tensor) -> int:
    """Return how many numbers each output of a convolution, linear or recurrent layer is made from.

    Examples
    --------
    >>> layer = nn.Conv2d(4, 6, 3, groups=2)
    >>> columns_of(layer, layer.weight)
    18
    """
    return to_columns(module, weight).shape[1] if is_reader(module) else weight.shape[1]


@dataclass(eq=False)
class _View:
    """One weight of one layer, seen in both networks.

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
        now, bias_name = stored.read(self.tensor), self._bias(module)
        start = (to_columns(module, now) if is_reader(module) else now.T[None]).double().cpu()
        means = None if self.norm is None else pruned.get_buffer(f"{self.norm}.running_mean")
        biased = bias_name in stored or (means is not None and len(means) == start.shape[0] * start.shape[2])
        parts: list[Sums] = []
        middle = (torch.zeros((), dtype=torch.float64),) * 2
        for clips in inputs.tensor_split(min(PARTS, len(inputs))):
            sums: Sums | None = None
            for rows, targets in self._pieces(pruned, original, Stored(original, norms), clips):
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
            read = given[0] if given else next(iter(named.values()))
            made = out if isinstance(out, Tensor) else read
            last = len(found) + 1 == self.times
            found.append((read, made) if last else (read.clone(), made.clone()))  # what follows may work in place
            if last:
                raise _Enough

        handle = network.get_submodule(self.layer).register_forward_hook(catch, with_kwargs=True)
        try:
            with suppress(_Enough):
                _run(network, batch)
        finally:
            handle.remove()
        return found


def _run(network: nn.Module, inputs: Float[Tensor, "clips *shape"]) -> None:
    """Run a network in eval mode without gradients."""
    try:
        with eval_mode(network), torch.no_grad():
            network(inputs)
    except CoppiceError:
        raise
    except Exception as error:
        raise CoppiceError(f"the network does not run on clips of shape {tuple(inputs.shape)}: {error}") from error

"""What the layers behind a layer read of its filters, and how much their outputs matter to the posteriors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.progress import progress_bar
from coppice.pruning.compensation.readers import (
    Conv,
    columns_of,
    groups_of,
    input_of,
    is_followed,
    is_reader,
    rows_and_targets,
    to_columns,
)
from coppice.pruning.compensation.refitted_layer import CLIPS_AT_A_TIME, MOST_COLUMNS
from coppice.pruning.compensation.refitting import reading_modules
from coppice.pruning.tracing.channels import Channels, trace
from coppice.pruning.tracing.stored import Stored

DIRECTIONS = 10  # in which the posteriors are differentiated: exact for as many classes
RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class Reading:
    """What is read of the filters of a layer.

    Attributes
    ----------
    gram : Tensor [shape=(filters, taps, filters, taps)]
        Mean over clips of the summed products of what is read, less what the other columns of the same layers can make
        up for. A filter has as many taps as columns of all layers that read it.
    weights : Tensor [shape=(filters, taps, outputs)]
        What these layers do with it, times the root of the Fisher information of their outputs.
    """

    gram: Float64[Tensor, "filters taps filters taps"]
    weights: Float64[Tensor, "filters taps outputs"]


@dataclass(eq=False)
class _Seen:
    """Sums over the rows of one layer that reads."""

    gram: Tensor
    sums: Tensor
    fisher: Tensor
    rows: int = 0


def readings(
    network: nn.Module,
    layers: Sequence[str],
    inputs: Float[Tensor, "clips *shape"],
    *,
    score: str = "softmax",
) -> dict[str, Reading]:
    """Watch on some inputs what is read of the filters of layers, in one pass.

    Parameters
    ----------
    network : nn.Module
        Its outputs are logits of shape (clips, classes). Not touched.
    layers : sequence of str
        Convolution and linear layers by name.
    inputs : Tensor [shape=(clips, ...)]
    score : {"softmax", "sigmoid"}
        How logits become posteriors.

    Returns
    -------
    dict of str to Reading

    Raises
    ------
    CoppiceError
        If nothing reads the filters of a layer, what reads them is too wide, or the outputs are not of shape
        (clips, classes).

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    >>> found = readings(net, ["0"], torch.randn(20, 1, 8))["0"]
    >>> found.gram.shape, found.weights.shape
    (torch.Size([4, 3, 4, 3]), torch.Size([4, 3, 2]))
    """
    channels = trace(network, inputs[:1])
    readers = {name: reading_modules(network, channels, set(channels.units(name)) - {0}) for name in layers}
    stored = Stored(network, channels.norms)
    for name, found in readers.items():
        _check(network, channels, name, found, stored)
    seen = _watch(network, sorted({reader for found in readers.values() for reader in found}), inputs, score)
    for reader, sums in seen.items():
        if not bool(torch.isfinite(sums.gram).all() and torch.isfinite(sums.fisher).all()):
            raise CoppiceError(
                f"layer {reader!r} reads values that are not finite (NaN or infinite) on these clips, or makes such; "
                "nothing can be ranked by it."
            )
    tensors = {reader: tensors for found in readers.values() for reader, tensors in found.items()}
    return {
        name: _reading(
            channels, name, [_blocks(network, channels, stored, tensors[r], r, seen[r], len(inputs)) for r in found]
        )
        for name, found in readers.items()
    }


def _check(network: nn.Module, channels: Channels, name: str, found: dict[str, list[str]], stored: Stored) -> None:
    if not found:
        reason = channels.reasons.get(name, "are read by no layer")
        raise CoppiceError(
            f"layer {name!r} cannot be ranked by what is read of it: its filters {reason}; leave it out."
        )
    for reader, tensors in found.items():
        module = network.get_submodule(reader)
        if not is_followed(module) or any(tensor not in stored for tensor in tensors):
            raise CoppiceError(
                f"layer {name!r} cannot be ranked by what is read of it: {reader!r}, a {type(module).__name__}, does "
                "not read it with a stored matrix; choose another criterion."
            )
        columns = columns_of(module, stored.read(tensors[0]))
        if columns > MOST_COLUMNS:
            raise CoppiceError(
                f"layer {name!r} cannot be ranked by what is read of it: {reader!r} has {columns} columns, more than "
                f"the {MOST_COLUMNS} whose products are kept; choose another criterion."
            )


def _watch(
    network: nn.Module, readers: Sequence[str], inputs: Float[Tensor, "clips *shape"], score: str
) -> dict[str, _Seen]:
    """Sum, over all rows, products of what layers read and of the gradients of what they make."""
    seen: dict[str, _Seen] = {}
    caught: list[tuple[str, Tensor, Tensor, GradientEdge]] = []

    def catch(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], named: Mapping[str, Any], out: Any) -> None:
            read = input_of(name, given, named)
            made = out if is_reader(module) else read  # what goes into a gate has no name in torch
            if not made.requires_grad:
                raise CoppiceError(f"no gradient reaches layer {name!r}: the network computes it without.")
            caught.append((name, read.detach().clone(), made.detach(), get_gradient_edge(made)))

        return hook

    handles = [network.get_submodule(name).register_forward_hook(catch(name), with_kwargs=True) for name in readers]
    generator = torch.Generator().manual_seed(0)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            eval_mode(network),
            progress_bar("looking at clips", len(inputs)) as advance,
        ):
            for batch in inputs.detach().split(CLIPS_AT_A_TIME):
                caught.clear()
                logits = network(batch.clone().requires_grad_())
                slopes = _slopes(logits, [edge for *_, edge in caught], score, generator)
                for place, (name, given, made, _) in enumerate(caught):
                    _add(network.get_submodule(name), name, seen, given, made, [one[place] for one in slopes])
                advance(len(batch), "")
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _slopes(
    logits: object, edges: list[GradientEdge], score: str, generator: torch.Generator
) -> list[tuple[Tensor | None, ...]]:
    """Return gradients whose summed squares are, in the mean, the Fisher information of the posteriors."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point():
        raise CoppiceError("the network's output is not of shape (clips, classes); choose another criterion.")
    classes = logits.shape[1]
    p = (logits.sigmoid() if score == "sigmoid" else logits.softmax(1)).detach()
    if classes <= DIRECTIONS:
        mixes = torch.eye(classes, dtype=torch.float64)
    else:
        mixes = torch.randint(2, (DIRECTIONS, classes), generator=generator).double().mul(2).sub(1) / DIRECTIONS**0.5
    found: list[tuple[Tensor | None, ...]] = []
    for mix in mixes.to(p):
        if score == "sigmoid":
            direction = (p * (1 - p)).sqrt() * mix
        else:  # diag(p) - p pᵀ is the sum over classes c of p_c (e_c - p) (e_c - p)ᵀ
            direction = p.sqrt() * mix - p * (p.sqrt() * mix).sum(1, keepdim=True)
        found.append(torch.autograd.grad(logits, edges, direction, retain_graph=True, allow_unused=True))
    return found


def _add(
    module: nn.Module, name: str, seen: dict[str, _Seen], given: Tensor, made: Tensor, slopes: list[Tensor | None]
) -> None:
    groups, axis = groups_of(module), 1 if isinstance(module, Conv) else -1
    for rows, targets in rows_and_targets(module, given, made):
        rows = rows.cpu()
        if name not in seen:
            columns, outputs = rows.shape[2], targets.shape[2]
            seen[name] = _Seen(
                rows.new_zeros(groups, columns, columns),
                rows.new_zeros(groups, columns),
                rows.new_zeros(groups, outputs, outputs),
            )
        seen[name].gram += rows.mT @ rows
        seen[name].sums += rows.sum(1)
        seen[name].rows += rows.shape[1]
    for slope in slopes:
        if slope is not None:  # else the layer has no part in the output
            flat = slope.movedim(axis, -1).flatten(0, -2).double().cpu().unflatten(1, (groups, -1)).movedim(1, 0)
            seen[name].fisher += flat.mT @ flat


Block = tuple[Tensor, Tensor, list[int]]


def _blocks(
    network: nn.Module, channels: Channels, stored: Stored, tensors: list[str], reader: str, seen: _Seen, clips: int
) -> list[Block]:
    """Return, for each group of a layer that reads: Gram matrix, weights, and the unit of every column."""
    module: Any = network.get_submodule(reader)
    groups, gram = groups_of(module), seen.gram
    if is_reader(module):
        if module.bias is not None:
            gram = gram - seen.sums[:, :, None] * seen.sums[:, None] / seen.rows
        values, vectors = torch.linalg.eigh(seen.fisher / seen.rows)
        root = vectors * values.clamp(min=0).sqrt()[:, None]
        weights = to_columns(module, stored.read(tensors[0])).double().cpu() @ root
    else:  # all gates alike, so that together they matter as much as what they read
        weights = torch.cat([stored.read(tensor).double().cpu() for tensor in tensors]).T[None]
        matters = seen.fisher.diagonal(dim1=1, dim2=2).sum() / seen.rows
        weights = weights * (matters / weights.square().sum().clamp(min=torch.finfo(weights.dtype).tiny)).sqrt()
    cut = next(cut for cut in channels.cuts if cut.tensor == tensors[0] and cut.reads)
    taps = math.prod(module.kernel_size) if isinstance(module, Conv) else 1
    units, columns = [unit for unit in cut.units for _ in range(taps)], gram.shape[1]
    split = len(units) == groups * columns  # else the units are those of every group
    return [
        (gram[g] / clips, weights[g], units[g * columns : (g + 1) * columns] if split else units) for g in range(groups)
    ]


def _reading(channels: Channels, name: str, blocks_of_readers: list[list[Block]]) -> Reading:
    units = channels.units(name)
    owner: dict[int, int] = {}  # of filters that leave together, the first stands for all
    for index, unit in enumerate(units):
        if unit:
            owner.setdefault(unit, index)
    grams, weights = [], []
    for gram, weight, columns in (block for blocks in blocks_of_readers for block in blocks):
        places: list[list[int]] = [[] for _ in units]
        for column, unit in enumerate(columns):
            if unit in owner:
                places[owner[unit]].append(column)
        own = [column for some in places for column in some]
        others = [column for column in range(len(columns)) if columns[column] not in owner]
        gram = _without(gram, own, others)
        taps = max(len(some) for some in places)
        at = torch.tensor([index * taps + tap for index, some in enumerate(places) for tap in range(len(some))])
        wide = torch.zeros(len(units) * taps, len(units) * taps, dtype=gram.dtype)
        wide[at[:, None], at] = gram
        spread = torch.zeros(len(units) * taps, weight.shape[1], dtype=gram.dtype)
        spread[at] = weight[own]
        grams.append(wide.reshape(len(units), taps, len(units), taps))
        weights.append(spread.reshape(len(units), taps, -1))
    return Reading(_block_diagonal(grams), _block_diagonal([w[:, :, None] for w in weights])[:, :, 0])


def _without(gram: Tensor, own: list[int], others: list[int]) -> Tensor:
    """Return the Gram matrix of columns less what other columns, which stay, can make up for."""
    mine = gram[own][:, own]
    if not others:
        return mine
    theirs = gram[others][:, others]
    scale = float(theirs.diagonal().mean())
    hold = RIDGE * (scale if scale > 0 else 1.0)
    solved = torch.linalg.solve(theirs + hold * torch.eye(len(others), dtype=gram.dtype), gram[others][:, own])
    return mine - gram[own][:, others] @ solved


def _block_diagonal(parts: list[Tensor]) -> Tensor:
    """Put parts (filters, taps, rest, more) of several layers beside each other along taps and along the last axis."""
    shape = (parts[0].shape[0], sum(p.shape[1] for p in parts), parts[0].shape[2], sum(p.shape[3] for p in parts))
    whole = parts[0].new_zeros(shape)
    row = column = 0
    for part in parts:
        whole[:, row : row + part.shape[1], :, column : column + part.shape[3]] = part
        row, column = row + part.shape[1], column + part.shape[3]
    return whole

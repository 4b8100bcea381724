"""What criteria look at besides weights, gathered from a network and clips."""

import math
import time
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F

from coppice.core.errors import CoppiceError
from coppice.core.modes import eval_mode
from coppice.core.progress import progress_bar
from coppice.core.units import bytes_text
from coppice.criteria.evidence import NEEDS, Evidence, looks_at
from coppice.criteria.summaries import summarise
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.evidence.reading import Reading, readings
from coppice.pruning.tracing.handed_on import HandedOn, handed_on

BATCH_NUMBERS = 2**22  # in the largest map of a batch: 32 MiB in float64
MOST_CLIPS = 64  # in a batch
MOST_BYTES = 2**30  # of maps that are kept
PATIENCE_S = 2.0  # what takes longer gets a progress bar


def collect_evidence(
    model: Classifier | nn.Module,
    layers: Sequence[str],
    needed: Collection[str],
    *,
    example: Float[Tensor, "1 *shape"] | None = None,
    clips: Float[Tensor, "clips *shape"] | None = None,
    targets: Int[Tensor, " clips"] | None = None,
) -> dict[str, Evidence]:
    """Gather what a criterion needs for each layer, in one pass over the clips.

    The maps of a layer are what it hands on (see :func:`~coppice.pruning.tracing.handed_on.handed_on`). Summaries are
    worked out batch by batch, so that memory does not grow with the number of clips; only for a criterion that asks for
    ``maps`` or ``gradients`` themselves are they kept, up to 1 GiB. A layer that runs several times per clip hands on
    several maps, which count as those of further clips.

    Parameters
    ----------
    model : Classifier or nn.Module
        Run in eval mode. Its training flags, gradients, ``requires_grad`` and hooks are as before when the call
        ends, also when it fails.
    layers : sequence of str
        Convolution and linear layers by name.
    needed : collection of str
        Fields of :class:`~coppice.criteria.evidence.Evidence` and names of summaries.
    example : Tensor, optional
        One input for a bare module, batch of 1; needed for ``scale`` where no clips are given.
    clips : Tensor, optional
        Log-mel of shape (clips, mels, frames), not normalised, for a classifier; inputs of shape (clips, ...) for
        a bare module. Some dozens are enough to rank filters.
    targets : Tensor of int, optional
        Class index of each clip. The log-loss is that of the network's outputs as logits of shape (clips, classes).

    Returns
    -------
    dict of str to Evidence
        What could be gathered: without clips there are no maps, without targets no gradients.

    Raises
    ------
    CoppiceError
        If clips or targets do not fit, the network does not run on them, a layer is not run, what it hands on is
        not finite, or maps that are to be kept are too large.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU())
    >>> found = collect_evidence(net, ["0"], ["nonzero_share", "maps"], clips=torch.randn(5, 1, 8))
    >>> found["0"].maps.shape, found["0"].summaries["nonzero_share"].shape
    (torch.Size([5, 2, 6]), torch.Size([2]))
    """
    behind = frozenset(needed) & {"read_gram", "read_weights"}
    if behind and clips is not None:
        others = collect_evidence(model, layers, set(needed) - behind, example=example, clips=clips, targets=targets)
        found = _read(model, layers, clips)
        return {
            name: replace(others.get(name, Evidence()), read_gram=one.gram, read_weights=one.weights)
            for name, one in found.items()
        }
    known = {"scale"} | ({"maps"} if clips is not None else set())
    known |= {"gradients"} if clips is not None and targets is not None else set()
    possible = [name for name in needed if looks_at(name) <= known]
    read = frozenset().union(*(looks_at(name) for name in possible))
    if clips is None or not layers or read <= {"scale"}:
        if not read or not layers:
            return {}
        if example is None and clips is not None and not isinstance(model, Classifier):
            example = clips[:1]
        network, one = as_network(model, example)
        probes, _ = _probe(network, layers, one)
        return {name: Evidence(scale=probe.scale) for name, probe in probes.items()}
    watch = _Watch(model, layers, clips, targets if "gradients" in read else None)
    gathered = watch.gather([name for name in possible if name not in NEEDS], [n for n in NEEDS if n in possible])
    return {name: gathered[name].evidence(watch.probes[name].scale) for name in layers}


def _read(
    model: Classifier | nn.Module, layers: Sequence[str], clips: Float[Tensor, "clips *shape"]
) -> dict[str, Reading]:
    """Return what the layers behind each layer read of it."""
    watch = _Watch(model, layers, clips, None)
    score = model.score if isinstance(model, Classifier) else "softmax"
    return readings(watch.network, layers, watch.inputs(clips), score=score)


@dataclass
class _Probe:
    """What one clip shows of a layer: how large its maps are, over all runs, and whether clips are their first axis."""

    largest: int = 0
    total: int = 0
    by_clip: bool = True
    scale: Tensor | None = None


@dataclass
class _Gathered:
    """What has been gathered of one layer."""

    layer: str
    summaries: Sequence[str]
    kinds: Sequence[str]
    clips: int = 0
    means: dict[str, Float64[Tensor, "filters *rest"]] = field(default_factory=dict)
    kept: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, maps: Tensor, gradients: Tensor | None) -> None:
        """Take in the maps (clips, filters, *positions) of a batch, and gradients where there are any."""
        for kind, part in (("maps", maps), ("gradients", gradients)):
            if part is not None and kind in self.kinds:
                # A copy: the network may go on to change its own in place.
                self.kept.setdefault(kind, []).append(part.to("cpu", copy=True))
        self.clips += len(maps)
        if not self.summaries:
            return
        exact = maps.to("cpu", torch.float64)
        slopes = None if gradients is None else gradients.to("cpu", torch.float64)
        for name in self.summaries:
            new, share = summarise(name, exact, slopes), len(maps) / self.clips
            self.means[name] = new if name not in self.means else self.means[name].lerp(new, share)

    def evidence(self, scale: Tensor | None) -> Evidence:
        """Put it together."""
        whole: dict[str, Tensor] = {}
        for kind, parts in self.kept.items():
            if len({part.shape[1:] for part in parts}) > 1:
                raise CoppiceError(
                    f"layer {self.layer!r} runs several times with maps of different shapes, which cannot be put "
                    "together; leave it out, or choose a criterion that reads a summary."
                )
            whole[kind] = torch.cat(parts)
        return Evidence(scale=scale, maps=whole.get("maps"), gradients=whole.get("gradients"), summaries=self.means)


class _Watch:
    """A network, the clips it is watched on and the layers that are watched."""

    def __init__(
        self,
        model: Classifier | nn.Module,
        layers: Sequence[str],
        clips: Float[Tensor, "clips *shape"],
        targets: Int[Tensor, " clips"] | None,
    ) -> None:
        _check_clips(model, clips)
        self.model, self.layers, self.clips, self.targets = model, tuple(layers), clips, targets
        self.network = as_network(model, clips[:1])[0]
        self.probes, output = _probe(self.network, self.layers, self.inputs(clips[:1]))
        if targets is not None:
            _check_targets(targets, len(clips), _classes(output, 1))

    def gather(self, summaries: Sequence[str], kinds: Sequence[str]) -> dict[str, _Gathered]:
        """Run over all clips; work out summaries, and keep maps and gradients where these are asked for."""
        self._refuse_too_large(len({"maps", "gradients"} & set(kinds)))
        gathered = {name: _Gathered(name, summaries, kinds) for name in self.layers}
        size = 1
        if all(probe.by_clip for probe in self.probes.values()):
            largest = max(probe.largest for probe in self.probes.values())
            size = min(MOST_CLIPS, max(1, BATCH_NUMBERS // largest))
        starts = range(0, len(self.clips), size)
        begin = time.monotonic()
        self._look(gathered, 0, size)
        slow = (time.monotonic() - begin) * len(starts) > PATIENCE_S
        bar = progress_bar("activations", len(self.clips)) if slow else nullcontext(_unseen)
        with bar as advance:
            advance(min(size, len(self.clips)), "")
            for start in starts[1:]:
                self._look(gathered, start, size)
                advance(min(size, len(self.clips) - start), "")
        return gathered

    def _refuse_too_large(self, kinds: int) -> None:
        per_clip = kinds * sum(probe.total for probe in self.probes.values()) * self.clips.element_size()
        if per_clip * len(self.clips) > MOST_BYTES:
            fit = MOST_BYTES // per_clip
            what = f"give no more than {fit} of them" if fit else "rank one layer at a time"
            raise CoppiceError(
                f"the maps of {len(self.clips)} clips take {bytes_text(per_clip * len(self.clips))}, more than the "
                f"{bytes_text(MOST_BYTES)} that are kept; {what}, or let the criterion read a summary instead of maps."
            )

    def inputs(self, clips: Float[Tensor, "clips *shape"]) -> Float[Tensor, "clips *input"]:
        given = self.model.normalise(clips) if isinstance(self.model, Classifier) else clips
        parameter = next(self.network.parameters(), torch.empty(0))
        dtype = parameter.dtype if given.is_floating_point() else given.dtype
        return given.to(parameter.device, dtype)

    def _look(self, gathered: dict[str, _Gathered], start: int, size: int) -> None:
        """Run a batch and add what the layers hand on."""
        clips = self.clips[start : start + size]
        backward = self.targets is not None
        caught: list[tuple[HandedOn, Tensor, torch.autograd.graph.GradientEdge]] = []

        def receive(run: HandedOn) -> None:
            maps = self._canonical(run, run.value.detach(), start, len(clips))
            if not backward:
                gathered[run.layer].add(maps, None)
                return
            if not run.value.requires_grad:
                raise CoppiceError(
                    f"no gradient reaches layer {run.layer!r}: the network computes it without; leave it out, or "
                    "choose a criterion that does not look at gradients."
                )
            caught.append((run, maps.clone(), get_gradient_edge(run.value)))

        with torch.inference_mode(False), torch.set_grad_enabled(backward), eval_mode(self.network):
            given = self.inputs(clips).detach().clone()
            with handed_on(self.network, self.layers, receive) as end:
                output = _run(self.network, given.requires_grad_(backward and given.is_floating_point()))
                end()
            if not backward:
                return
            assert self.targets is not None
            losses = self._log_losses(output, self.targets[start : start + size])
            slopes = torch.autograd.grad(losses.sum(), [edge for *_, edge in caught], allow_unused=True)
        for (run, maps, _), slope in zip(caught, slopes, strict=True):
            unused = slope is None  # the layer has no part in the output
            gradients = torch.zeros_like(maps) if unused else self._canonical(run, slope, start, len(clips))
            gathered[run.layer].add(maps, gradients)

    def _canonical(
        self, run: HandedOn, value: Tensor, start: int, clips: int
    ) -> Float[Tensor, "clips filters *positions"]:
        """Bring what a layer hands on, or its gradient, to clips, filters and positions."""
        linear = isinstance(self.network.get_submodule(run.layer), nn.Linear)
        value = value.reshape(run.shape)
        if len(run.shape) > 1 and run.shape[0] == clips:
            maps = value.movedim(-1 if linear else 1, 1)
        elif clips == 1:  # pieces of the one clip: one more axis of positions
            maps = value.movedim(-1 if linear else min(1, value.ndim - 1), 0).unsqueeze(0)
        else:
            raise CoppiceError(
                f"layer {run.layer!r} makes {run.shape[0]} maps of {clips} clips; which belongs to which is not known."
            )
        finite = torch.isfinite(maps).reshape(len(maps), -1).all(dim=1)
        if not bool(finite.all()):
            where = start + int((~finite).nonzero()[0])
            raise CoppiceError(
                f"layer {run.layer!r} hands on values that are not finite (NaN or infinite) for clip {where}; a "
                "network that overflows cannot be ranked by what it hands on."
            )
        return maps

    def _log_losses(self, output: object, targets: Int[Tensor, " clips"]) -> Float[Tensor, " clips"]:
        classes = _classes(output, len(targets))
        assert isinstance(output, Tensor)
        logits = output if output.dtype == torch.float64 else output.float()
        targets = targets.to(logits.device, torch.int64)
        if isinstance(self.model, Classifier) and self.model.score == "sigmoid":
            wanted = F.one_hot(targets, classes).to(logits.dtype)
            return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(dim=1)
        return F.cross_entropy(logits, targets, reduction="none")


def _probe(
    network: nn.Module, layers: Sequence[str], one: Float[Tensor, "1 *shape"]
) -> tuple[dict[str, _Probe], object]:
    """Run a network on one input; return what it shows of each layer, and the output."""
    probes: dict[str, _Probe] = {}

    def receive(run: HandedOn) -> None:
        probe = probes.setdefault(run.layer, _Probe())
        size = math.prod(run.shape)
        probe.largest, probe.total = max(probe.largest, size), probe.total + size
        probe.by_clip &= len(run.shape) > 1 and run.shape[0] == 1
        filters = run.shape[-1 if isinstance(network.get_submodule(run.layer), nn.Linear) else 1]
        if run.scale is not None and run.scale.shape == (filters,):
            probe.scale = run.scale.detach().clone()

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        eval_mode(network),
        handed_on(network, layers, receive) as end,
    ):
        output = _run(network, one.clone())
        end()
    for name in layers:
        if name not in probes:
            raise CoppiceError(f"the network does not run layer {name!r} on these inputs; leave it out.")
    return {name: probes[name] for name in layers}, output


def _unseen(_steps: int, _note: str) -> None:
    """Advance no bar."""


def _run(network: nn.Module, inputs: Tensor) -> object:
    try:
        return network(inputs)
    except CoppiceError:
        raise
    except Exception as error:
        raise CoppiceError(f"the network does not run on clips of shape {tuple(inputs.shape)}: {error}") from error


def _check_clips(model: Classifier | nn.Module, clips: object) -> None:
    if not isinstance(clips, Tensor):
        raise CoppiceError(f"clips is a {type(clips).__name__}; give a tensor whose first axis is clips.")
    if isinstance(model, Classifier):
        bands, frames = model.input_shape[2:]
        if clips.ndim != 3 or tuple(clips.shape[1:]) != (bands, frames):
            raise CoppiceError(
                f"clips of shape {tuple(clips.shape)} do not fit: this classifier takes log-mel of shape (clips, "
                f"{bands} mels, {frames} frames), not normalised."
            )
    if clips.ndim < 2 or not clips.numel():
        raise CoppiceError(f"clips of shape {tuple(clips.shape)} hold nothing to look at; give one clip or more.")
    finite = torch.isfinite(clips).flatten(1).all(dim=1)
    if not bool(finite.all()):
        where = int((~finite).nonzero()[0])
        raise CoppiceError(f"clip {where} has values that are not finite (NaN or infinite); leave it out.")


def _check_targets(targets: object, clips: int, classes: int) -> None:
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.dtype == torch.bool:
        kind = str(targets.dtype).removeprefix("torch.") if isinstance(targets, Tensor) else type(targets).__name__
        raise CoppiceError(f"targets are {kind}; give a tensor of whole numbers, the class index of each clip.")
    if targets.shape != (clips,):
        raise CoppiceError(f"targets of shape {tuple(targets.shape)} do not go with {clips} clips; give one per clip.")
    wrong = ((targets < 0) | (targets >= classes)).nonzero().flatten().tolist()
    if wrong:
        raise CoppiceError(
            f"target {int(targets[wrong[0]])} of clip {wrong[0]} is not a class: the network has {classes}, numbered "
            f"0 to {classes - 1}."
        )


def _classes(output: object, clips: int) -> int:
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != clips or not output.is_floating_point():
        what = f"of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise CoppiceError(
            f"the network's output is {what}; gradients of the log-loss need logits of shape (clips, classes)."
        )
    return output.shape[1]

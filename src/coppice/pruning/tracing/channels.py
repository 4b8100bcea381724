"""Which filter does each channel depend on: traced once on an example, then pure data."""

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.core.attention import products_of_attention
from coppice.core.calls import module_calls
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.modes import eval_mode, uncompiled
from coppice.pruning.tracing import layer_rules, rules  # noqa: F401 - registers the rules
from coppice.pruning.tracing.labels import vector_along
from coppice.pruning.tracing.tracer import LAYERS, Tracer, ValuesRead


@dataclass(frozen=True)
class Cut:
    """One axis of one parameter or buffer that shrinks when filters leave.

    Attributes
    ----------
    tensor : str
        Dotted name, such as ``"bn1.running_mean"``.
    axis : int
        Which axis.
    units : tuple of int
        For every index along it, the unit it vanishes with; 0 = never.
    reads : bool
        True where a weight reads channels along this axis, False where the axis is made by them.
    """

    tensor: str
    axis: int
    units: tuple[int, ...]
    reads: bool


@dataclass(frozen=True)
class Norm:
    """A weight stored as direction and magnitude (weight normalisation, Salimans and Kingma, NeurIPS 2016).

    Attributes
    ----------
    magnitude, direction : str
        Dotted names of the two tensors.
    axis : int
        The magnitude holds the norm of each slice of the weight along this axis.
    """

    magnitude: str
    direction: str
    axis: int


@dataclass(frozen=True)
class Channels:
    """Filters that live and die together, for a whole network.

    A *unit* is a number for a set of coupled filters, across layers or within one; unit 0 never leaves.

    Attributes
    ----------
    filters : mapping of str to tuple of int
        Layer name → unit of each filter, in the order in which the layers run.
    cuts : tuple of Cut
        Every axis that shrinks.
    reasons : mapping of str to str
        Layer name → why (some of) its filters never leave.
    norms : tuple of Norm
        Weights under weight normalisation: where these lose channels, their magnitudes change.
    widths : mapping of str to tuple of int
        Normalisations that hold no tensors → unit of each channel.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 3, 3))
    >>> channels = trace(net, torch.zeros(1, 1, 8))
    >>> channels.filters
    {'0': (1, 2), '2': (0, 0, 0)}
    >>> [(cut.tensor, cut.axis, cut.units) for cut in channels.cuts]
    [('0.bias', 0, (1, 2)), ('0.weight', 0, (1, 2)), ('2.weight', 1, (1, 2))]
    >>> channels.reasons["2"]
    "reach the network's output"
    """

    filters: Mapping[str, tuple[int, ...]]
    cuts: tuple[Cut, ...]
    reasons: Mapping[str, str]
    norms: tuple[Norm, ...] = ()
    widths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the traced convolution and linear layers, in the order in which they run."""
        return tuple(self.filters)

    def units(self, layer: str) -> tuple[int, ...]:
        """Return the unit of each filter of a layer.

        Raises
        ------
        CoppiceError
            If the network has no such layer, or the example did not run it.
        """
        if layer not in self.filters:
            raise CoppiceError(
                f"there is no layer {layer!r} with filters that can be followed. {did_you_mean(layer, self.filters)}"
            )
        return self.filters[layer]

    def can_be_cut(self, layer: str) -> bool:
        """Say whether at least one filter of a layer may leave."""
        return any(self.units(layer))

    def coupled_layers(self, layer: str) -> tuple[str, ...]:
        """Return the other layers that lose filters when this one does, in the order in which they run.

        Examples
        --------
        >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Conv1d(4, 4, 3, groups=4), nn.Conv1d(4, 2, 1))
        >>> trace(net, torch.zeros(1, 1, 8)).coupled_layers("0")
        ('1',)
        """
        mine = set(self.units(layer)) - {0}
        return tuple(other for other in self.filters if other != layer and mine & set(self.filters[other]))

    def doomed(self, layer: str, keep: Iterable[int]) -> frozenset[int]:
        """Return the units that leave when a layer keeps only some of its filters.

        Raises
        ------
        CoppiceError
            If a filter that never leaves is missing from ``keep``, or coupled filters are torn apart.
        """
        units, kept = self.units(layer), set(keep)
        lost = [index for index in range(len(units)) if index not in kept]
        never = [index for index in lost if units[index] == 0]
        if never:
            raise CoppiceError(
                f"filter {never[0]} of {layer!r} cannot be cut: its filters {self.reasons[layer]}; keep it."
            )
        doomed = {units[index] for index in lost}
        torn = [index for index in sorted(kept) if units[index] in doomed]
        if torn:
            partners = [index for index, unit in enumerate(units) if unit == units[torn[0]]]
            raise CoppiceError(
                f"filters {partners} of {layer!r} live and die together; keep all of them or none, not only "
                f"{[index for index in partners if index in kept]}."
            )
        return frozenset(doomed)


def trace(
    network: nn.Module, example: Float[Tensor, "1 *shape"], *, tracer: Callable[..., Tracer] = Tracer
) -> Channels:
    """Run a network once on an example and find which filter each channel depends on.

    Label propagation: every convolution and linear layer gives each output channel a label; labels travel
    through all operators of the forward pass. The values of convolutions are computed only where the forward
    looks at values to decide what to do, which makes tracing many times faster than a forward pass of a large
    network. The network's training flags, hooks and ``requires_grad`` are as before when the call ends, also when
    it fails.

    Parameters
    ----------
    network : nn.Module
        Any network; it is run in eval mode without gradients.
    example : Tensor [shape=(1, ...)]
        One input. Only what runs on this input is seen.
    tracer : callable
        Makes the tracer from the network and its calls; one that records more than labels, say.

    Returns
    -------
    Channels

    Raises
    ------
    CoppiceError
        If the network cannot run on the example, or an operator on labelled values has no rule.
    """
    scripted = [name for name, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule)]
    if scripted:
        where = repr(scripted[0]) if scripted[0] else "the network"
        raise CoppiceError(f"{where} is TorchScript, which cannot be followed; give the module that it was made from.")
    elsewhere = {tensor.device for tensor in (*network.parameters(), *network.buffers())} - {torch.device("cpu")}
    if elsewhere:  # accelerators have operators of their own, for LSTMs for example
        with suppress(CoppiceError, RuntimeError, TypeError):
            return trace(copy.deepcopy(network).cpu(), example.cpu(), tracer=tracer)
    try:
        return _traced(network, example, values=False, make_tracer=tracer)
    except (ValuesRead, _DoesNotRun):
        return _traced(network, example, values=True, make_tracer=tracer)


class _DoesNotRun(CoppiceError):
    """A forward raised an error of its own."""


def _traced(
    network: nn.Module,
    example: Float[Tensor, "1 *shape"],
    *,
    values: bool,
    make_tracer: Callable[..., Tracer] = Tracer,
) -> Channels:
    with ExitStack() as stack:
        calls = stack.enter_context(module_calls(network))
        for mode in (eval_mode(network), uncompiled(network), products_of_attention(), torch.inference_mode(False)):
            stack.enter_context(mode)
        tracer = make_tracer(network, calls, values=values)
        try:
            with torch.no_grad(), tracer:
                output = network(example)
        except CoppiceError:
            raise
        except Exception as error:
            raise _DoesNotRun(
                f"the network does not run on an example of shape {tuple(example.shape)}: {error}"
            ) from error
    if tracer.looked:  # and caught what that raised
        raise ValuesRead
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor):
            tracer.coupling.pin(tracer.labels(leaf), "reach the network's output")
    return _channels(tracer)


def traceable_layers(network: nn.Module) -> tuple[str, ...]:
    """Return the names of all convolution and linear layers, run or not."""
    return tuple(name for name, module in network.named_modules() if isinstance(module, LAYERS))


def _channels(tracer: Tracer) -> Channels:
    """Turn labels into units, numbered in the order in which the layers run."""
    resolve = tracer.coupling.resolve
    elements = tracer.named_labels()
    for name, labels in elements.items():
        classes = resolve(labels)
        if all(vector_along(classes, axis) is None for axis in range(classes.ndim)):
            tracer.coupling.pin(labels, f"share elements of the parameter {name!r}")
    found: list[tuple[str, int, Tensor, bool]] = []
    for name, labels in elements.items():
        for axis in range(labels.ndim):
            vector = vector_along(resolve(labels), axis)
            if vector is not None and len(vector) > 1:
                found.append((name, axis, vector, False))
    found += [(name, axis, known.labels, known.reads) for (name, axis), known in tracer.axes.items()]
    numbers = {0: 0}
    for labels in tracer.layers.values():
        for label in resolve(labels).tolist():
            numbers.setdefault(label, len(numbers))
    filters = {
        layer: tuple(numbers[label] for label in resolve(labels).tolist()) for layer, labels in tracer.layers.items()
    }
    cuts = [
        Cut(name, axis, tuple(numbers.get(label, 0) for label in resolve(labels).tolist()), reads)
        for name, axis, labels, reads in found
    ]
    reasons = {layer: tracer.coupling.reason(labels) for layer, labels in tracer.layers.items()}
    return Channels(
        filters=filters,
        cuts=tuple(sorted((cut for cut in cuts if any(cut.units)), key=lambda cut: (cut.tensor, cut.axis))),
        reasons={layer: reason for layer, reason in reasons.items() if reason is not None},
        norms=tuple(
            Norm(tracer.name(weight.magnitude), name, weight.axis)
            for name, weight in sorted(tracer.normalised.items())
            if weight.magnitude is not None
        ),
        widths={
            name: tuple(numbers.get(label, 0) for label in resolve(labels).tolist())
            for name, labels in tracer.widths.items()
        },
    )

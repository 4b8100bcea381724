"""From a complete layer specification to the torch modules that compute it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coppice.networks.chain_specs import Shape, Spec

_MODULES: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "relu6": lambda _: nn.ReLU6(),
    "clip": lambda spec: nn.Hardtanh(spec["low"], spec["high"]),
    "leaky_relu": lambda spec: nn.LeakyReLU(spec["slope"]),
    "elu": lambda spec: nn.ELU(spec["alpha"]),
    "selu": lambda _: nn.SELU(),
    "tanh": lambda _: nn.Tanh(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "softplus": lambda _: nn.Softplus(),
    "softsign": lambda _: nn.Softsign(),
    "swish": lambda _: nn.SiLU(),
    "mish": lambda _: nn.Mish(),
    "gelu": lambda _: nn.GELU(),
    "gelu_tanh": lambda _: nn.GELU("tanh"),
    "hard_sigmoid": lambda _: nn.Hardsigmoid(),
    "hard_sigmoid_keras2": lambda _: Keras2HardSigmoid(),
    "hard_swish": lambda _: nn.Hardswish(),
}


class Keras2HardSigmoid(nn.Module):
    """The hard sigmoid of Keras 1 and 2: ``clip(0.2 x + 0.5, 0, 1)``; Keras 3 and torch have x / 6 instead."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return values from 0 to 1."""
        return (0.2 * x + 0.5).clamp(0.0, 1.0)


class UnevenAvgPool(nn.Module):
    """Average pooling with other padding before than after; the padding is not counted in the averages.

    Parameters
    ----------
    kernel, stride : sequence of int
        One number per axis.
    padding : sequence of (int, int)
        Before and after each axis.
    """

    def __init__(self, *, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = tuple(kernel), tuple(stride), _torch_padding(padding)

    def forward(self, x: Float[Tensor, "clips channels *axes"]) -> Float[Tensor, "clips channels *pooled"]:
        """Return the average of what each window holds of the input."""
        pool = F.avg_pool1d if len(self.kernel) == 1 else F.avg_pool2d
        inside = x.new_ones((1, 1, *x.shape[2:]))
        sums = pool(F.pad(x, self.padding), self.kernel, self.stride)
        return sums / pool(F.pad(inside, self.padding), self.kernel, self.stride)


class GlobalPool(nn.Module):
    """Average or maximum over all axes behind the channels.

    Parameters
    ----------
    maximum : bool
        The maximum instead of the average.
    keep_axes : bool
        Leave the axes in place, with size 1.
    """

    def __init__(self, *, maximum: bool, keep_axes: bool) -> None:
        super().__init__()
        self.maximum, self.keep_axes = maximum, keep_axes

    def forward(self, x: Float[Tensor, "clips channels *axes"]) -> Float[Tensor, "clips channels *ones"]:
        """Return one value per channel."""
        axes = tuple(range(2, x.ndim))
        return x.amax(axes, keepdim=self.keep_axes) if self.maximum else x.mean(axes, keepdim=self.keep_axes)


def modules_of(name: str, spec: Spec, shape: Shape) -> dict[str, nn.Module]:
    """Return the modules of one layer under their names, in the order in which they run.

    Parameters
    ----------
    name : str
        The layer's name; uneven padding comes before it as a module of its own, ``conv1_pad``.
    spec : dict
        Complete (see :func:`coppice.networks.chain_specs.complete`).
    shape : tuple of int
        What goes in, without the batch.

    Examples
    --------
    >>> from coppice.networks.chain_specs import complete
    >>> spec, _ = complete({"kind": "conv", "filters": 2, "kernel": 4, "padding": "same"}, (1, 8, 8))
    >>> modules_of("conv1", spec, (1, 8, 8))
    {'conv1_pad': ConstantPad2d(padding=(1, 2, 1, 2), value=0.0),
     'conv1': Conv2d(1, 2, kernel_size=(4, 4), stride=(1, 1))}
    """
    kind, axes = spec["kind"], len(shape) - 1
    if kind == "conv":
        return _with_padding(name, spec, axes, 0.0, lambda padding: _conv(spec, shape, axes, padding))
    if kind == "max_pool":
        max_pool = nn.MaxPool1d if axes == 1 else nn.MaxPool2d
        kernel, stride = tuple(spec["kernel"]), tuple(spec["stride"])
        return _with_padding(name, spec, axes, -torch.inf, lambda padding: max_pool(kernel, stride, padding))
    if kind == "pad":
        return {name: _constant_pad(spec["padding"], 0.0)}
    if kind == "avg_pool":
        return {name: _avg_pool(spec, axes)}
    if kind in ("global_max_pool", "global_avg_pool"):
        return {name: GlobalPool(maximum=kind == "global_max_pool", keep_axes=spec["keep_axes"])}
    if kind == "batch_norm":
        batch_norm = nn.BatchNorm2d if axes == 2 else nn.BatchNorm1d
        return {name: batch_norm(shape[0], eps=spec["eps"], momentum=spec["momentum"])}
    if kind == "activation":
        return {name: _MODULES[spec["function"]](spec)}
    if kind == "dropout":
        whole = (nn.Dropout1d if axes == 1 else nn.Dropout2d) if spec["whole_channels"] else nn.Dropout
        return {name: whole(spec["rate"])}
    if kind == "dense":
        return {name: nn.Linear(shape[0], spec["units"], bias=spec["bias"])}
    return {name: nn.Flatten()}


def _conv(spec: Spec, shape: Shape, axes: int, padding: tuple[int, ...]) -> nn.Module:
    conv: Callable[..., nn.Module] = nn.Conv1d if axes == 1 else nn.Conv2d
    return conv(
        shape[0],
        spec["filters"],
        tuple(spec["kernel"]),
        stride=tuple(spec["stride"]),
        padding=padding,
        dilation=tuple(spec["dilation"]),
        groups=spec["groups"],
        bias=spec["bias"],
    )


def _with_padding(
    name: str, spec: Spec, axes: int, value: float, make: Callable[[tuple[int, ...]], nn.Module]
) -> dict[str, nn.Module]:
    """Let the layer pad by itself where it can: the same on both sides, for a pool at most half its kernel."""
    padding = spec["padding"]
    even = all(before == after for before, after in padding)
    if spec["kind"] == "max_pool":
        even = even and all(2 * before <= size for (before, _), size in zip(padding, spec["kernel"], strict=True))
    if even:
        return {name: make(tuple(before for before, _ in padding))}
    return {f"{name}_pad": _constant_pad(padding, value), name: make((0,) * axes)}


def _avg_pool(spec: Spec, axes: int) -> nn.Module:
    padding = spec["padding"]
    if any(before != after or 2 * before > size for (before, after), size in zip(padding, spec["kernel"], strict=True)):
        return UnevenAvgPool(kernel=spec["kernel"], stride=spec["stride"], padding=padding)
    avg_pool = nn.AvgPool1d if axes == 1 else nn.AvgPool2d
    return avg_pool(
        tuple(spec["kernel"]),
        tuple(spec["stride"]),
        tuple(before for before, _ in padding),
        count_include_pad=False,
    )


def _constant_pad(padding: Sequence[Sequence[int]], value: float) -> nn.Module:
    pad: Callable[..., nn.Module] = nn.ConstantPad1d if len(padding) == 1 else nn.ConstantPad2d
    return pad(_torch_padding(padding), value)


def _torch_padding(padding: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return what torch takes: the last axis first."""
    return tuple(size for pair in reversed(padding) for size in pair)

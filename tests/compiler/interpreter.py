"""A program computed in NumPy, in float64 and as plainly as can be: what generated C is compared with."""

import numpy as np

from coppice.compiler.steps import (
    Activation,
    Combine,
    Convolution,
    Dense,
    Grid,
    Join,
    Permute,
    Pool,
    Pooling,
    Program,
    Scale,
    Select,
    Softmax,
    Step,
    Surround,
)


def interpret(program: Program, given: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the outputs of a program for one clip, of the shape of its source."""
    values = {program.source: given.astype(np.float64).reshape(program.shapes[program.source])}
    for step in program.steps:
        found = computed(step, [values[name] for name in step.sources])
        values[step.target] = found if step.grid is None else rounded(found, step.grid)
        assert values[step.target].shape == program.shapes[step.target], step.name
    return {name: values[value].ravel() for name, value in program.outputs.items()}


def computed(step: Step, sources: list[np.ndarray]) -> np.ndarray:
    match step:
        case Convolution():
            value = activated(convolved(step, sources[0]), step.activation)
            return value if step.pooling is None else pooled(value, step.pooling)
        case Dense():
            return activated(step.weight @ sources[0].ravel() + step.bias, step.activation)[:, None, None]
        case Scale():
            return activated(step.factor * sources[0] + step.offset, step.activation)
        case Pool():
            return pooled(sources[0], step.pooling)
        case Combine():
            how = {"add": np.add, "multiply": np.multiply, "log_add": np.logaddexp}[step.kind]
            return activated(how(*sources), step.activation)
        case Select():
            return sources[0][list(step.channels)]
        case Join():
            return np.concatenate(sources)
        case Surround():
            top, left, bottom, right = step.padding
            return np.pad(sources[0], ((0, 0), (top, bottom), (left, right)), constant_values=step.filler)
        case Permute():
            return sources[0].transpose(step.axes)
        case Softmax():
            raised = np.exp(sources[0] - sources[0].max())
            return np.log(raised / raised.sum()) if step.log else raised / raised.sum()
    raise AssertionError(step)


def rounded(value: np.ndarray, grid: Grid) -> np.ndarray:
    return grid.step * (np.clip(np.rint(value / grid.step) + grid.zero, grid.low, grid.high) - grid.zero)


def convolved(step: Convolution, source: np.ndarray) -> np.ndarray:
    top, left, bottom, right = step.padding
    padded = np.pad(source, ((0, 0), (top, bottom), (left, right)))
    high, wide = step.weight.shape[2:]
    span = (step.dilation[0] * (high - 1) + 1, step.dilation[1] * (wide - 1) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(1, 2))
    windows = windows[:, :: step.stride[0], :: step.stride[1], :: step.dilation[0], :: step.dilation[1]]
    parts = zip(np.split(windows, step.groups), np.split(step.weight, step.groups), strict=True)
    value = np.concatenate([np.einsum("crtyx,fcyx->frt", window, weight, optimize=True) for window, weight in parts])
    return value + step.bias[:, None, None]


def pooled(source: np.ndarray, pooling: Pooling) -> np.ndarray:
    top, left, bottom, right = pooling.padding
    border = ((0, 0), (top, bottom), (left, right))
    filler = -np.inf if pooling.kind == "max" else 0.0
    padded = np.pad(source, border, constant_values=filler)
    counted = np.ones_like(source) if not pooling.count_padding else np.ones_like(padded)
    counted = counted if pooling.count_padding else np.pad(counted, border)
    every = (slice(None), slice(None, None, pooling.stride[0]), slice(None, None, pooling.stride[1]))
    windows, counts = (
        np.lib.stride_tricks.sliding_window_view(array, pooling.kernel, axis=(1, 2))[every]
        for array in (padded, counted)
    )
    if pooling.kind == "max":
        return windows.max(axis=(3, 4))
    return windows.sum(axis=(3, 4)) / counts.sum(axis=(3, 4))


def activated(value: np.ndarray, activation: Activation) -> np.ndarray:
    if activation.kind == "clip":
        return np.clip(value, activation.low, activation.high)
    if activation.kind == "tanh":
        return np.tanh(value)
    if activation.kind == "sigmoid":
        return 1 / (1 + np.exp(-value))
    gate = np.clip(value / 6 + 0.5, 0, 1)
    return gate if activation.kind == "hard_sigmoid" else value * gate

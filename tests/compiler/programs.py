"""Programs of a step or a few, for tests."""

import numpy as np

from coppice.compiler.steps import Convolution, Dense, Grid, Program, Scale, Softmax, convolved_shape, pooled_shape


def of_convolution(step: Convolution, shape: tuple[int, int, int]) -> Program:
    """Return the program of one convolution of a value of a shape."""
    made = convolved_shape(step, shape)
    if step.pooling is not None:
        made = pooled_shape(step.pooling, made)
    return Program((step,), {"x": shape, "y": made}, "x", {"output": "y"})


def random_convolution(random: np.random.Generator, shape: tuple[int, ...], **given: object) -> Convolution:
    """Return a convolution from x to y with random weights, (filters, channels / groups, rows, frames)."""
    weight = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return Convolution("conv", ("x",), "y", weight=weight, bias=random.standard_normal(shape[0]) / 4, **given)


def rounded_program(
    random: np.random.Generator, step: Convolution, shape: tuple[int, int, int], classes: int = 3
) -> Program:
    """Return a program in 8 bits: rounded source, a rounded convolution, a dense layer, softmax."""
    first = Scale(
        "round",
        ("features",),
        "x",
        grid=Grid(0.03, 101),
        factor=np.ones((*shape[:2], 1)),
        offset=np.zeros((*shape[:2], 1)),
    )
    weight_step = np.abs(step.weight).reshape(len(step.weight), -1).max(axis=1) / 63
    weight = weight_step[:, None, None, None] * np.rint(step.weight / weight_step[:, None, None, None])
    middle = step.after(weight=weight, weight_step=weight_step, grid=Grid(0.02, 0 if step.activation.low == 0 else 90))
    made = convolved_shape(step, shape)
    if step.pooling is not None:
        made = pooled_shape(step.pooling, made)
    matrix = random.integers(-63, 64, (classes, int(np.prod(made)))) * 0.001
    last = Dense("dense", ("y",), "logits", weight=matrix, bias=np.zeros(classes), weight_step=np.full(classes, 0.001))
    score = Softmax("softmax", ("logits",), "posteriors")
    vector = (classes, 1, 1)
    shapes = {"features": shape, "x": shape, "y": made, "logits": vector, "posteriors": vector}
    return Program((first, middle, last, score), shapes, "features", {"posteriors": "posteriors"})

"""Fewer steps that compute the same: normalisation, activation and pooling go into the convolution before them."""

from dataclasses import replace

import numpy as np

from coppice.compiler.steps import Combine, Convolution, Dense, Pool, Program, Scale, Step


def fused(program: Program) -> Program:
    """Fold constant factors into weights, and let convolutions activate and pool what they compute.

    Parameters
    ----------
    program : Program
        As read.

    Returns
    -------
    Program
        Computes the same (in exact arithmetic), without values that nobody wants.

    Examples
    --------
    >>> from torch import nn
    >>> from coppice.compiler.programs import network_program
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 2))
    >>> program = network_program(net, (1, 9))
    >>> [f"{type(step).__name__} {step.activation}".strip() for step in program.steps]
    ['Convolution relu', 'Dense']
    """
    steps = _wanted(program)
    position = 0
    while position < len(steps):
        step = steps[position]
        before = _only_writer(step, steps, program)
        joined = None if before is None else _joined(before, step)
        if before is None or joined is None:
            position += 1
            continue
        steps[steps.index(before)] = joined
        del steps[position]
    kept = {program.source, *(step.target for step in steps)}
    shapes = {name: shape for name, shape in program.shapes.items() if name in kept}
    return replace(program, steps=tuple(steps), shapes=shapes)


def _wanted(program: Program) -> list[Step]:
    """Return the steps without those whose result is not read."""
    wanted, kept = set(program.outputs.values()), []
    for step in reversed(program.steps):
        if step.target in wanted:
            kept.append(step)
            wanted.update(step.sources)
    return kept[::-1]


def _only_writer(step: Step, steps: list[Step], program: Program) -> Step | None:
    """Return the step whose result this one reads, where nobody else does."""
    if len(step.sources) != 1 or step.sources[0] in program.outputs.values():
        return None
    if sum(step.sources[0] in other.sources for other in steps) > 1:
        return None
    return next((other for other in steps if other.target == step.sources[0]), None)


def _joined(before: Step, step: Step) -> Step | None:
    """Return one step for two, or None where there is none."""
    if isinstance(step, Scale) and before.grid is None:
        if _is_plain(step):
            return _activated(before, step)
        if before.activation.is_none:
            return _scaled(before, step)
    if isinstance(step, Pool) and isinstance(before, Convolution) and before.pooling is None:
        apart = all(s >= k for s, k in zip(step.pooling.stride, step.pooling.kernel, strict=True))
        # The largest of rounded numbers is the largest, rounded.
        if apart and not any(step.pooling.padding) and (before.grid is None or step.pooling.kind == "max"):
            return before.after(target=step.target, pooling=step.pooling)
    return None


def _activated(before: Step, step: Scale) -> Step | None:
    """Let the step before activate and round."""
    if not step.activation.is_none:
        pooled = isinstance(before, Convolution) and before.pooling is not None
        if pooled or not before.activation.is_none or not isinstance(before, Convolution | Dense | Scale | Combine):
            return None
        return before.after(target=step.target, activation=step.activation, grid=step.grid)
    return before.after(target=step.target, grid=step.grid)


def _is_plain(step: Scale) -> bool:
    return bool((step.factor == 1).all() and (step.offset == 0).all())


def _scaled(before: Step, step: Scale) -> Step | None:
    """Put constants of each channel into the weights of the step before."""
    factor, offset = step.factor[:, 0, 0], step.offset[:, 0, 0]
    if isinstance(before, Scale):
        return before.after(
            target=step.target,
            factor=before.factor * step.factor,
            offset=before.offset * step.factor + step.offset,
            activation=step.activation,
            grid=step.grid,
        )
    by_channel = (step.factor == factor[:, None, None]).all() and (step.offset == offset[:, None, None]).all()
    if isinstance(before, Dense) and step.factor.shape[0] == len(before.weight):
        return before.after(
            target=step.target,
            weight=before.weight * factor[:, None],
            bias=before.bias * factor + offset,
            weight_step=_scaled_steps(before.weight_step, factor),
            activation=step.activation,
            grid=step.grid,
        )
    if isinstance(before, Convolution) and by_channel and _scales_through(before, factor):
        return before.after(
            target=step.target,
            weight=before.weight * factor[:, None, None, None],
            bias=before.bias * factor + offset,
            weight_step=_scaled_steps(before.weight_step, factor),
            activation=step.activation,
            grid=step.grid,
        )
    return None


def _scaled_steps(steps: np.ndarray | None, factor: np.ndarray) -> np.ndarray | None:
    return None if steps is None else steps * np.abs(factor)


def _scales_through(before: Convolution, factor: np.ndarray) -> bool:
    """Say whether a factor may go in front of the pooling."""
    return before.pooling is None or before.pooling.kind == "average" or bool((factor >= 0).all())

"""How long each step of a program takes on this processor."""

import time

import numpy as np

from coppice.compiler.compiled import compile_planned
from coppice.compiler.planned import Planned
from coppice.core.errors import CoppiceError
from coppice.core.seeds import numpy_stream


def step_times(plan: Planned, *, repeats: int = 60, warmup: int = 8) -> dict[str, float]:
    """Time the steps of a program, compiled for this processor, on one clip of seeded noise and one thread.

    The C calls back after each step, which adds about a microsecond to it.

    Parameters
    ----------
    plan : Planned
    repeats, warmup : int >= 1, int >= 0
        Timed and untimed passes.

    Returns
    -------
    dict of str to float
        Milliseconds of each step by its name, medians; ``"input"`` is the copy of the clip.

    Raises
    ------
    CoppiceError
        If there is no C compiler, or the counts are impossible.

    Examples
    --------
    >>> from coppice.compiler.planned import planned
    >>> from coppice.compiler.programs import network_program
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> times = step_times(planned(network_program(DCASE2021(frames=50), (1, 40, 50))), repeats=3)
    >>> list(times)
    ['input', 'conv1', 'conv2', 'conv3', 'dense1', 'dense2']
    """
    if repeats < 1 or warmup < 0:
        raise CoppiceError(f"repeats is {repeats} and warmup {warmup}; give at least 1 and at least 0.")
    program = plan.program
    shape = program.shapes[program.source]
    network = compile_planned(plan, shape, timed=True)
    marks: list[int] = []
    after = network.library.ffi.callback("void(int)", lambda step: marks.append(time.perf_counter_ns()))
    network.library.functions.model_after = after
    call = network.call(numpy_stream(0, "latency").standard_normal((1, *shape), dtype=np.float32))
    taken = []
    for turn in range(warmup + repeats):
        marks.clear()
        begin = time.perf_counter_ns()
        call()
        if turn >= warmup:
            taken.append(np.diff([begin, *marks]))
    medians = np.median(taken, axis=0) / 1e6
    return dict(zip(["input", *(step.name for step in program.steps)], medians.tolist(), strict=True))

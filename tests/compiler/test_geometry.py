import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.programs import of_convolution, random_convolution

from coppice.compiler.geometry import geometry
from coppice.compiler.layout import padded_layouts
from coppice.compiler.steps import Pooling


def planned(step, shape, **more):
    program = of_convolution(step, shape)
    layouts = padded_layouts(program)
    return program, layouts, geometry(program, step, layouts["x"], layouts["y"], channels=step.weight.shape[1], **more)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    dilation=st.integers(1, 2),
    padding=st.tuples(*[st.integers(0, 6)] * 4),
    rows=st.integers(13, 60),
    frames=st.integers(13, 300),
    pool=st.sampled_from([None, (2, 2), (5, 5), (3, 4)]),
)
def test_strips_compute_every_row_once_and_skip_nothing_but_zeros(kernel, dilation, padding, rows, frames, pool):
    pooling = None if pool is None else Pooling("max", (pool[0], 2), (pool[1], 2))
    step = random_convolution(
        np.random.default_rng(0), (4, 2, *kernel), padding=padding, dilation=(dilation, 1), pooling=pooling
    )
    program, layouts, found = planned(step, (2, rows, frames))
    _, high, wide = program.convolved(step)
    row = layouts["x"].row
    computed = []
    for strip in found.strips:
        first, count = strip.source // row, (strip.length - wide) // row + 1
        for y in range(first, first + count):
            computed.append(y)
            for i in range(kernel[0]):
                skipped = not strip.first_tap <= i * kernel[1] < strip.last_tap
                inside = 0 <= y - padding[0] + i * dilation < rows
                assert not (skipped and inside)
    windows = program.shapes["y"][1]
    wanted = range(high) if pool is None else [w * pool[1] + i for w in range(windows) for i in range(pool[0])]
    assert computed == list(wanted)
    assert sum(run.rows for run in found.runs) == (0 if pool is None else windows)


def test_what_waits_to_be_pooled_fits_its_memory():
    step = random_convolution(
        np.random.default_rng(0), (16, 1, 3, 3), padding=(1, 1, 1, 1), pooling=Pooling("average", (2, 2), (2, 2))
    )
    _, _, found = planned(step, (1, 64, 96))
    assert len(found.runs) < 32  # several windows wait together, so that strips are long
    for run in found.runs:
        assert max(strip.target + strip.length for strip in run.strips) <= found.apart
    assert max(tile.filters for tile in found.tiles) * found.apart + 96 <= found.pooled


def test_rows_of_zeros_are_multiplied_where_zero_is_another_byte():
    step = random_convolution(np.random.default_rng(0), (8, 16, 7, 7), padding=(3, 3, 3, 3))
    _, _, found = planned(step, (16, 8, 100), skips=False)
    assert {(strip.first_tap, strip.last_tap) for strip in found.strips} == {(0, 49)}
    _, _, found = planned(step, (16, 8, 100))
    assert len({(strip.first_tap, strip.last_tap) for strip in found.strips}) > 2

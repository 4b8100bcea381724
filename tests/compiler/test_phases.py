import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.compiler.programs import of_convolution, random_convolution

from coppice.compiler.geometry import geometry
from coppice.compiler.layout import padded_layouts
from coppice.compiler.phases import Phases, is_parted, phases


def copies(apart: Phases, padded: np.ndarray) -> np.ndarray:
    """Return the copies of a value that has its zeros around it already, number after number."""
    numbers = np.zeros(apart.numbers)
    for c, value in enumerate(padded):
        for p in range(apart.tall * apart.wide):
            part = value[p // apart.wide :: apart.down, p % apart.wide :: apart.across]
            begin = c * apart.channel + p * apart.copy
            for y, row in enumerate(part[: apart.rows]):
                kept = row[: numbers.size - begin - y * apart.row]
                numbers[begin + y * apart.row :][: kept.size] = kept
            # What is longer than a row was overwritten by the next one, and after the last one there is nothing.
            numbers[begin + apart.rows * apart.row :] = 0
    return numbers


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 7)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 4)] * 4),
    size=st.tuples(st.integers(1, 20), st.integers(1, 40)),
    row=st.integers(0, 40),
)
def test_every_tap_finds_the_number_that_the_convolution_reads(kernel, stride, dilation, padding, size, row):
    high, wide = (1 + d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    assume(high <= size[0] + padding[0] + padding[2] and wide <= size[1] + padding[1] + padding[3])
    random = np.random.default_rng(0)
    step = random_convolution(random, (1, 2, *kernel), stride=stride, dilation=dilation, padding=padding)
    program = of_convolution(step, (2, *size))
    assume(is_parted(program, step))
    apart = phases(program, step, channels=2, row=row)
    source = random.standard_normal((2, *size))
    top, left, bottom, right = padding
    beyond = max(stride) * 9
    padded = np.pad(source, ((0, 0), (top, bottom + beyond), (left, right + beyond)))
    numbers = copies(apart, padded[:, : top + size[0] + bottom + beyond, : left + size[1] + right])
    _, rows, frames = program.shapes["y"]
    y, x = np.mgrid[:rows, :frames]
    for channel in range(2):
        for i in range(0, high, dilation[0]):
            for k in range(0, wide, dilation[1]):
                found = numbers[channel * apart.channel + apart.tap(i, k) + y * apart.row + x]
                np.testing.assert_array_equal(found, padded[channel, y * stride[0] + i, x * stride[1] + k])


def test_strips_run_on_where_rows_and_frames_are_left_out():
    step = random_convolution(np.random.default_rng(0), (32, 8, 3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    program = of_convolution(step, (8, 128, 33))
    layouts = padded_layouts(program)
    found = geometry(program, step, layouts["x"], layouts["y"], channels=8)
    assert len(found.strips) < 4  # where each row was a strip, there were 64


@pytest.mark.parametrize("frames, parted", [(17, True), (500, False)])
def test_long_rows_are_not_copied_where_only_rows_are_left_out(frames, parted):
    step = random_convolution(np.random.default_rng(0), (4, 2, 3, 3), stride=(2, 1), padding=(1, 1, 1, 1))
    assert is_parted(of_convolution(step, (2, 40, frames)), step) == parted

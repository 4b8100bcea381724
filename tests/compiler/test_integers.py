import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.interpreter import interpret
from tests.compiler.programs import of_convolution, random_convolution, rounded_program

from coppice.compiler.integers import in_bytes, merged_groups, rescaled, rescaling, whole
from coppice.compiler.steps import RELU, Grid, Narrow, Pooling, Widen
from coppice.core.errors import CoppiceError


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.floats(1e-6, 0.9), st.integers(-(2**30), 2**30))
def test_sums_are_rescaled_within_a_hundredth_of_a_byte(ratio, total):
    to = rescaling(np.array([ratio]))
    exact = np.clip(total * ratio, -300, 300)
    found = np.clip(rescaled(np.array([total]), to), -300, 300)
    assert abs(found[0] - exact) <= 0.5 + 0.02


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(1e-6, 0.9))
def test_rescaling_never_leaves_32_bits(ratio):
    to = rescaling(np.array([ratio]))
    cut = (int(to.limit[0]) + (1 << int(to.before[0]) >> 1)) >> int(to.before[0])
    assert int(to.limit[0]) + (1 << int(to.before[0])) < 2**31
    assert cut * int(to.factor[0]) + (1 << int(to.after[0]) >> 1) < 2**31


def test_only_what_needs_numbers_gets_numbers():
    random = np.random.default_rng(0)
    step = random_convolution(random, (8, 1, 3, 3), activation=RELU, pooling=Pooling("max", (2, 2), (2, 2)))
    program, grids = in_bytes(rounded_program(random, step, (1, 8, 20)))
    assert [type(step).__name__ for step in program.steps] == ["Narrow", "Convolution", "Dense", "Softmax"]
    assert set(grids) == {"x", "y"}


def test_a_pool_that_averages_bytes_gets_numbers():
    random = np.random.default_rng(0)
    step = random_convolution(random, (4, 1, 3, 3), activation=RELU, pooling=Pooling("average", (2, 2), (2, 2)))
    program, _ = in_bytes(rounded_program(random, step, (1, 8, 20)))
    assert any(isinstance(step, Widen) for step in program.steps)
    assert sum(isinstance(step, Narrow) for step in program.steps) == 2


def test_a_network_that_was_not_quantized_is_refused():
    step = random_convolution(np.random.default_rng(0), (2, 1, 3, 3))
    with pytest.raises(CoppiceError, match="was not quantized; give the ONNX file of coppice quantize"):
        in_bytes(of_convolution(step, (1, 8, 8)))


def test_sums_beyond_32_bits_are_refused():
    step = random_convolution(np.random.default_rng(0), (1, 1, 1, 1)).after(
        weight=np.ones((1, 1, 1, 1)), weight_step=np.ones(1), bias=np.full(1, 1e12), grid=Grid(1.0, 0)
    )
    with pytest.raises(CoppiceError, match="do not fit 32 bits"):
        whole(step, Grid(1.0, 0))


def test_groups_that_are_no_whole_cells_are_merged():
    step = random_convolution(np.random.default_rng(0), (6, 1, 3, 3), groups=6)
    weight, groups = merged_groups(step, np.ones((6, 1, 3, 3), np.int8))
    assert (weight.shape, groups) == ((6, 6, 3, 3), 1)
    assert (weight.sum(axis=(2, 3)) == 9 * np.eye(6)).all()


def test_what_bytes_compute_is_what_rounding_says():
    random = np.random.default_rng(1)
    step = random_convolution(random, (5, 2, 3, 3), activation=RELU, padding=(1, 1, 1, 1))
    program = rounded_program(random, step, (2, 6, 11))
    narrow, middle = program.steps[:2]
    clip = random.standard_normal((2, 6, 11))
    stored = np.clip(np.rint(clip / narrow.grid.step) + narrow.grid.zero, 0, 255)
    numbers = whole(middle, narrow.grid)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(stored - narrow.grid.zero, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2)
    )
    total = np.einsum("crtyx,fcyx->frt", windows, numbers.weight.astype(float)) + numbers.bias[:, None, None]
    byte = np.clip(rescaled(total.astype(np.int64), numbers.to) + middle.grid.zero, numbers.low, numbers.high)
    only = program.steps[:2]
    shapes = {name: program.shapes[name] for name in ("features", "x", "y")}
    expected = interpret(type(program)(only, shapes, "features", {"y": "y"}), clip)["y"]
    assert np.abs(byte.ravel() - (expected / middle.grid.step + middle.grid.zero)).max() <= 1
    assert (byte.ravel() == np.rint(expected / middle.grid.step)).mean() > 0.99

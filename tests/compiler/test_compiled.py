import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.compiler.interpreter import interpret
from tests.compiler.programs import of_convolution, random_convolution, rounded_program
from tests.compiler.test_graph_reader import NETWORKS, Branches
from torch import nn

import coppice as cp
from coppice.compiler.compiled import compile_planned
from coppice.compiler.planned import TARGETS, planned
from coppice.compiler.programs import network_program
from coppice.compiler.steps import RELU, Activation, Combine, Convolution, Pool, Pooling, Program, pooled_shape
from coppice.compiler.tiles import channels_at_once
from coppice.core.errors import CoppiceError
from coppice.native.toolchain import compiler
from coppice.networks.registry import build_network
from quick import quick

pytestmark = pytest.mark.usefixtures("cc")


def agree(program, *, target: str, tolerance: float = 2e-6) -> None:
    shape = program.shapes[program.source]
    clip = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    (expected,) = interpret(program, clip[0]).values()
    found = compile_planned(planned(program, target=target), shape)(clip)[0]
    np.testing.assert_allclose(found, expected, atol=tolerance * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", quick(NETWORKS, "dcase2021"))
def test_machine_code_computes_what_the_program_says(used, name, target):
    config, shape = NETWORKS[name]
    program = network_program(used(build_network(name, **config)), shape)
    agree(program, target=target)


@pytest.mark.parametrize("target", quick(TARGETS, "simd"))
def test_branches_gates_and_swapped_axes_are_computed(used, target):
    agree(network_program(used(Branches()), (1, 12, 17)), target=target)


POOLS = st.sampled_from(
    [None, Pooling("max", (2, 3), (2, 3)), Pooling("average", (3, 2), (3, 2)), Pooling("max", (1, 2), (2, 4))]
)


@pytest.mark.proof
# GCC 12 with -O3 made wrong code of an earlier loop that spread frames apart, for strides like these.
@example(
    filters=3,
    channels=2,
    kernel=(1, 2),
    stride=(2, 2),
    dilation=(2, 2),
    padding=(3, 0, 1, 0),
    groups=3,
    size=(12, 14),
    pooling=Pooling("max", (1, 2), (2, 4)),
    kind=Activation("sigmoid"),
)
@settings(max_examples=14, deadline=None, derandomize=True)
@given(
    filters=st.integers(1, 17),
    channels=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    groups=st.integers(1, 3),
    size=st.tuples(st.integers(12, 15), st.integers(14, 40)),
    pooling=POOLS,
    kind=st.sampled_from([Activation(), RELU, Activation("tanh"), Activation("hard_swish"), Activation("sigmoid")]),
)
def test_any_convolution_is_computed_on_both_targets(
    filters, channels, kernel, stride, dilation, padding, groups, size, pooling, kind
):
    step = random_convolution(
        np.random.default_rng(0),
        (filters * groups, channels, *kernel),
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        activation=kind,
        pooling=pooling,
    )
    program = of_convolution(step, (channels * groups, *size))
    if min(program.shapes["y"]) < 1:
        return
    for target in TARGETS:
        agree(program, target=target)


# Strides of rows, of frames, of both, and more of these than vectors are parted for; rows that share zeros or do not.
@pytest.mark.parametrize(
    "stride, kernel, padding, groups",
    [
        ((2, 2), (3, 3), (1, 1, 1, 1), 1),
        ((2, 1), (3, 3), (1, 1, 1, 1), 4),
        ((1, 2), (3, 3), (1, 1, 1, 1), 4),
        ((2, 2), (1, 1), (0, 0, 0, 0), 1),
        ((3, 3), (2, 5), (2, 2, 0, 4), 2),
        ((1, 2), (4, 4), (0, 3, 2, 0), 1),
    ],
)
def test_rows_and_frames_that_are_left_out_are_not_computed_with(stride, kernel, padding, groups):
    step = random_convolution(
        np.random.default_rng(0), (8, 4 // groups, *kernel), stride=stride, padding=padding, groups=groups
    )
    for frames in (9, 17, 33):
        agree(of_convolution(step, (4, 20, frames)), target="simd")


def test_a_narrow_kernel_that_goes_over_zeros_on_both_sides_is_pooled():
    step = random_convolution(
        np.random.default_rng(0), (10, 3, 4, 1), padding=(3, 1, 0, 2), pooling=Pooling("average", (3, 2), (3, 2))
    )
    agree(of_convolution(step, (3, 12, 29)), target="simd")


def pool_alone(pooling, shape):
    made = pooled_shape(pooling, shape)
    step = Pool("pool", ("x",), "y", pooling=pooling)
    return Program((step,), {"x": shape, "y": made}, "x", {"output": "y"})


@pytest.mark.parametrize(
    "kernel, stride, padding",
    [
        ((3, 3), (1, 2), (1, 1, 1, 1)),
        ((3, 3), (2, 2), (1, 1, 1, 1)),
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((3, 5), (1, 1), (0, 2, 1, 0)),
        ((4, 3), (2, 3), (2, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("kind, counts", [("max", False), ("average", False), ("average", True)])
def test_windows_that_overlap_or_lie_beyond_the_edge_are_pooled(kernel, stride, padding, kind, counts):
    for frames in (9, 17, 48):
        agree(pool_alone(Pooling(kind, kernel, stride, padding, counts), (3, 13, frames)), target="simd")


@pytest.mark.proof
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["max", "average"]),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 20)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    counts=st.booleans(),
    size=st.tuples(st.integers(4, 19), st.integers(20, 60)),
)
def test_any_window_is_pooled_on_both_targets(kind, kernel, stride, padding, counts, size):
    most = (kernel[0] - 1, kernel[1] - 1) * 2
    inside = tuple(min(pair) for pair in zip(padding, most, strict=True))
    for target in TARGETS:
        agree(pool_alone(Pooling(kind, kernel, stride, inside, counts), (2, *size)), target=target)


# A sum and a product of values with zeros around one of them, another or none, and with one number for each channel.
@pytest.mark.parametrize("kind", ["add", "multiply"])
@pytest.mark.parametrize("activation", [Activation(), RELU, Activation("hard_swish")])
def test_values_are_added_and_multiplied_row_by_row(kind, activation):
    random = np.random.default_rng(0)
    whole = Pooling("average", (7, 19), (7, 19))
    steps = (
        random_convolution(random, (5, 2, 3, 3), padding=(1, 1, 1, 1)).after(target="a"),
        random_convolution(random, (5, 5, 5, 5), padding=(2, 2, 2, 2)).after(name="b", sources=("a",), target="b"),
        Combine("both", ("a", "b"), "both", kind=kind, activation=activation),
        Pool("pool", ("both",), "each", pooling=whole),
        Combine("last", ("both", "each"), "y", kind=kind),
    )
    full = (5, 7, 19)
    shapes = {"x": (2, 7, 19), "a": full, "b": full, "both": full, "each": (5, 1, 1), "y": full}
    agree(Program(steps, shapes, "x", {"output": "y"}), target="simd")


# Rows below, at and above the length of a vector: the last one of a row begins earlier.
@pytest.mark.parametrize(
    "frames, pool, kind",
    [(9, "max", "tanh"), (16, "average", "hard_swish"), (17, "max", "sigmoid"), (51, "average", "hard_sigmoid")],
)
def test_rows_of_any_length_are_activated_and_pooled(frames, pool, kind):
    step = random_convolution(
        np.random.default_rng(frames),
        (5, 2, 3, 3),
        padding=(1, 1, 1, 1),
        activation=Activation(kind),
        pooling=Pooling(pool, (3, 2), (3, 2)),
    )
    agree(of_convolution(step, (2, 12, frames)), target="simd")


@pytest.mark.parametrize(
    "filters, channels, groups, size, pooling, kind",
    [
        (13, 24, 1, (9, 1003), None, "tanh"),
        (11, 19, 2, (8, 517), Pooling("max", (2, 2), (2, 2)), "clip"),
        (1, 40, 1, (7, 1990), None, "hard_swish"),
    ],
)
def test_more_channels_than_the_first_cache_holds_are_added_one_after_the_other(
    filters, channels, groups, size, pooling, kind
):
    step = random_convolution(
        np.random.default_rng(channels),
        (filters * groups, channels, 7, 7),
        padding=(3, 3, 3, 3),
        groups=groups,
        activation=RELU if kind == "clip" else Activation(kind),
        pooling=pooling,
    )
    program = of_convolution(step, (channels * groups, *size))
    for few in (False, True):
        tiles = planned(program).geometries["conv"].tiles
        assert all(channels_at_once(tile, step.weight.shape, few=few) < channels for tile in tiles)
    agree(program, target="simd", tolerance=1e-5)


@pytest.mark.parametrize("target", quick(TARGETS, "simd"))
@pytest.mark.parametrize("kind", quick(["tanh", "sigmoid"], "tanh"))
def test_curved_activations_are_within_a_millionth_everywhere(kind, target):
    numbers = np.concatenate([np.linspace(-20, 20, 39_999), [1e-30, -1e-30, 3e38, -3e38]]).astype(np.float32)
    step = of_convolution(
        Convolution("c", ("x",), "y", weight=np.ones((1, 1, 1, 1)), bias=np.zeros(1), activation=Activation(kind)),
        (1, 1, len(numbers)),
    )
    found = compile_planned(planned(step, target=target), (1, 1, len(numbers)))(numbers.reshape(1, 1, 1, -1)).ravel()
    exact = numbers.astype(np.float64)
    with np.errstate(over="ignore"):
        expected = np.tanh(exact) if kind == "tanh" else 1 / (1 + np.exp(-exact))
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.proof
# The byte for 0 is another one: zeros to the right of the last row count, and were once left out.
@example(
    filters=5,
    channels=1,
    kernel=(3, 7),
    stride=(1, 1),
    padding=(1, 3, 1, 3),
    groups=1,
    pooling=None,
    kind=Activation(),
)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    filters=st.integers(1, 14),
    channels=st.integers(1, 6),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
    groups=st.sampled_from([1, 1, 2, 4]),
    pooling=st.sampled_from([None, Pooling("max", (2, 3), (2, 3)), Pooling("average", (2, 2), (2, 2))]),
    kind=st.sampled_from([RELU, Activation(), Activation(low=0.0, high=0.7), Activation("tanh")]),
)
def test_int8_is_the_same_on_both_targets_and_close_to_what_rounding_says(
    filters, channels, kernel, stride, padding, groups, pooling, kind
):
    random = np.random.default_rng(0)
    step = random_convolution(
        random,
        (filters * groups, channels, *kernel),
        stride=stride,
        padding=padding,
        groups=groups,
        activation=kind,
        pooling=pooling,
    )
    program = rounded_program(random, step, (channels * groups, 9, 37))
    clips = random.standard_normal((2, *program.shapes["features"])).astype(np.float32)
    found = [
        compile_planned(planned(program, target=target, precision="int8"), clips.shape[1:])(clips) for target in TARGETS
    ]
    np.testing.assert_array_equal(*found)
    expected = np.stack([interpret(program, clip)["posteriors"] for clip in clips])
    np.testing.assert_allclose(found[0], expected, atol=0.02)


def test_a_classifier_is_compiled_into_a_function_on_arrays(classifier):
    fast = cp.compile(classifier)
    log_mel = torch.randn(4, *classifier.front_end.shape)
    found = fast(classifier.normalise(log_mel).numpy())
    np.testing.assert_allclose(found, classifier.posteriors(log_mel).numpy(), atol=1e-6)


@pytest.mark.proof
def test_clips_of_another_shape_and_values_that_are_no_numbers_are_refused():
    fast = cp.compile(nn.Conv1d(1, 2, 3), example=torch.zeros(1, 1, 9))
    with pytest.raises(CoppiceError, match=r"clips of shape \(2, 1, 8\) do not fit: give \(clips, 1, 9\)"):
        fast(np.zeros((2, 1, 8), np.float32))
    for strange in (np.nan, np.inf, -np.inf):
        clips = np.zeros((3, 1, 9), np.float32)
        clips[1, 0, 5] = strange
        with pytest.raises(CoppiceError, match="clip 1 holds values that are not numbers"):
            fast(clips)


def test_threads_may_call_it_at_once(used):
    fast = cp.compile(used(build_network("dcase2021", widths=(4, 4, 4), frames=60)), example=torch.zeros(1, 1, 40, 60))
    clips = np.random.default_rng(0).standard_normal((4, 8, 1, 40, 60)).astype(np.float32)
    expected = [fast(part) for part in clips]
    found = {}

    def compute(number: int) -> None:
        for _ in range(20):
            found[number] = fast(clips[number])

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[number] == expected[number]).all() for number in range(4))


def test_a_call_outlives_its_network():
    fast = cp.compile(nn.Conv1d(1, 2, 3), example=torch.zeros(1, 1, 9))
    call, library = fast.call(np.zeros((1, 1, 9), np.float32)), weakref.ref(fast.library)
    del fast
    gc.collect()
    assert library() is not None  # else its code is no longer in memory
    call()


def test_networks_of_one_shape_keep_their_own_weights():
    torch.manual_seed(0)
    networks = [nn.Conv1d(1, 2, 3) for _ in range(2)]
    fast = [cp.compile(network, example=torch.zeros(1, 1, 9)) for network in networks]
    clip = torch.randn(1, 1, 9)
    for network, one in zip(networks, fast, strict=True):
        expected = network(clip).detach().numpy().reshape(1, -1)
        np.testing.assert_allclose(one(clip.numpy()), expected, atol=1e-6)


def test_a_network_is_compiled_once(monkeypatch):
    network = nn.Conv1d(1, 2, 5)
    cp.compile(network, example=torch.zeros(1, 1, 9))
    monkeypatch.setattr("coppice.native.toolchain._error", lambda *given: pytest.fail("compiled again"))
    cp.compile(network, example=torch.zeros(1, 1, 9))


def test_a_machine_without_a_compiler_is_told_so(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(CoppiceError, match="there is no C compiler: CC is 'no-such-compiler', which is not installed"):
        compiler()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    compiler.__globals__["_found"].cache_clear()
    with pytest.raises(CoppiceError, match="there is no C compiler: none of gcc, clang, cc is installed"):
        compiler()


def test_layers_that_share_a_name_in_c_stay_apart():
    network = nn.Sequential()
    network.add_module("a_b", nn.Conv1d(1, 2, 3))
    network.add_module("a", nn.Sequential())
    network.a.add_module("b", nn.Conv1d(2, 2, 3))
    agree(network_program(network, (1, 9)), target="simd")

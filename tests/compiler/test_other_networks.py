"""Networks with what that of the DCASE 2021 systems has not: depthwise layers, strides, sums, tanh, average pools."""

import numpy as np
import pytest
import torch
from tests.compiler.conftest import WARNINGS, make, needed
from tests.compiler.interpreter import interpret
from tests.compiler.programs import of_convolution, random_convolution

from coppice.audio.front_end import front_end
from coppice.compiler.compiled import compile_planned
from coppice.compiler.export_c import export_c
from coppice.compiler.planned import TARGETS, planned
from coppice.compiler.programs import classifier_program, file_program
from coppice.compiler.steps import Activation, Combine, Dense, Grid, Pool, Pooling, Program, Scale, Widen, pooled_shape
from coppice.core.seeds import numpy_stream
from coppice.export.onnx_classifier import load_onnx
from coppice.export.onnx_file import read_onnx
from coppice.native.toolchain import EXACT_FLAGS
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.quantization.int8 import quantize_int8
from quick import quick

pytestmark = pytest.mark.usefixtures("cc")
NETWORKS = {
    "cp_mobile": ("dcase2024", {"base_channels": 8, "channels_multiplier": 1.5}),
    "surrey2022": ("surrey2022", {"widths": (6, 5, 9), "dense": 70}),
}
SANITIZED = "-std=c99 -O1 -ffp-contract=off -fsanitize=address,undefined -fno-sanitize-recover=all"


@pytest.fixture(scope="module", params=NETWORKS)
def both(request, used, tmp_path_factory):
    """A network in float32 and in int8, and log-mel to compute."""
    preset, config = NETWORKS[request.param]
    ear = front_end(preset)
    torch.manual_seed(0)
    network = used(build_network(request.param, bands=ear.n_mels, frames=ear.frames, classes=3, **config))
    bands = torch.zeros(ear.n_mels), torch.ones(ear.n_mels)
    one = Classifier(network, ear, ("bus", "park", "tram"), *bands)
    shape = (12, ear.n_mels, ear.frames)
    clips = torch.from_numpy(numpy_stream(0, "clips").standard_normal(shape, dtype=np.float32))
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    quantize_int8(one, path, clips=clips)
    return one, path, clips


def test_float32_gives_the_posteriors_of_pytorch(both):
    one, _, clips = both
    shape = (1, *clips.shape[1:])
    for target in TARGETS:
        found = compile_planned(planned(classifier_program(one), target=target), shape)(clips[:4, None].numpy())
        np.testing.assert_allclose(found, one.posteriors(clips[:4]).numpy(), atol=1e-5)


def test_int8_gives_the_posteriors_of_the_other_runtime_and_the_same_bits_on_both_targets(both):
    _, path, clips = both
    program = file_program(read_onnx(path))
    found = [
        compile_planned(planned(program, target=target, precision="int8"), (1, *clips.shape[1:]))(
            clips[:, None].numpy()
        )
        for target in TARGETS
    ]
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], load_onnx(path).posteriors(clips).numpy(), atol=0.02)


@pytest.mark.proof
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_folder_compiles_without_a_warning_and_touches_only_its_own_memory(both, target, compiler, tmp_path):
    one, path, _ = both
    warns = " ".join((*EXACT_FLAGS, *WARNINGS))
    for name, model in (("float32", one), ("int8", load_onnx(path))):
        folder = export_c(model, tmp_path / name, target=target, with_front_end=True).path
        for flags in (warns, f"{warns} -march=native", SANITIZED):
            said = make(folder, f"CC={needed(compiler)}", f"CFLAGS={flags}", "clean", "all", "check")
            assert said.endswith("good\n")
            assert "not the same" not in said


@pytest.mark.proof
@pytest.mark.parametrize("flags", ["-O2", "-O3 -march=armv8.6-a+i8mm"])
def test_64_bit_arm_computes_the_same(both, flags, tmp_path):
    cross, emulator = needed("aarch64-linux-gnu-gcc"), needed("qemu-aarch64-static")
    one, path, _ = both
    for name, model in (("float32", one), ("int8", load_onnx(path))):
        folder = export_c(model, tmp_path / name, with_front_end=True).path
        options = f"CFLAGS=-std=c99 {flags} -static -ffp-contract=off"
        said = make(folder, f"CC={cross}", options, f"RUN={emulator}", "clean", "check")
        assert said.endswith("good\n")
        assert "not the same" not in said


# GCC 12 takes the differences between bytes and a zero of 128, which fit 8 bits, for bytes without sign.
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("zero", quick([0, 77, 128, 129, 255], 128))
def test_whole_dense_layers_are_right_whatever_byte_means_0(target, zero):
    random = np.random.default_rng(0)
    shape, ones = (160, 1, 1), np.ones((160, 1, 1))
    steps = (
        Scale("round", ("features",), "x", grid=Grid(0.02, zero), factor=ones, offset=0 * ones),
        Dense(
            "dense",
            ("x",),
            "y",
            weight=random.integers(-127, 128, (5, 160)) * 0.001,
            bias=np.zeros(5),
            weight_step=np.full(5, 0.001),
        ),
    )
    program = Program(steps, {"features": shape, "x": shape, "y": (5, 1, 1)}, "features", {"output": "y"})
    clip = random.standard_normal((1, *shape)).astype(np.float32)
    found = compile_planned(planned(program, target=target, precision="int8"), shape)(clip)[0]
    np.testing.assert_allclose(found, interpret(program, clip[0])["output"], atol=1e-5)


# Means of whole numbers in steps of two ninths: half of them lie midway between two bytes, where the last bit decides.
@pytest.mark.parametrize("counts", [True, False])
def test_means_of_bytes_are_the_same_bits_on_both_targets(counts):
    random = np.random.default_rng(0)
    shape, ones = (6, 21, 37), np.ones((6, 21, 1))
    pooling = Pooling("average", (3, 3), (1, 2), (1, 1, 1, 1), counts)
    made = pooled_shape(pooling, shape)
    weight = random.integers(-63, 64, (4, int(np.prod(made)))) * 0.001
    steps = (
        Scale("round", ("features",), "x", grid=Grid(1.0, 101), factor=ones, offset=0 * ones),
        Pool("pool", ("x",), "y", pooling=pooling, grid=Grid(2 / 9, 117)),
        Dense("dense", ("y",), "z", weight=weight, bias=np.zeros(4), weight_step=np.full(4, 0.001)),
    )
    program = Program(steps, {"features": shape, "x": shape, "y": made, "z": (4, 1, 1)}, "features", {"output": "z"})
    clips = 9 * random.standard_normal((40, *shape)).astype(np.float32)
    found = [compile_planned(planned(program, target=one, precision="int8"), shape)(clips) for one in TARGETS]
    np.testing.assert_array_equal(*found)
    expected = np.stack([interpret(program, clip)["output"] for clip in clips])
    assert np.abs(found[0] - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    "pooling",
    [None, Pooling("average", (3, 2), (3, 2)), Pooling("average", (2, 19), (2, 19)), Pooling("max", (2, 2), (2, 2))],
)
def test_layers_left_in_float_give_the_same_bits_on_both_targets(pooling):
    random = np.random.default_rng(0)
    shape, ones = (5, 12, 41), np.ones((5, 12, 1))
    step = random_convolution(
        random, (7, 5, 3, 3), padding=(1, 1, 1, 1), activation=Activation("tanh"), pooling=pooling
    )
    program = of_convolution(step, shape)
    first = Scale("round", ("features",), "x", grid=Grid(0.03, 101), factor=ones, offset=0 * ones)
    program = Program((first, step), {"features": shape, **program.shapes}, "features", {"output": "y"})
    clips = random.standard_normal((3, *shape)).astype(np.float32)
    found = [compile_planned(planned(program, target=one, precision="int8"), shape)(clips) for one in TARGETS]
    np.testing.assert_array_equal(*found)


# Six channels leave half a cell empty; a gate has one number for each channel.
@pytest.mark.parametrize("kind", ["add", "multiply"])
@pytest.mark.parametrize("gate", [False, True])
def test_bytes_are_added_and_multiplied_as_they_lie(kind, gate):
    random = np.random.default_rng(0)
    shape, ones = (6, 9, 21), np.ones((6, 9, 1))
    second = (6, 1, 1) if gate else shape
    whole = Pooling("average", shape[1:], shape[1:])
    other = Pool("other", ("x",), "b", pooling=whole, grid=Grid(0.004, 90)) if gate else None
    steps = (
        Scale("round", ("features",), "x", grid=Grid(0.03, 101), factor=ones, offset=0 * ones),
        other or Scale("other", ("features",), "b", grid=Grid(0.021, 140), factor=-ones, offset=0 * ones),
        Combine("both", ("x", "b"), "y", kind=kind, activation=Activation(low=-1.0, high=1.5), grid=Grid(0.017, 80)),
        Scale("wide", ("y",), "z", factor=ones, offset=0 * ones),
    )
    shapes = {"features": shape, "x": shape, "b": second, "y": shape, "z": shape}
    program = Program(steps, shapes, "features", {"output": "z"})
    clips = random.standard_normal((3, *shape)).astype(np.float32)
    plans = [planned(program, target=one, precision="int8") for one in TARGETS]
    found = [compile_planned(plan, shape)(clips) for plan in plans]
    np.testing.assert_array_equal(*found)
    expected = np.stack([interpret(program, clip)["output"] for clip in clips])
    assert np.abs(found[0] - expected).max() < 0.03 + 0.017
    assert (
        np.abs(found[0] - expected) > 1e-5
    ).mean() < 0.01  # what lies midway between two bytes goes one way or the other


def test_what_is_stored_in_bytes_is_not_widened_for_sums_and_means(both):
    one, path, _ = both
    plan = planned(file_program(read_onnx(path)), target="portable", precision="int8")
    widened = [step.target for step in plan.program.steps if isinstance(step, Widen)]
    # What the network's last mean, which is not rounded, and a dense layer with tanh read.
    assert len(widened) <= 1
    assert all(np.prod(plan.program.shapes[name]) <= one.front_end.frames * 200 for name in widened)

"""Networks as Coppice's own C beside PyTorch, ONNX Runtime and OpenVINO: does time fall as the MACs do?

All calls of a table take turns in one process, on one thread, each after an untimed call of its own; medians are compared.
Weights are random: no kernel here looks at them. Writes its section of ``docs/benchmarks.md``.
"""

import ctypes
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from page import machine, table, write_section

from coppice.audio.front_end import front_end
from coppice.compiler import geometry
from coppice.compiler.compiled import CompiledNetwork, compile_planned
from coppice.compiler.planned import planned
from coppice.compiler.programs import network_program
from coppice.compiler.source import model_sources
from coppice.compiler.steps import Convolution, Program
from coppice.compiler.tiles import Tile
from coppice.compiler.toolchain import compiler, shared_library
from coppice.export.onnx_file import OnnxFile, parse_onnx, read_onnx
from coppice.export.onnx_graph import onnx_graph
from coppice.export.runtimes import c_call, onnxruntime_call, openvino_call, torch_call
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network
from coppice.quantization.int8 import quantize_int8

ROUNDS, WARMUP = 60, 5
WIDTHS = [(16, 16, 32), (16, 11, 32), (12, 12, 24), (11, 11, 22), (8, 8, 16), (6, 6, 12), (5, 5, 10), (4, 4, 8)]
VGGISH = [tuple(int(share * width) for width in (64, 128, 256, 256, 512, 512)) for share in (1, 0.75, 0.5, 0.25)]
SHAPES = {"dcase2021": (1, 40, 500), "surrey2022": (1, 40, 51), "vggish_net": (1, 64, 96)}

Call = Callable[[], object]

_PEAK = """
typedef float vector __attribute__((vector_size(64)));
void peak(float *out, long rounds) {
  vector @DECLARE;
  const vector by = (vector){0} + out[0], plus = (vector){0} + out[1];
  for (long i = 0; i < rounds; i++) { @MULTIPLY }
  vector sum = @SUM;
  for (int i = 0; i < 16; i++) out[i] = sum[i];
}
"""


def medians(calls: Mapping[object, Call]) -> dict[object, float]:
    """Return the median milliseconds of calls that take turns, each after an untimed one."""
    times: dict[object, list[float]] = {name: [] for name in calls}
    for turn in range(WARMUP + ROUNDS):
        for name, call in calls.items():
            call()
            begin = time.perf_counter()
            call()
            if turn >= WARMUP:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(spent) for name, spent in times.items()}


def peak_call() -> tuple[Call, int]:
    """Return a call of 24 chains of products and sums that wait for nothing but themselves, and its MACs."""
    count, rounds = 24, 100_000
    names = [f"s{i}" for i in range(count)]
    text = _PEAK.replace("@DECLARE", ", ".join(f"{name} = (vector){{0}} + {i}.0f" for i, name in enumerate(names)))
    text = text.replace("@MULTIPLY", " ".join(f"{name} = {name} * by + plus;" for name in names))
    library = ctypes.CDLL(str(shared_library({"peak.c": text.replace("@SUM", " + ".join(names))})))
    numbers = np.full(16, 0.5, np.float32)
    arguments = (ctypes.c_void_p(numbers.ctypes.data), ctypes.c_long(rounds))
    return (lambda: library.peak(*arguments) and numbers), count * 16 * rounds


def network(name: str, widths: tuple[int, ...]) -> torch.nn.Module:
    torch.manual_seed(0)
    more = {"dense": (128, 128)} if name == "vggish_net" else {}
    return build_network(name, widths=widths, **more).eval()


def exported(net: torch.nn.Module, shape: tuple[int, ...]) -> OnnxFile:
    graph = onnx_graph(net, torch.zeros(2, *shape), inputs="input", outputs=["output"])
    return parse_onnx(graph.SerializeToString(), type(net).__name__)


def macs_of(program: Program) -> int:
    return sum(map(program.macs, program.steps))


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)


def widths_table(name: str, widths: list[tuple[int, ...]]) -> tuple[str, dict[object, float], dict[object, int]]:
    """Time a network at several widths in all runtimes; return the table, the medians and the MACs."""
    shape, clip = SHAPES[name], noise(SHAPES[name])
    calls: dict[object, Call] = {}
    macs: dict[object, int] = {}
    calls["peak"], macs["peak"] = peak_call()
    for width in widths:
        net = network(name, width)
        model = exported(net, shape)
        macs[width] = macs_of(network_program(net, shape))
        calls["C", width] = c_call(model, clip, threads=1)
        calls["OpenVINO", width] = openvino_call(model, clip, threads=1)
        calls["ONNX Runtime", width] = onnxruntime_call(model, clip, threads=1)
        calls["PyTorch", width] = torch_call(net, clip)
    times = medians(calls)
    peak = macs["peak"] / times["peak"]
    rows = []
    for width in widths:
        c, former = times["C", width], times["C", widths[0]]
        faster = former / c
        rows.append(
            [
                "-".join(map(str, width)),
                f"{macs[width] / 1e6:.1f}",
                *(f"{times[runtime, width]:.3f}" for runtime in ("PyTorch", "ONNX Runtime", "OpenVINO", "C")),
                f"{100 * macs[width] / c / peak:.0f} %",
                f"{faster:.2f}",
                f"{macs[widths[0]] / macs[width]:.2f}",
                f"{faster * macs[width] / macs[widths[0]]:.2f}",
                f"{times['OpenVINO', width] / c:.2f}",
            ]
        )
    head = ["widths", "MMACs", "PyTorch ms", "ONNX Runtime ms", "OpenVINO ms", "C ms", "of the peak", "C faster",
            "MACs ÷", "realised", "C ÷ OpenVINO"]  # fmt: skip
    return table(head, rows), times, macs


def int8_table() -> str:
    """Time the DCASE 2021 network in int8, as C and in OpenVINO, beside float32 as C."""
    shape = SHAPES["dcase2021"]
    ear, clip = front_end("dcase2021", duration_s=10.0), noise(shape)
    calls: dict[object, Call] = {}
    chosen = [width for width in WIDTHS if width not in ((6, 6, 12), (5, 5, 10))]
    with tempfile.TemporaryDirectory() as folder:
        for width in chosen:
            net = network("dcase2021", width)
            one = Classifier(net, ear, tuple("abcdefghij"), torch.zeros(40), torch.ones(40))
            path = Path(folder) / f"{width}.onnx"
            quantize_int8(one, path, clips=torch.randn(8, 40, 500))
            file = read_onnx(path)
            calls["C", width] = c_call(file, clip, threads=1)
            calls["OpenVINO", width] = openvino_call(file, clip, threads=1)
            calls["float", width] = c_call(exported(net, shape), clip, threads=1)
        times = medians(calls)
    rows = []
    for width in chosen:
        c, float32, openvino = times["C", width], times["float", width], times["OpenVINO", width]
        rows.append(
            [
                "-".join(map(str, width)),
                f"{float32:.3f}",
                f"{c:.3f}",
                f"{openvino:.3f}",
                f"{float32 / c:.2f}",
                f"{openvino / c:.2f}",
            ]
        )
    head = ["widths", "C float32 ms", "C int8 ms", "OpenVINO int8 ms", "int8 ÷ float32", "C ÷ OpenVINO"]
    return table(head, rows)


def forced(program: Program, tiles: tuple[Tile, ...], shape: tuple[int, ...]) -> CompiledNetwork:
    """Compile a program of one convolution with tiles of one's own choice."""
    chosen = geometry.tiles_of
    geometry.tiles_of = lambda *given, **more: tiles  # type: ignore[assignment]
    try:
        return compile_planned(planned(program), shape)
    finally:
        geometry.tiles_of = chosen


def tiles_table() -> str:
    """Time one convolution with the tiles that the cost model chooses, and with others of one kind."""
    rows = []
    for filters, channels, kernel in ((16, 16, 7), (11, 16, 7), (8, 8, 7), (16, 16, 3), (8, 8, 3), (4, 4, 3)):
        shape = (channels, 40, 500)
        net = torch.nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
        program = network_program(net, shape)
        (step,) = program.steps
        assert isinstance(step, Convolution)
        own = planned(program).geometries[step.name].tiles
        sizes = [size for size in range(2, 13) if filters % size == 0]
        others = [
            (Tile(size, vectors),) * (filters // size)
            for size in sizes
            for vectors in (1, 2, 3, 4, 6)
            if size * vectors + vectors + 1 <= 31
        ]
        clip = noise(shape)
        calls = {tiles: forced(program, tiles, shape).call(clip) for tiles in dict.fromkeys([own, *others])}
        times = medians(calls)
        best = min(times, key=lambda tiles: times[tiles])
        worst = max(times, key=lambda tiles: times[tiles])
        rows.append(
            [
                f"{channels}→{filters}, {kernel}×{kernel}",
                " ".join(map(str, own)),
                f"{times[own]:.3f}",
                " ".join(map(str, best)),
                f"{times[best]:.3f}",
                " ".join(map(str, worst)),
                f"{times[worst]:.3f}",
            ]
        )
    head = ["convolution of 40×500", "chosen", "ms", "fastest tried", "ms", "slowest tried", "ms"]
    return table(head, rows)


def main() -> None:
    """Write the section."""
    torch.set_num_threads(1)
    whole, times, macs = widths_table("dcase2021", WIDTHS)
    small, *_ = widths_table("surrey2022", WIDTHS)
    large, *_ = widths_table("vggish_net", VGGISH)
    plan = planned(network_program(network("dcase2021", (16, 11, 32)), SHAPES["dcase2021"]))
    begin = time.perf_counter()
    sources = model_sources(plan, title="", origin="", labels=map(str, range(10)), given="")
    written = time.perf_counter() - begin
    begin = time.perf_counter()
    shared_library(sources, key=str(begin))
    spent = time.perf_counter() - begin
    lines = len(sources["model.c"].splitlines())
    write_section(
        Path(__file__).parents[1] / "docs",
        "compiler",
        f"""## Coppice's own C

{machine()}; one thread, one clip, `coppice.compile` with {compiler().version}. The processor's peak, measured in the same
runs with products and sums that wait for nothing, is {macs["peak"] / times["peak"] / 1e6:.0f} billion MACs a second in
float32. "C faster" and "MACs ÷" compare with the first row, "realised" is their ratio: 1 where time falls as the MACs do.

### DCASE 2021: 7×7 convolutions on 40×500

{whole}
### Surrey 2022: 3×3 on 40×51, with tanh

{small}
### VGGish: 3×3 on 64×96, dense layers of 128

{large}
### int8, DCASE 2021

Of the ONNX files of `coppice quantize --to int8`.

{int8_table()}
### Tiles: the cost model against measurement

A tile is filters × vectors of 16 frames.

{tiles_table()}
The pruned DCASE 2021 network (16-11-32) is {lines} lines of C without its weights, written in {written:.2f} s and compiled in
{spent:.1f} s.
""",
    )


if __name__ == "__main__":
    main()

"""Coppice's own C: does time follow the MACs, how near is it to the processor's peak, int8, tiles, and the code itself.

``python benchmarks/bench_compiler.py`` prints; ``--page docs`` writes into ``docs/benchmarks.md``.
"""

import argparse
import importlib.util
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import nn

from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.compiler.export_c import export_c
from coppice.compiler.planned import Planned, planned
from coppice.compiler.programs import network_program
from coppice.compiler.step_times import step_times
from coppice.compiler.steps import Convolution
from coppice.compiler.tiles import Tile
from coppice.core.units import bytes_text
from coppice.export.latency import BEFORE, RuntimeLatency, runtime_latency
from coppice.export.model_files import Runnable, read_model_file
from coppice.export.onnx_classifier import load_onnx
from coppice.export.verify import noise_clips
from coppice.native.toolchain import EXACT_FLAGS, compiler
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.surrey2022 import Surrey2022
from coppice.networks.vggish_net import VGGishNet
from coppice.quantization.int8 import quantize_int8
from page import machine, ms, table, write_section
from peak import peak_gflops

WIDTHS = ((16, 16, 32), (16, 11, 32), (12, 12, 24), (8, 8, 16), (6, 6, 12), (4, 4, 8))
# Of the Surrey 2022 systems: as it is, as published (C1, C2, C3, C12, C23, C123), and with fewer filters still.
RELEASED = ((12, 16, 32), (16, 12, 32), (16, 16, 22), (12, 12, 32), (16, 12, 22), (12, 12, 22))
SURREY = ((16, 16, 32), *RELEASED, (8, 8, 16), (4, 4, 8))
# Of VGGish: as it is, as published when pruned by similarity, half of everything.
VGGISH = (
    ((64, 128, 256, 256, 512, 512), 4096),
    ((51, 101, 215, 204, 404, 402), 4096),
    ((32, 64, 128, 128, 256, 256), 2048),
)
INT8 = ((16, 16, 32), (16, 11, 32), (8, 8, 16), (4, 4, 8))
TILED = (16, 12, 11, 8, 6, 4)
CALIBRATION = 16
ROUNDS = 5
LABELS = tuple("abcdefghij")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
Times = dict[tuple[str, str], RuntimeLatency]


def main() -> None:
    """Measure everything; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    parser.add_argument("--of", default="", help="write a section of its own, such as AVX2, beside the others")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    runtimes = ["torch", "onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else []), "c"]
    networks = {text_of(widths): dcase2021(widths) for widths in WIDTHS}
    small = timed(networks, runtimes, repeats=80)
    shallow = {text_of(widths): surrey2022(widths) for widths in SURREY}
    alone = timed(shallow, ["c"], repeats=3000)
    cold = timed(shallow, runtimes, repeats=600)
    wide = timed({text_of(widths): vggish(widths, dense) for widths, dense in VGGISH}, runtimes, repeats=40)
    with tempfile.TemporaryDirectory() as folder:
        whole = int8(networks, Path(folder), [name for name in runtimes if name != "torch"])
        code = the_code(networks[text_of((8, 8, 16))], Path(folder))
    layers = per_layer(networks)
    text = section(small, cold, alone, wide, whole, layers, tile_lines(), code, load, of=given.of)
    print(text)
    if given.page is not None:
        write_section(given.page, "compiler", text, of=given.of)


def dcase2021(widths: tuple[int, ...]) -> Classifier:
    """Return the network of the DCASE 2021 systems on ten seconds, 40×500, with random weights."""
    ears = front_end("dcase2021", duration_s=10.0)
    heard = torch.stack([log_mel(clip, ears) for clip in noise_clips(ears)[:2]])
    network = DCASE2021(widths=widths, frames=ears.frames).eval()
    return Classifier(network, ears, LABELS, heard.mean((0, 2)), heard.std((0, 2)))


def surrey2022(widths: tuple[int, ...]) -> Classifier:
    """Return the network of the Surrey 2022 systems on one second, 40×51."""
    return Classifier(Surrey2022(widths=widths).eval(), front_end("surrey2022"), LABELS, None, None)


def vggish(widths: tuple[int, ...], dense: int) -> Classifier:
    """Return VGGish on 64×96."""
    network: nn.Module = VGGishNet(widths=widths, dense=(dense, 128)).eval()
    network.input_shape = (1, 64, 96)
    return Classifier(network, None, LABELS, None, None)


def timed(networks: dict[str, Classifier], runtimes: list[str], *, repeats: int) -> Times:
    """Time networks of one family in all runtimes, in turn; the first is the unpruned one."""
    first, *others = networks
    rows = runtime_latency(
        {name: networks[name] for name in others}, before=networks[first], runtimes=runtimes, repeats=repeats
    )
    return {(row.runtime, first if row.model == BEFORE else row.model): row for row in rows}


def int8(networks: dict[str, Classifier], folder: Path, runtimes: list[str]) -> Times:
    """Time int8 beside float32; calibrated on noise: how fast they are does not depend on it."""
    models: dict[str, Runnable] = {}
    for widths in INT8:
        name = text_of(widths)
        ears = networks[name].known_front_end()
        sounds = torch.cat([noise_clips(ears)[:4]] * (CALIBRATION // 4))
        path = folder / f"{name}.onnx"
        quantize_int8(networks[name], path, clips=torch.stack([log_mel(sound, ears) for sound in sounds]))
        models |= {name: networks[name], f"{name} int8": read_model_file(path)}
    return {(row.runtime, row.model): row for row in runtime_latency(models, runtimes=runtimes, repeats=80)}


def per_layer(networks: dict[str, Classifier]) -> list[list[str]]:
    """Time each convolution, and set it beside the peak, which is measured in turn with it."""
    lines = []
    for widths in WIDTHS:
        plan = planned(network_program(networks[text_of(widths)].network, (1, 40, 500)))
        rounds = [(peak_gflops(5), step_times(plan, repeats=20)) for _ in range(ROUNDS)]
        for step in plan.program.steps:
            if isinstance(step, Convolution):
                done, counted = (n / 1e6 for n in (executed(plan, step), 2 * plan.program.macs(step)))
                took = median(times[step.name] for _, times in rounds)
                shares = [median(n / times[step.name] / peak for peak, times in rounds) for n in (done, counted)]
                tiles = " ".join(str(tile) for tile in plan.geometries[step.name].tiles)
                figures = [ms(took), f"{done / took:.0f}", f"{counted / took:.0f}"]
                lines.append([text_of(widths), step.name, tiles, *figures, *(f"{100 * one:.0f} %" for one in shares)])
    return lines


def executed(plan: Planned, step: Convolution) -> float:
    """Return the operations on numbers of the clip, without those that zeros above and below would take."""
    geometry = plan.geometries[step.name]
    source = plan.layouts[step.sources[0]].row
    _, _, frames = plan.program.convolved(step)
    rows = {strip: (strip.length - frames) // source + 1 for strip in geometry.strips}
    taps = sum(rows[strip] * (strip.last_tap - strip.first_tap) for strip in geometry.strips)
    return 2.0 * step.weight.shape[0] * step.weight.shape[1] * taps * frames


def tile_lines() -> list[list[str]]:
    """Time a layer of 7×7 kernels on 16 channels with every tile of all its filters, or of half of them."""
    lines = []
    for filters in TILED:
        plan = planned(network_program(DCASE2021(widths=(16, filters, 8), frames=500), (1, 40, 500)))
        chosen = plan.geometries["conv2"].tiles
        parts = 2 if filters > 12 else 1
        options = [Tile(filters // parts, vectors) for vectors in range(1, 9)]
        options = [tile for tile in options if tile.filters * tile.vectors + tile.vectors <= 31]
        rates = {}
        macs = 2 * plan.program.macs(next(step for step in plan.program.steps if step.name == "conv2"))
        for tiles in dict.fromkeys([chosen, *((tile,) * parts for tile in options)]):
            geometries = plan.geometries | {"conv2": replace(plan.geometries["conv2"], tiles=tiles)}
            rates[tiles] = macs / step_times(replace(plan, geometries=geometries), repeats=24)["conv2"] / 1e6
        best = max(rates, key=lambda tiles: rates[tiles])
        tried = ", ".join(f"{tiles[0]} {rate:.0f}" for tiles, rate in rates.items() if tiles != chosen)
        name = " ".join(map(str, chosen))
        lines.append([str(filters), name, f"{rates[chosen]:.0f}", f"{rates[chosen] / rates[best]:.2f}", tried])
    return lines


def the_code(one: Classifier, folder: Path) -> list[list[str]]:
    """Write 8-8-16 for both targets in both precisions; count lines and bytes, and compile."""
    lines = []
    whole = load_onnx(folder / f"{text_of((8, 8, 16))}.onnx")
    for target in ("simd", "portable"):
        for precision, model in (("float32", one), ("int8", whole)):
            done = export_c(model, folder / f"{target}_{precision}", target=target)
            call = [compiler().command, *EXACT_FLAGS, *WARNINGS, "-c", "model.c", "weights.c"]
            call += ["-march=native"] if target == "simd" else ["-Os"]
            begin = time.perf_counter()
            subprocess.run(call, cwd=done.path, check=True)
            seconds = time.perf_counter() - begin
            lines.append(
                [
                    f"{target}, {precision}",
                    f"{len((done.path / 'model.c').read_text().splitlines()):,}",
                    f"{seconds:.1f} s",
                    bytes_text(done.weight_bytes),
                    bytes_text(_sections(done.path / "model.o")),
                    bytes_text(done.work_bytes),
                ]
            )
    return lines


def _sections(file: Path) -> int:
    """Return the bytes of code and constants of an object file."""
    said = subprocess.run(["size", str(file)], capture_output=True, text=True, check=True).stdout
    return int(said.splitlines()[1].split()[0])


def text_of(widths: tuple[int, ...]) -> str:
    """Write widths such as ``8-8-16``."""
    return "-".join(map(str, widths))


def followed(times: Times, alone: Times | None = None) -> str:
    """Write how time follows the MACs, a line for each width."""
    runtimes = list(dict.fromkeys(runtime for runtime, _ in times))
    lines = []
    for name in dict.fromkeys(name for _, name in times):
        first = times[runtimes[0], name]
        reduction = first.mac_reduction or 1.0
        cells = [f"{(first.macs or 0) / 1e6:.1f}", f"{reduction:.2f}"]
        for runtime in runtimes:
            row = times[runtime, name]
            cells.append(time_text(row))
        if alone:
            cells.append(time_text(alone["c", name]))
        lines.append([name, *cells])
    head = [f"{name}, ms" for name in (*runtimes, *(["c alone"] if alone else []))]
    return table(["kept", "million MACs", "MACs ÷", *head], lines)


def time_text(row: RuntimeLatency) -> str:
    """Write a time and what of the saved MACs it realises."""
    return ms(row.latency_ms_p50) + (f" ({row.realised:.2f})" if row.realised else "")


def int8_lines(times: Times) -> list[list[str]]:
    """Write int8 beside float32."""
    runtimes = list(dict.fromkeys(runtime for runtime, _ in times))
    lines = []
    for widths in INT8:
        name = text_of(widths)
        cells = []
        for runtime in runtimes:
            exact, rough = (times[runtime, f"{name}{kind}"].latency_ms_p50 for kind in ("", " int8"))
            cells.append(f"{ms(exact)} → {ms(rough)} ({exact / rough:.2f}×)")
        lines.append([name, *cells])
    return lines


def goals(
    small: Times, cold: Times, alone: Times, wide: Times, whole: Times, layers: list[list[str]]
) -> list[list[str]]:
    """Set what was found beside what was aimed at."""
    unpruned, half = text_of(WIDTHS[0]), text_of((8, 8, 16))

    def p50(times: Times, runtime: str, name: str) -> float:
        return times[runtime, name].latency_ms_p50

    def least(times: Times, names: set[str] | None = None) -> str:
        rows = {
            name: row.realised
            for (runtime, name), row in times.items()
            if runtime == "c" and row.realised and (names is None or name in names)
        }
        name = min(rows, key=lambda one: rows[one])
        return f"{rows[name]:.2f} ({name})"

    others = [runtime for runtime, name in small if name == unpruned and runtime != "c"]
    fastest = min(others, key=lambda runtime: p50(small, runtime, unpruned))
    share, counted = (min(layers, key=lambda line: int(line[n].removesuffix(" %"))) for n in (-2, -1))
    cut = text_of((16, 11, 32))
    lines = [
        ["realised, the network of DCASE 2021, least", "≥ 0.9", least(small)],
        ["a convolution's share of the peak, least, as done", "≥ 80 %", f"{share[-2]} ({share[0]}, {share[1]})"],
        ["as counted", "≥ 80 %", f"{counted[-1]} ({counted[0]}, {counted[1]})"],
        [
            "realised, Surrey 2022, the six published networks, least, alone / in turn",
            "≥ 0.85",
            " / ".join(least(times, set(map(text_of, RELEASED))) for times in (alone, cold)),
        ],
        *(
            [
                f"realised, Surrey 2022, {name}, alone / in turn",
                "≥ 0.85",
                f"{alone['c', name].realised:.2f} / {cold['c', name].realised:.2f}",
            ]
            for name in map(text_of, SURREY[1 + len(RELEASED) :])
        ),
        ["realised, VGGish, least", "≥ 0.85", least(wide)],
        [
            f"unpruned, to the fastest other runtime ({fastest})",
            "≥ 1×",
            f"{p50(small, fastest, unpruned) / p50(small, 'c', unpruned):.2f}×",
        ],
        [f"time saved by {cut}", "≥ 25 %", f"{100 * (1 - p50(small, 'c', cut) / p50(small, 'c', unpruned)):.0f} %"],
    ]
    speeds = [p50(whole, "c", text_of(w)) / p50(whole, "c", f"{text_of(w)} int8") for w in INT8]
    lines.append(["int8 to its own float32, least", "≥ 1.5×", f"{min(speeds):.2f}×"])
    if ("openvino", half) in small:
        gained = p50(small, "openvino", half) / p50(small, "c", half)
        lines.append([f"{half}, to OpenVINO", "≥ 1.8×", f"{gained:.2f}×"])
        for name in (unpruned, half):
            gained = p50(whole, "openvino", f"{name} int8") / p50(whole, "c", f"{name} int8")
            lines.append([f"{name} int8, to OpenVINO int8", "≥ 1×", f"{gained:.2f}×"])
    return lines


def section(
    small: Times,
    cold: Times,
    alone: Times,
    wide: Times,
    whole: Times,
    layers: list[list[str]],
    tiles: list[list[str]],
    code: list[list[str]],
    load: float,
    *,
    of: str,
) -> str:
    """Write everything between the markers."""
    busy = f" Other programs kept the cores busy meanwhile (load average {load:.1f})." if load > 0.5 else ""
    runtimes = list(dict.fromkeys(runtime for runtime, _ in whole))
    return (
        f"## Coppice's own C{f', {of}' if of else ''}\n\n"
        f"{machine()}, {compiler().version}, random weights, one thread, one clip at a time, medians; all that a table "
        "compares took turns in one process. In brackets what of the saved MACs is *realised*: the speed-up over the "
        f"unpruned network in the same runtime ÷ the reduction of the MACs.{busy}\n\n"
        "### The network of the DCASE 2021 systems, 40×500\n\n"
        + followed(small)
        + "### Networks of 3×3 kernels\n\nThat of the Surrey 2022 systems, 40×51: unpruned, the six pruned ones as "
        "published, and two with fewer filters. Its curved activations and its pools take time "
        "that no MAC count knows, and the fewer filters there are, the larger is their share. It takes so little "
        "time that it matters what the caches hold: *c alone* is without other runtimes in between.\n\n"
        + followed(cold, alone)
        + "VGGish, 64×96: unpruned, as published when pruned by similarity, and half of everything. The weights of "
        "dense1 do not fit the caches, so that its time is that of the memory.\n\n"
        + followed(wide)
        + "### int8\n\nFloat32 → int8, and the speed-up, in the same runtime.\n\n"
        + table(["kept", *(f"{name}, ms" for name in runtimes)], int8_lines(whole))
        + "### Aims\n\n"
        + table(["", "aim", "found"], goals(small, cold, alone, wide, whole, layers))
        + "### How near to the peak\n\nEach convolution inside the network, with activation and pooling, in billions "
        "of operations a second; two for each multiply-accumulate. Zeros above and below the clip are not multiplied: "
        "*counted* is as if they were, as MACs are counted. The peak is that of twelve independent sums in registers, "
        "measured in turn with the network.\n\n"
        + table(["kept", "layer", "tiles", "ms", "done", "counted", "done to peak", "counted to peak"], layers)
        + "### Tiles\n\nconv2 on 16 channels: the tile that the cost model chose (filters × vectors), billions of "
        "operations a second, and that beside the best of all that were tried.\n\n"
        + table(["filters", "chosen", "rate", "to the best", "tried"], tiles)
        + "### The code\n\n8-8-16, 40×500. Compiled with `-Wall -Wextra -Wpedantic -Werror`; *code* is what `size` "
        "says of `model.o`, with constants other than weights; *work* is the memory that a caller gives.\n\n"
        + table(["", "lines of model.c", "compiling", "weights", "code", "work"], code)
    )


if __name__ == "__main__":
    main()

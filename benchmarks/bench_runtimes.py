"""What pruning and int8 bring in each runtime: time, peak memory, bytes; what a front end inside costs; wide networks.

``python benchmarks/bench_runtimes.py`` prints; ``--page docs`` writes into ``docs/benchmarks.md``.
"""

import argparse
import importlib.util
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.complexity.macs import count_macs
from coppice.core.units import bytes_text
from coppice.export.latency import BEFORE, RuntimeLatency, runtime_latency
from coppice.export.litert.export import export_litert, litert_model
from coppice.export.model_files import Runnable, read_model_file
from coppice.export.onnx import export_onnx, onnx_model
from coppice.export.openvino import export_openvino
from coppice.export.pytorch import export_torch
from coppice.export.runtimes import RUNTIMES
from coppice.export.verify import noise_clips
from coppice.networks.classifier import Classifier
from coppice.networks.cnn10 import CNN10
from coppice.networks.dcase2021 import DCASE2021
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune
from coppice.quantization.int8 import quantize_int8
from page import machine, ms, table, write_section

# Networks compiled to C have a benchmark of their own.
INSTALLED = [
    name for name, (module, _) in RUNTIMES.items() if name != "c" and importlib.util.find_spec(module.split(".")[0])
]
MIXED = "int8 but conv1"  # kernels for whole numbers gain nothing on a convolution that reads one channel
WHOLE, PRUNED = (16, 16, 32), [(8, 8, 16), (16, 8, 16)]
CALIBRATION = 16
ROUNDED = (1, 8, 16, 32)
LABELS = tuple("abcdefghij")
Times = dict[tuple[str, str], RuntimeLatency]


def main() -> None:
    """Measure everything; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    page = parser.parse_args().page
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        small, sizes = small_network(Path(folder))
        inside = front_end_inside()
        wide, reductions = wide_network(Path(folder))
    text = section(small, sizes, inside, wide, reductions, load)
    print(text)
    if page is not None:
        write_section(page, "runtimes", text)


def small_classifier(widths: tuple[int, ...], seconds: float) -> Classifier:
    """Return the network of the DCASE 2021 baseline with random weights; times do not depend on them."""
    ears = front_end("dcase2021", duration_s=seconds)
    network = DCASE2021(widths=widths, frames=ears.frames).eval()
    heard = torch.stack([log_mel(clip, ears) for clip in noise_clips(ears)[:2]])
    mean, spread = heard.mean((0, 2)), heard.std((0, 2))
    return Classifier(network, ears, LABELS, mean, spread)


def small_network(folder: Path) -> tuple[Times, list[list[str]]]:
    """Time the small network at three widths, float32 and int8, in every runtime; write every file for its size."""
    before = small_classifier(WHOLE, 10.0)
    models: dict[str, Runnable] = {}
    sizes = []
    for widths in (WHOLE, *PRUNED):
        one = before if widths == WHOLE else small_classifier(widths, 10.0)
        name = text_of(widths)
        if widths != WHOLE:
            models[name] = one
        files = int8_files(one, folder, name)
        models |= {f"{name} int8 {form}": read_model_file(path) for form, path in files.items() if form != MIXED}
        models[f"{name} {MIXED} onnx"] = read_model_file(files[MIXED])
        sizes.append([name, *every_size(one, folder, files)])
    return timed(models, before, memory=True), sizes


def int8_files(one: Classifier, folder: Path, name: str) -> dict[str, Path]:
    """Write int8 files, calibrated on noise: how fast they are does not depend on it."""
    sounds = torch.cat([noise_clips(one.known_front_end())[:4]] * (CALIBRATION // 4))
    files = {"onnx": folder / f"{name}.int8.onnx"}
    heard = torch.stack([log_mel(sound, one.known_front_end()) for sound in sounds])
    quantize_int8(one, files["onnx"], clips=heard)
    if isinstance(one.network, DCASE2021):
        files[MIXED] = folder / f"{name}.mixed.onnx"
        quantize_int8(one, files[MIXED], clips=heard, in_float=("conv1",))
    if "litert" in INSTALLED:
        files["litert"] = folder / f"{name}.int8.tflite"
        export_litert(one, files["litert"], precision="int8", calibration=sounds, tolerance=1.0)
    return files


def every_size(one: Classifier, folder: Path, int8: Mapping[str, Path]) -> list[str]:
    """Write a network in every format; return the sizes in bytes as text."""
    done = [export_onnx(one, folder / "a.onnx").size_bytes, int8["onnx"].stat().st_size]
    done += [export_torch(one, folder / "a.pt2").size_bytes]
    texts = [bytes_text(size) for size in done]
    for precision in ("float32", "float16"):
        given = {"precision": precision, "tolerance": 1.0}
        known = "openvino" in INSTALLED
        texts.append(bytes_text(export_openvino(one, folder / "a.xml", **given).size_bytes) if known else "–")
    for precision in ("float32", "float16"):
        given = {"precision": precision, "tolerance": 1.0}
        known = "litert" in INSTALLED
        texts.append(bytes_text(export_litert(one, folder / "a.tflite", **given).size_bytes) if known else "–")
    return [*texts, bytes_text(int8["litert"].stat().st_size) if "litert" in int8 else "–"]


def front_end_inside() -> Times:
    """Time a 5-second clip from waveform to posteriors, and from log-mel to posteriors."""
    one = small_classifier(WHOLE, 5.0)
    models: dict[str, Runnable] = {
        "log-mel onnx": onnx_model(one),
        "waveform onnx": onnx_model(one, with_front_end=True),
    }
    if "litert" in INSTALLED:
        models |= {"log-mel litert": litert_model(one), "waveform litert": litert_model(one, with_front_end=True)}
    rows = runtime_latency(models, runtimes=[name for name in INSTALLED if name != "torch"])
    return {(row.runtime, row.model.split()[0]): row for row in rows}


def wide_network(folder: Path) -> tuple[Times, dict[str, tuple[str, float]]]:
    """Time CNN10 on 2 seconds, with two fifths of the filters of every layer cut, at widths of several multiples."""
    ears = front_end("panns32k", duration_s=2.0)
    before = Classifier(CNN10(classes=10).eval(), ears, LABELS, torch.zeros(64), torch.ones(64))
    whole = count_macs(before.network, torch.zeros(before.input_shape)).total
    models: dict[str, Runnable] = {}
    reductions = {}
    for multiple in ROUNDED:
        decided = plan(before, "l1", ratios=0.4, round_to=multiple)
        small = prune(before, decided)
        name = f"multiples of {multiple}"
        models[name] = small
        macs = count_macs(small.network, torch.zeros(before.input_shape)).total
        kept = "-".join(str(len(layer.keep)) for layer in decided.layers)
        reductions[name] = (kept, whole / macs)
        if multiple == 16:
            files = int8_files(small, folder, "wide")
            models |= {f"{name} int8 {form}": read_model_file(path) for form, path in files.items() if form != MIXED}
            reductions[f"{name} int8"] = reductions[name]
    return timed(models, before, repeats=12, warmup=3), reductions


def timed(
    models: Mapping[str, Runnable], before: Classifier, *, repeats: int = 60, warmup: int = 8, memory: bool = False
) -> Times:
    """Time all models in all runtimes in turn; files of one network in several formats get one name."""
    rows = runtime_latency(
        models, before=before, runtimes=INSTALLED, threads=1, repeats=repeats, warmup=warmup, memory=memory
    )
    return {(row.runtime, row.model.removesuffix(" onnx").removesuffix(" litert")): row for row in rows}


def text_of(widths: tuple[int, ...]) -> str:
    """Write widths such as ``8-8-16``."""
    return "-".join(map(str, widths))


def section(
    small: Times,
    sizes: list[list[str]],
    inside: Times,
    wide: Times,
    reductions: Mapping[str, tuple[str, float]],
    load: float,
) -> str:
    """Write everything between the markers."""
    busy = f" Other programs kept the cores busy meanwhile (load average {load:.1f})." if load > 0.5 else ""
    missing = [name for name in RUNTIMES if name not in (*INSTALLED, "c")]
    absent = f" Not installed: {', '.join(missing)}." if missing else ""
    return (
        "## Runtimes\n\n"
        f"{machine()}, random weights, one thread, one clip at a time, medians; all that a table compares took turns "
        "in one process. *Realised* is the speed-up over the unpruned network in the same runtime and float32 ÷ the "
        f"reduction of the MACs.{absent}{busy}\n\n"
        "### The network of the DCASE 2021 systems, 40×500\n\n"
        "*To torch* is the speed-up over eager PyTorch, unpruned, float32. *Memory* is the peak of the resident memory "
        "beyond that of the runtime itself.\n\n"
        + table(["network", "runtime", "ms", "p95", "speed-up", "realised", "to torch", "memory"], small_lines(small))
        + goals(small, inside, wide)
        + "### Bytes of the files\n\n"
        + table(
            ["network", "onnx", "onnx int8", "pt2", "xml + bin", "float16", "tflite", "float16", "int8"],
            sizes,
        )
        + "### The front end inside\n\nA clip of 5 s, 40×250.\n\n"
        + table(
            ["runtime", "log-mel → posteriors", "waveform → posteriors", "ratio"],
            [
                [runtime, *(ms(inside[runtime, kind].latency_ms_p50) for kind in ("log-mel", "waveform")), ratio(pair)]
                for runtime, pair in by_runtime(inside).items()
            ],
        )
        + "### A wide network: CNN10, 2 s\n\n"
        "Two fifths of the filters of every convolution cut by `l1`, what stays rounded up to a multiple.\n\n"
        + table(["network", "kept", "runtime", "ms", "speed-up", "MACs ÷", "realised"], wide_lines(wide, reductions))
        + best_multiple(wide)
    )


def small_lines(times: Times) -> list[list[str]]:
    """Write the rows of the small network: by width and format, then by runtime."""
    lines = []
    reference = times["torch", BEFORE].latency_ms_p50
    names = dict.fromkeys(name for _, name in times)
    names = sorted(names, key=lambda name: ("int8" in name, name != BEFORE))
    for name in names:
        for runtime in INSTALLED:
            row = times.get((runtime, name))
            if row is not None:
                lines.append(
                    [
                        f"{text_of(WHOLE)}, unpruned" if name == BEFORE else name,
                        runtime,
                        ms(row.latency_ms_p50),
                        ms(row.latency_ms_p95),
                        times_text(row.speed_up),
                        "–" if not row.mac_reduction or row.mac_reduction < 1.01 else f"{row.realised:.2f}",
                        times_text(reference / row.latency_ms_p50),
                        "–" if row.peak_memory_bytes is None else bytes_text(row.peak_memory_bytes),
                    ]
                )
    return lines


def wide_lines(times: Times, reductions: Mapping[str, tuple[str, float]]) -> list[list[str]]:
    """Write the rows of the wide network."""
    lines = []
    for name in dict.fromkeys(name for _, name in times):
        for runtime in INSTALLED:
            row = times.get((runtime, name))
            if row is None:
                continue
            kept, fewer = reductions.get(name, ("all", 1.0))
            cells = [ms(row.latency_ms_p50), times_text(row.speed_up), f"{fewer:.2f}"]
            realised = f"{row.speed_up / fewer:.2f}" if row.speed_up and name != BEFORE else "–"
            lines.append(["unpruned" if name == BEFORE else name, kept, runtime, *cells, realised])
    return lines


def best_multiple(times: Times) -> str:
    """Say which multiple realises most in each runtime."""
    said = []
    for runtime in INSTALLED:
        rows = [row for (where, name), row in times.items() if where == runtime and name.startswith("mult")]
        rows = [row for row in rows if row.realised is not None and "int8" not in row.model]
        if rows:
            best = max(rows, key=lambda row: row.realised or 0)
            said.append(f"{runtime}: {best.model} ({best.realised:.2f})")
    return f"Most realised, float32: {'; '.join(said)}.\n"


def goals(small: Times, inside: Times, wide: Times) -> str:
    """Set what was found beside what was aimed at."""
    whole, half = text_of(WHOLE), text_of(PRUNED[0])
    reference = small["torch", BEFORE].latency_ms_p50
    lines = []
    for name, aim in ((whole, 4), (half, 6)):
        found = {runtime: row for (runtime, one), row in small.items() if one == f"{name} int8"}
        best = min(found, key=lambda runtime: found[runtime].latency_ms_p50)
        gained = reference / found[best].latency_ms_p50
        lines.append([f"int8 {name} in the fastest runtime, to torch unpruned", f"≥ {aim}×", f"{gained:.1f}× ({best})"])
    plain_ms = small["onnxruntime", BEFORE].latency_ms_p50
    for kind in ("int8", MIXED):
        gained = plain_ms / small["onnxruntime", f"{whole} {kind}"].latency_ms_p50
        lines.append([f"ONNX Runtime, {kind} to its float32, unpruned", "≥ 1.5×", f"{gained:.2f}×"])
    fastest = min(row.latency_ms_p50 for (_, name), row in small.items() if name == f"{half} int8")
    plain = min(row.latency_ms_p50 for (_, name), row in small.items() if name == BEFORE)
    best_small = [row for (_, name), row in small.items() if name == f"{half} int8" and row.latency_ms_p50 == fastest]
    fewer = best_small[0].mac_reduction or 1.0
    lines.append(
        [
            f"{half} int8 to unpruned float32, each in its fastest runtime, ÷ MACs",
            "≥ 1.2",
            f"{plain / fastest / fewer:.2f}",
        ]
    )
    realised = [row.realised for (_, name), row in wide.items() if row.realised and not name.endswith("int8")]
    lines.append(["realised by the wide network, float32, best", "≥ 0.8", f"{max(realised):.2f}"])
    lines.append(["waveform to log-mel input in ONNX Runtime, 5 s", "≤ 2×", ratio(by_runtime(inside)["onnxruntime"])])
    return "Aims:\n\n" + table(["", "aim", "found"], lines)


def by_runtime(inside: Times) -> dict[str, tuple[RuntimeLatency, RuntimeLatency]]:
    """Pair the two kinds of input."""
    return {
        runtime: (inside[runtime, "log-mel"], inside[runtime, "waveform"])
        for runtime in dict.fromkeys(runtime for runtime, _ in inside)
    }


def ratio(pair: tuple[RuntimeLatency, RuntimeLatency]) -> str:
    """Write how much longer the second takes."""
    return f"{pair[1].latency_ms_p50 / pair[0].latency_ms_p50:.2f}×"


def times_text(value: float | None) -> str:
    """Write a factor."""
    return "–" if value is None else f"{value:.2f}×"


if __name__ == "__main__":
    main()

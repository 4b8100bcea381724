"""Files for devices, and latency in the runtimes that run them, as commands."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coppice.cli.compile import write_c
from coppice.cli.output import JsonFlag, ModelArgument, OutFile, print_json, print_line, print_table
from coppice.cli.web import write_page
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.units import bytes_text, percent_text

if TYPE_CHECKING:
    from coppice.export.exported import Exported
    from coppice.export.latency import RuntimeLatency
    from coppice.export.model_files import Runnable

TARGETS = ("onnx", "openvino", "litert", "torch", "web", "c")


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(export)


def export(
    model: ModelArgument,
    out: OutFile,
    to: Annotated[
        str,
        typer.Option(
            help="onnx; openvino: .xml, .bin; litert: .tflite; torch: .pt2; web: a folder with a page; c: one of C."
        ),
    ] = "onnx",
    precision: Annotated[
        str, typer.Option(help="Of the weights: float32; openvino and litert: float16; litert: int8.")
    ] = "float32",
    calibration: Annotated[
        list[Path] | None, typer.Option(help="int8: training clips, files or folders. Repeatable; some 100.")
    ] = None,
    with_front_end: Annotated[
        bool, typer.Option("--with-front-end", help="Waveform in, posteriors out: no feature code on the device.")
    ] = False,
    clips: Annotated[
        list[Path] | None, typer.Option(help="Sound files or folders to verify with. Repeatable; noise without.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="web: a second network, shown beside it, such as the unpruned one.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="web: the headline of the page.")] = None,
    runtime_files: Annotated[
        Path | None, typer.Option(help="web: onnxruntime-web as npm packs it, or its folder; fetched without.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="c: simd, for processors with vectors; portable, for microcontrollers.")
    ] = None,
    ram: Annotated[str | None, typer.Option(help="c: the most work memory, such as 256k.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="c: print steps, tiles, buffers, MACs and bytes.")] = False,
    json: JsonFlag = False,
) -> None:
    """Write a network for other runtimes, once it gives the same posteriors there as in PyTorch.

    Example: `coppice export checkpoint.safetensors --to onnx --with-front-end --clips recordings/ --out model.onnx`,
    `coppice export checkpoint.safetensors --to litert --precision int8 --calibration training/ --out model.tflite`
    """
    if to not in TARGETS:
        raise CoppiceError(f"there is no export to {to!r}. {did_you_mean(to, TARGETS)}")
    if to == "c":
        for option, found in (("--compare", compare), ("--title", title), ("--runtime-files", runtime_files)):
            if found is not None:
                raise CoppiceError(f"{option} goes with --to web; leave it out, or add that.")
        if precision != "float32" or calibration:
            raise CoppiceError("--to c writes float32, or int8 of the ONNX file that coppice quantize --to int8 wrote.")
        return write_c(
            model,
            out,
            target=target,
            with_front_end=with_front_end,
            ram=ram,
            clips=clips,
            explain=explain,
            json=json,
        )
    for option, found in (("--target", target), ("--ram", ram), ("--explain", "yes" if explain else None)):
        if found is not None:
            raise CoppiceError(f"{option} goes with --to c; leave it out, or add that.")
    if to == "web":
        if precision != "float32" or calibration:
            raise CoppiceError(
                "--to web writes float32; for int8 give it the file of coppice quantize --to int8 --with-front-end."
            )
        return write_page(model, out, compare=compare, title=title, runtime=runtime_files, clips=clips, json=json)
    for option, given in (("--compare", compare), ("--title", title), ("--runtime-files", runtime_files)):
        if given is not None:
            raise CoppiceError(f"{option} goes with --to web; leave it out, or add that.")
    done, rate = _exported(model, out, to, precision, with_front_end, calibration, clips)
    if json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    agreement = done.agreement
    shape = "×".join(map(str, (1 if to == "litert" else "clips", *done.clip_shape)))
    print_line(
        f"{done.path}: {bytes_text(done.size_bytes)}, {done.format}, {done.precision}, {done.input_name} {shape}{rate}"
    )
    print_line(
        f"{done.checked_in} against PyTorch on {agreement.clips} {agreement.material}: largest difference of a "
        f"posterior {agreement.max_delta:.1e} (allowed: {agreement.tolerance:g}), same class for "
        f"{percent_text(agreement.top1)}"
    )


def _exported(
    model: Path,
    out: Path,
    to: str,
    precision: str,
    with_front_end: bool,
    calibration: list[Path] | None,
    clips: list[Path] | None,
) -> tuple["Exported", str]:
    """Call the verb of a format; return what it returns, and the rate of waveforms for people."""
    if calibration and (to, precision) != ("litert", "int8"):
        raise CoppiceError("--calibration goes with --to litert --precision int8; leave it out, or add these.")
    if to in ("onnx", "torch") and precision != "float32":
        instead = "; coppice quantize --to int8 writes an ONNX file in int8" if to == "onnx" else ""
        raise CoppiceError(f"--to {to} is written in float32, not {precision}{instead}.")
    from coppice.export.runtimes import check_runtimes
    from coppice.export.sound_clips import sound_clips
    from coppice.networks.loading import load

    if to in ("openvino", "litert"):
        check_runtimes([to])
    classifier = load(model)
    ears = classifier.known_front_end() if with_front_end or clips or calibration else None
    rate = f" at {ears.sample_rate} Hz" if with_front_end and ears else ""
    sounds = sound_clips(clips, ears) if clips and ears else None
    if to == "onnx":
        from coppice.export.onnx import export_onnx

        return export_onnx(classifier, out, with_front_end=with_front_end, clips=sounds), rate
    if to == "torch":
        from coppice.export.pytorch import export_torch

        return export_torch(classifier, out, with_front_end=with_front_end, clips=sounds), rate
    common: dict[str, Any] = {"precision": precision, "with_front_end": with_front_end, "clips": sounds}
    if to == "openvino":
        from coppice.export.openvino import export_openvino

        return export_openvino(classifier, out, **common), rate
    from coppice.export.litert.export import export_litert

    trained_on = sound_clips(calibration, ears) if calibration and ears else None
    return export_litert(classifier, out, calibration=trained_on, **common), rate


def print_latency(
    models: Sequence[Path], before: Path | None, runtimes: Sequence[str], threads: int, *, json: bool
) -> None:
    """Measure and print the latency of networks and files, and of the one before pruning, in runtimes."""
    from coppice.export.latency import BEFORE, advice, runtime_latency
    from coppice.export.model_files import runs_in
    from coppice.export.runtimes import check_runtimes

    check_runtimes(runtimes)
    former = _opened(before, runtimes) if before is not None else None
    given = {name: _opened(path, runtimes) for name, path in zip(_names(models), models, strict=True)}
    rows = runtime_latency(given, before=former, runtimes=runtimes, threads=threads, memory=True)
    sentences = [
        *(
            f"{name} does not run in {', '.join(left)}."
            for name, one in ({} if former is None else {BEFORE: former} | given).items()
            if (left := [runtime for runtime in runtimes if runtime not in runs_in(one)])
        ),
        *advice(rows),
    ]
    if json:
        print_json({"latency": [asdict(row) for row in rows], "advice": sentences})
        return
    columns = ["model", "ms", "p95", "memory"] + ["speed-up", "MACs ÷", "realised"] * (former is not None)
    table = []
    for runtime in dict.fromkeys(row.runtime for row in rows):
        table.append([runtime] + [""] * (len(columns) - 1))
        table += [_cells(row, compared=former is not None) for row in rows if row.runtime == runtime]
    title = f"one clip, {threads} thread{'s' if threads > 1 else ''}{f', before: {before.name}' if before else ''}"
    print_table(title, columns, table)
    for sentence in sentences:
        print_line(sentence)


def _cells(row: "RuntimeLatency", *, compared: bool) -> list[str]:
    memory = "–" if row.peak_memory_bytes is None else bytes_text(row.peak_memory_bytes)
    cells = [f"  {row.model}", _number(row.latency_ms_p50), _number(row.latency_ms_p95), memory]
    return cells + [_number(one) for one in (row.speed_up, row.mac_reduction, row.realised)] * compared


def _names(paths: Sequence[Path]) -> list[str]:
    """Name files by themselves, with their folders where two are called the same."""
    short = [path.name for path in paths]
    names = [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]
    if len(set(names)) < len(names):
        raise CoppiceError(f"{next(name for name in names if names.count(name) > 1)} is given twice; give it once.")
    return names


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _opened(path: Path, runtimes: Sequence[str]) -> "Runnable":
    """Open what is to be timed: a published .tflite is a network, too, where LiteRT does not run it."""
    from coppice.export.model_files import is_model_file, read_model_file

    if is_model_file(path) and (path.suffix.lower() != ".tflite" or "litert" in runtimes):
        return read_model_file(path)
    from coppice.networks.loading import load

    return load(path)

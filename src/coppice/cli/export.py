"""Files for devices, and latency in the runtimes that run them, as commands."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coppice.cli.output import JsonFlag, ModelArgument, OutFile, print_json, print_line, print_table
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.units import bytes_text, percent_text

if TYPE_CHECKING:
    from coppice.export.onnx_file import OnnxFile
    from coppice.networks.classifier import Classifier

TARGETS = ("onnx",)


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(export)


def export(
    model: ModelArgument,
    out: OutFile,
    to: Annotated[str, typer.Option(help="The format: onnx.")] = "onnx",
    with_front_end: Annotated[
        bool, typer.Option("--with-front-end", help="Waveform in, posteriors out: no feature code on the device.")
    ] = False,
    clips: Annotated[
        list[Path] | None, typer.Option(help="Sound files or folders to verify with. Repeatable; noise without.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write a network for other runtimes, once it gives the same posteriors there as in PyTorch.

    Example: `coppice export checkpoint.safetensors --to onnx --with-front-end --clips recordings/ --out model.onnx`
    """
    if to not in TARGETS:
        raise CoppiceError(f"there is no export to {to!r}. {did_you_mean(to, TARGETS)}")
    from coppice.export.onnx import export_onnx
    from coppice.export.sound_clips import sound_clips
    from coppice.networks.loading import load

    classifier = load(model)
    sounds = sound_clips(clips, classifier.known_front_end()) if clips else None
    done = export_onnx(classifier, out, with_front_end=with_front_end, clips=sounds)
    if json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    agreement = done.agreement
    rate = f" at {classifier.known_front_end().sample_rate} Hz" if with_front_end else ""
    shape = "×".join(map(str, ("clips", *done.clip_shape)))
    print_line(f"{done.path}: {bytes_text(done.size_bytes)}, ONNX opset {done.opset}, {done.input_name} {shape}{rate}")
    print_line(
        f"ONNX Runtime against PyTorch on {agreement.clips} {agreement.material}: largest difference of a "
        f"posterior {agreement.max_delta:.1e} (allowed: {agreement.tolerance:g}), same class for "
        f"{percent_text(agreement.top1)}"
    )


def print_latency(model: Path, before: Path | None, runtimes: Sequence[str], threads: int, *, json: bool) -> None:
    """Measure and print the latency of a network, and of the one before pruning, in runtimes."""
    from coppice.export.latency import BEFORE, advice, runtime_latency
    from coppice.export.runtimes import check_runtimes

    check_runtimes(runtimes)
    former = _opened(before) if before is not None else None
    rows = runtime_latency(_opened(model), before=former, runtimes=runtimes, threads=threads)
    sentences = advice(rows)
    if json:
        print_json({"latency": [asdict(row) for row in rows], "advice": list(sentences)})
        return
    times = {(row.runtime, row.model): [_number(row.latency_ms_p50), _number(row.latency_ms_p95)] for row in rows}
    title = f"ms for one clip, float32, {threads} thread{'s' if threads > 1 else ''}, {model.name}"
    afterwards = [row for row in rows if row.model != BEFORE]
    if before is None:
        table = [[row.runtime, *times[row.runtime, row.model]] for row in afterwards]
        print_table(title, ["runtime", "median", "p95"], table)
        return
    table = [
        [
            row.runtime,
            *times[row.runtime, BEFORE],
            *times[row.runtime, row.model],
            *map(_number, (row.speed_up, row.mac_reduction, row.realised)),
        ]
        for row in afterwards
    ]
    columns = ["runtime", "before", "p95", "after", "p95", "speed-up", "MACs ÷", "realised"]
    print_table(f"{title}, before: {before.name}", columns, table)
    for sentence in sentences:
        print_line(sentence)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _opened(path: Path) -> "Classifier | OnnxFile":
    if path.suffix.lower() == ".onnx":
        from coppice.export.onnx_file import read_onnx

        return read_onnx(path)
    from coppice.networks.loading import load

    return load(path)

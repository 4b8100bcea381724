"""``coppice compile``, and the C of ``coppice export --to c``."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coppice.cli.output import JsonFlag, ModelArgument, print_json, print_line
from coppice.core.errors import CoppiceError
from coppice.core.units import bytes_text, count_text, percent_text

if TYPE_CHECKING:
    from coppice.export.onnx_classifier import OnnxClassifier
    from coppice.networks.classifier import Classifier

# Of a size in bytes: k is 1000, as everywhere in Coppice, and Ki 1024.
_SIZES = {"": 1, "k": 1000, "m": 1_000_000, "ki": 1024, "mi": 1 << 20}


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(name="compile")(compile_here)


def compile_here(
    model: ModelArgument,
    explain: Annotated[bool, typer.Option("--explain", help="Print steps: tiles, buffers, bytes, MACs, time.")] = False,
    json: JsonFlag = False,
) -> None:
    """Compile a network for this processor with its C compiler, and time it; --runtime c then finds it ready.

    Example: `coppice compile checkpoint.safetensors --explain`
    """
    import numpy as np

    from coppice.compiler.compiled import compile_planned
    from coppice.compiler.explain import explained
    from coppice.compiler.planned import planned
    from coppice.compiler.programs import classifier_program, file_program, precision_of
    from coppice.compiler.step_times import step_times
    from coppice.complexity.latency import time_in_turn
    from coppice.export.onnx_file import read_onnx
    from coppice.native.toolchain import compiler
    from coppice.networks.loading import load

    if model.suffix.lower() == ".onnx":
        file = read_onnx(model)
        program, shape = file_program(file), file.clip_shape
    else:
        classifier = load(model)
        program, shape = classifier_program(classifier), tuple(classifier.input_shape[1:])
    plan = planned(program, precision=precision_of(program))
    compiled = compile_planned(plan, shape)
    clip = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    latency = time_in_turn({"c": compiled.call(clip)}, repeats=60, warmup=8)["c"].latency_ms_p50
    macs = sum(map(program.macs, program.steps))
    times = step_times(plan) if explain else None
    if json:
        print_json(
            {
                "compiler": compiler().version,
                "precision": plan.precision,
                "macs": macs,
                "work_bytes": plan.work_bytes,
                "latency_ms_p50": latency,
                "steps": explained(plan, times),
                **({"step_ms": times} if times else {}),
            }
        )
        return
    for line in explained(plan, times) if explain else ():
        print_line(line)
    print_line(
        f"{model.name}: {plan.precision}, {count_text(macs)}MACs in {latency:.3g} ms "
        f"({macs / latency / 1e6:.0f} billion a second), {bytes_text(plan.work_bytes)} of work memory, "
        f"compiled by {compiler().version}"
    )


def write_c(
    model: Path,
    out: Path,
    *,
    target: str | None,
    with_front_end: bool,
    ram: str | None,
    clips: Sequence[Path] | None,
    explain: bool,
    json: bool,
) -> None:
    """Write the folder of C of ``coppice export --to c``, and print what became of it."""
    from coppice.compiler.export_c import export_c
    from coppice.export.sound_clips import sound_clips

    most = None if ram is None else size_in_bytes(ram)
    classifier = _opened(model)
    sounds = sound_clips(clips, classifier.known_front_end()) if clips else None
    done = export_c(
        classifier,
        out,
        target="simd" if target is None else target,
        with_front_end=with_front_end,
        most_bytes=most,
        clips=sounds,
    )
    if json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    for line in done.steps if explain else ():
        print_line(line)
    agreement = done.agreement
    print_line(
        f"{done.path}: C99, {done.target}, {done.precision}, {count_text(done.macs)}MACs, "
        f"{bytes_text(done.weight_bytes)} of weights, {bytes_text(done.work_bytes)} of work memory"
    )
    print_line(
        f"compiled, against {done.compared_with} on {agreement.clips} {agreement.material}: largest difference of a "
        f"posterior {agreement.max_delta:.1e} (allowed: {agreement.tolerance:g}), same class for "
        f"{percent_text(agreement.top1)}"
    )


def size_in_bytes(text: str) -> int:
    """Read a size such as ``256k`` or ``1.5M``.

    Raises
    ------
    CoppiceError
        If it is none.

    Examples
    --------
    >>> size_in_bytes("256k"), size_in_bytes("64 KiB")
    (256000, 65536)
    """
    stripped = text.strip().lower().removesuffix("b").rstrip()
    number = stripped.rstrip("kmi ")
    unit = stripped[len(number) :].strip()
    try:
        size = float(number) * _SIZES[unit]
    except (ValueError, KeyError):
        size = -1.0
    if not 0 < size < 1e15:
        raise CoppiceError(f"{text!r} is no size in bytes; write for example 256k, 256KiB or 1M.")
    return int(size)


def _opened(model: Path) -> "Classifier | OnnxClassifier":
    if model.suffix.lower() == ".onnx":
        from coppice.export.onnx_classifier import load_onnx

        return load_onnx(model)
    from coppice.networks.loading import load

    return load(model)

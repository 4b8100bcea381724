"""Smaller number formats as a command."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coppice.cli.clips import open_clips
from coppice.cli.options import BadClips, Root, Seed, TestFold
from coppice.cli.output import JsonFlag, ModelArgument, OutFile, print_json, print_line
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.units import bytes_text, percent_text

if TYPE_CHECKING:
    from coppice.networks.classifier import Classifier
    from coppice.quantization.int8 import Quantized

INT8 = "int8"


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(quantize)


def quantize(
    model: ModelArgument,
    out: OutFile,
    to: Annotated[str, typer.Option(help="float16, bfloat16, dynamic_int8, or int8 (ONNX).")] = "float16",
    data: Annotated[
        str | None,
        typer.Option(
            help="With int8: calibrate on training clips of a folder, a CSV/TSV file, esc10, esc50 or synthetic."
        ),
    ] = None,
    sounds: Annotated[
        list[Path] | None, typer.Option(help="With int8: calibrate on these sound files or folders. Repeatable.")
    ] = None,
    clips: Annotated[int, typer.Option(help="With int8: how many clips to calibrate on.")] = 100,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="With int8: the accuracy that may be lost on validation clips, such as 0.005; layers stay in float "
            "until no more is."
        ),
    ] = None,
    in_float: Annotated[
        list[str] | None, typer.Option("--float", help="With int8: leave this layer in float. Repeatable.")
    ] = None,
    with_front_end: Annotated[
        bool, typer.Option("--with-front-end", help="With int8: waveform in, posteriors out.")
    ] = False,
    finetune: Annotated[
        int | None,
        typer.Option(help="With int8 and labelled --data: train on for so many epochs, rounding in every step."),
    ] = None,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    seed: Seed = 0,
    json: JsonFlag = False,
) -> None:
    """Store a network's numbers in fewer bits, or write it as an ONNX file that computes in int8.

    float16, bfloat16 and dynamic_int8 are checkpoints; arithmetic stays in float32. int8 needs clips: from the
    training part of --data, where --max-drop is judged on the validation part, or unlabelled --sounds, where it is
    judged by the classes that they get in float32. Where int8 costs too much, --finetune wins some of it back.

    Example: `coppice quantize checkpoint.safetensors --to float16 --out small.safetensors`,
    `coppice quantize checkpoint.safetensors --to int8 --data esc10 --test-fold 1 --out model.int8.onnx`
    """
    from coppice.networks.loading import load
    from coppice.quantization.rounding import SMALLER

    if to != INT8:
        if to not in SMALLER:
            raise CoppiceError(f"there is no number format {to!r}. {did_you_mean(to, (*SMALLER, INT8))}")
        if data is not None or sounds or max_drop is not None or in_float or with_front_end or finetune is not None:
            raise CoppiceError(f"{to} needs no clips and leaves no layer out: these options go with --to {INT8}.")
        _store(model, out, to, json=json)
        return
    if (data is None) == (not sounds):
        raise CoppiceError("int8 needs clips to calibrate on: give --data, or --sounds.")
    if out.suffix.lower() != ".onnx":
        raise CoppiceError(f"int8 is written as an ONNX file; call it {out.with_suffix('.onnx')}.")
    if finetune is not None:
        if data is None or max_drop is not None or in_float:
            raise CoppiceError(
                "--finetune needs labelled --data, and rounds every layer: leave out --max-drop and --float."
            )
        clips_of = (data, root, test_fold, bad_clips)
        _learn(model, out, finetune, clips_of, with_front_end=with_front_end, seed=seed, json=json)
        return
    classifier = load(model)
    if data is not None:
        given = _of_dataset(classifier, data, root, test_fold, bad_clips, count=clips, seed=seed)
    else:
        from coppice.export.sound_clips import sound_clips

        given = {"clips": sound_clips(sounds or (), classifier.known_front_end())[:clips]}
    from coppice.quantization.int8 import quantize_int8

    done = quantize_int8(
        classifier, out, **given, max_drop=max_drop, in_float=in_float or (), with_front_end=with_front_end
    )
    if json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    _print(done, model)


def _store(model: Path, out: Path, to: str, *, json: bool) -> None:
    from coppice.networks.checkpoint import save
    from coppice.networks.loading import load
    from coppice.quantization.rounding import quantize as rounded

    path = save(rounded(load(model), to=to), out)
    size, before = path.stat().st_size, model.stat().st_size
    if json:
        print_json({"path": str(path), "precision": to, "size_bytes": size, "size_bytes_before": before})
        return
    print_line(f"{path}: {bytes_text(size)} (was {bytes_text(before)})")


def _learn(
    model: Path,
    out: Path,
    epochs: int,
    clips_of: tuple[str, Path | None, int | None, str],
    *,
    with_front_end: bool,
    seed: int,
    json: bool,
) -> None:
    """Fine-tune with rounding, write the file, and say what it cost on validation clips."""
    from coppice.export.onnx import export_onnx
    from coppice.networks.loading import load
    from coppice.quantization.aware import LEARNING_RATE, TOLERANCE, finetune_int8
    from coppice.training.settings import TrainingSettings

    classifier = load(model)
    source, root, test_fold, bad_clips = clips_of
    prepared = open_clips(source, root, classifier.known_front_end(), test_fold, bad_clips)
    settings = TrainingSettings(epochs=epochs, patience=epochs, learning_rate=LEARNING_RATE, seed=seed)
    unfinished = out.with_name(f"{out.name}.training")
    tuned = finetune_int8(classifier, prepared, settings=settings, folder=unfinished)
    done = export_onnx(tuned, out, with_front_end=with_front_end, tolerance=TOLERANCE)
    log_mel, targets = prepared.log_mel("validation"), prepared.targets("validation")
    before, after = (
        float((one.posteriors(log_mel).argmax(1) == targets).double().mean()) for one in (classifier, tuned)
    )
    shutil.rmtree(unfinished)
    if json:
        print_json({**asdict(done), "path": str(done.path), "accuracy_float32": before, "accuracy_int8": after})
        return
    print_line(
        f"{done.path}: {bytes_text(done.size_bytes)} (was {bytes_text(model.stat().st_size)}), every layer in int8"
    )
    print_line(
        f"accuracy on {len(targets)} validation clips: {percent_text(after)} (float32 before: {percent_text(before)}); "
        f"ONNX Runtime against PyTorch: largest difference of a posterior {done.agreement.max_delta:.2g}"
    )


def _of_dataset(
    classifier: "Classifier",
    source: str,
    root: Path | None,
    test_fold: int | None,
    bad_clips: str,
    *,
    count: int,
    seed: int,
) -> dict[str, Any]:
    """Draw training clips, and take all validation clips with their classes."""
    from coppice.pruning.evidence.training_clips import training_clips

    prepared = open_clips(source, root, classifier.known_front_end(), test_fold, bad_clips)
    clips, classes = training_clips(classifier, prepared, count=count, seed=seed)
    given: dict[str, Any] = {"clips": clips, "validation": prepared.log_mel("validation")}
    labels = prepared.clips("validation")["label"]
    if classifier.score == "softmax" and classes is not None and set(labels) <= set(classifier.labels):
        given["targets"] = [classifier.labels.index(label) for label in labels]
    return given


def _print(done: "Quantized", model: Path) -> None:
    shape = "×".join(map(str, ("clips", *done.clip_shape)))
    agreement = done.agreement
    sizes = f"{bytes_text(done.size_bytes)} (was {bytes_text(model.stat().st_size)})"
    print_line(
        f"{done.path}: {sizes}, ONNX opset {done.opset}, {done.input_name} {shape}, calibrated on "
        f"{done.calibration_clips} clips"
    )
    print_line(f"in int8: {', '.join(done.int8_layers) or 'none'}; in float: {', '.join(done.float_layers) or 'none'}")
    print_line(
        f"ONNX Runtime against PyTorch in float32 on {agreement.clips} {agreement.material}: largest difference "
        f"of a posterior {agreement.max_delta:.2f}, same class for {percent_text(agreement.top1)}, "
        f"{done.drop_of} lower by {percent_text(done.drop)}"
    )

"""Each stage as a command of its own, on checkpoints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coppice.cli.clips import clips_key, open_clips
from coppice.cli.export import print_latency
from coppice.cli.options import BadClips, Epochs, Patience, Root, Seed, Source, TestFold
from coppice.cli.output import (
    JsonFlag,
    ModelArgument,
    OutFile,
    print_counts,
    print_json,
    print_line,
    print_mac_reduction,
    print_profile,
    print_scores,
    print_table,
)
from coppice.core.errors import CoppiceError
from coppice.core.units import percent_text


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (train, finetune, quantize, evaluate, profile, classify):
        app.command()(command)


def train(
    data: Source,
    out: OutFile,
    root: Root = None,
    duration: Annotated[float, typer.Option(help="Seconds of a clip; longer ones are cut, shorter ones padded.")] = 5.0,
    preset: Annotated[
        str,
        typer.Option(
            help="Front end: dcase2021, dcase2022, dcase2024, panns32k, panns16k, efficientat, surrey2022 or logmel."
        ),
    ] = "dcase2021",
    widths: Annotated[str, typer.Option(help="Filters of the convolutions.")] = "16,16,32",
    dense: Annotated[int, typer.Option(help="Units of the dense layer.")] = 100,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    epochs: Epochs = 200,
    patience: Patience = 30,
    seed: Seed = 0,
) -> None:
    """Train a network; OUT becomes a folder with checkpoint, history, metrics and predictions.

    Example: `coppice train --data recordings/ --out runs/mine/train`
    """
    from coppice.audio.front_end import front_end
    from coppice.recipes.record import record
    from coppice.recipes.stages import do_single_stage
    from coppice.training.settings import TrainingSettings
    from coppice.training.train import train as train_network

    try:
        sizes = [int(width) for width in widths.split(",")]
    except ValueError:
        raise CoppiceError(f"--widths {widths!r} is not a list of whole numbers; write --widths 16,16,32.") from None
    prepared = open_clips(data, root, front_end(preset, duration_s=duration), test_fold, bad_clips)
    settings = TrainingSettings(epochs=epochs, patience=patience, seed=seed)
    config = {"widths": sizes, "dense": dense}

    def work(folder: Path) -> None:
        record(train_network(prepared, config=config, settings=settings, folder=folder), prepared, folder)

    inputs = {"settings": str(settings), "config": config, "data": clips_key(prepared)}
    do_single_stage(out, inputs, work)
    print_line(f"trained: {out}")


def finetune(
    model: ModelArgument,
    data: Source,
    out: OutFile,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    fraction: Annotated[float, typer.Option(help="Share of the training clips to use.")] = 1.0,
    epochs: Epochs = 200,
    patience: Patience = 20,
    seed: Seed = 0,
) -> None:
    """Train on from a network's weights; OUT becomes a folder as with `train`.

    Example: `coppice finetune pruned.safetensors --data recordings/ --out runs/mine/finetune`
    """
    from coppice.core.files import file_digest
    from coppice.networks.loading import load
    from coppice.recipes.record import record
    from coppice.recipes.stages import do_single_stage
    from coppice.training.settings import TrainingSettings
    from coppice.training.train import finetune as train_on

    classifier = load(model)
    prepared = open_clips(data, root, classifier.known_front_end(), test_fold, bad_clips)
    settings = TrainingSettings(epochs=epochs, patience=patience, seed=seed)

    def work(folder: Path) -> None:
        tuned = train_on(classifier, prepared, settings=settings, fraction=fraction, folder=folder)
        record(tuned, prepared, folder)

    inputs = {
        "model": file_digest(model),
        "settings": str(settings),
        "fraction": fraction,
        "data": clips_key(prepared),
    }
    do_single_stage(out, inputs, work)
    print_line(f"fine-tuned: {out}")


def quantize(
    model: ModelArgument,
    out: OutFile,
    to: Annotated[str, typer.Option(help="The number format: float16.")] = "float16",
) -> None:
    """Store a network's parameters in 16 bit.

    Example: `coppice quantize checkpoint.safetensors --to float16 --out small.safetensors`
    """
    from coppice.core.units import bytes_text
    from coppice.networks.checkpoint import save
    from coppice.networks.loading import load
    from coppice.quantization.float16 import quantize as store_as

    path = save(store_as(load(model), to=to), out)
    print_line(f"{path}: {bytes_text(path.stat().st_size)} (was {bytes_text(model.stat().st_size)})")


def evaluate(
    model: ModelArgument,
    data: Source,
    root: Root = None,
    part: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    predictions: Annotated[Path | None, typer.Option(help="Also write every clip's posteriors to this CSV.")] = None,
    table: Annotated[
        str | None, typer.Option(help="Print only the table of the DCASE baselines: text, csv or latex.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Score a network on clips: accuracy, macro accuracy, log-loss, per class and device, with intervals.

    Example: `coppice evaluate checkpoint.safetensors --data recordings/`
    """
    from coppice.challenge.tables import check_format, table_of_predictions
    from coppice.evaluation.evaluate import evaluate as score
    from coppice.evaluation.evaluate import write_predictions
    from coppice.networks.loading import load

    if table is not None:
        check_format(table)
    classifier = load(model)
    prepared = open_clips(data, root, classifier.known_front_end(), test_fold, bad_clips)
    scores, rows = score(classifier, prepared.log_mel(part), prepared.clips(part))
    if predictions is not None:
        write_predictions(rows, predictions)
    if json:
        print_json(scores)
        return
    if table is not None:
        typer.echo(table_of_predictions(rows, prepared.clips(part)["device"]).to_format(table), nl=False)
        return
    print_scores(part, scores)


def profile(
    model: ModelArgument,
    convention: Annotated[
        str | None,
        typer.Option(
            help="Count only, as published: keras_total, keras_trainable, bn_folded, macs, macs_with_biases, "
            "torchinfo, nessi_tflite, nessi_tflite_reshape, layer_only (with --before) or all."
        ),
    ] = None,
    before: Annotated[
        Path | None, typer.Option(help="The unpruned network: say how many MACs pruning saves, in both ways.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Latency only, in these runtimes: torch,onnxruntime,openvino.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each runtime; 1 if not given.")] = None,
    json: JsonFlag = False,
) -> None:
    """Measure parameters, MACs, bytes, memory and latency, each with its convention.

    Example: `coppice profile checkpoint.safetensors`, `coppice profile pruned.h5 --convention all`,
    `coppice profile pruned.safetensors --before checkpoint.safetensors --runtime torch,onnxruntime`
    """
    if runtime is None and threads is not None:
        raise CoppiceError("--threads goes with --runtime; write for example --runtime torch,onnxruntime --threads 1.")
    if runtime is not None:
        if convention is not None:
            raise CoppiceError("--convention counts and --runtime measures time; give one of them at a time.")
        names = [name.strip() for name in runtime.split(",")]
        print_latency(model, before, names, 1 if threads is None else threads, json=json)
        return
    from coppice.complexity.conventions import count as count_as
    from coppice.complexity.conventions import count_all
    from coppice.complexity.layer_only import LAYER_ONLY, mac_reduction
    from coppice.complexity.profile import profile as measure
    from coppice.networks.loading import load

    network = load(model)
    saved = mac_reduction(load(before), network) if before is not None else None
    if convention is None:
        cost: dict[str, Any] = {**measure(network).to_dict(), "file_bytes": model.stat().st_size}
        counts = []
    else:
        cost = {}
        if convention == "all":
            counts = count_all(network)
        else:
            counts = [] if saved and convention == LAYER_ONLY.name else [count_as(network, convention)]
        cost["counts"] = [one.to_dict() for one in counts]
    if saved:
        cost["mac_reduction"] = saved.to_dict()
    if json:
        print_json(cost)
        return
    if convention is None:
        print_profile(cost)
    elif counts:
        print_counts(cost["counts"])
    if saved:
        print_mac_reduction(cost["mac_reduction"])


def classify(
    files: Annotated[list[Path], typer.Argument(help="Sound files.", show_default=False)],
    model: Annotated[
        Path, typer.Option("--model", "-m", help="A checkpoint, or a published file.", show_default=False)
    ],
    json: JsonFlag = False,
) -> None:
    """Say which class each sound file belongs to; long files are heard in windows and averaged.

    Example: `coppice classify kitchen.wav --model checkpoint.safetensors`
    """
    from dataclasses import asdict

    from coppice.evaluation.classify import classify as hear
    from coppice.networks.loading import load

    classifier = load(model)
    heard = [hear(classifier, file) for file in files]
    if json:
        print_json([asdict(one) for one in heard])
        return
    rows = []
    for one in heard:
        best = sorted(one.posteriors.items(), key=lambda item: -item[1])[:3]
        rows.append([one.file, one.label, ", ".join(f"{k} {percent_text(v)}" for k, v in best), str(one.windows)])
    print_table("heard", ["file", "class", "most likely", "windows"], rows)

"""Each stage as a command of its own, on checkpoints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coppice.cli.clips import clips_key, open_clips
from coppice.cli.export import print_latency
from coppice.cli.hearing import HearingRuntime, open_hearing
from coppice.cli.options import BadClips, Devices, Epochs, NumNodes, Patience, Root, Seed, Source, TestFold
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
)
from coppice.core.errors import CoppiceError


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (train, finetune, evaluate, profile):
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
    devices: Devices = 1,
    num_nodes: NumNodes = 1,
) -> None:
    """Train a network; OUT becomes a folder with checkpoint, history, metrics and predictions.

    Example: `coppice train --data recordings/ --out runs/mine/train`
    """
    from coppice.audio.front_end import front_end
    from coppice.recipes.record import record
    from coppice.recipes.stages import do_single_stage
    from coppice.training.devices.helping import helped
    from coppice.training.devices.machines import Machines
    from coppice.training.settings import TrainingSettings
    from coppice.training.train import train as train_network

    try:
        sizes = [int(width) for width in widths.split(",")]
    except ValueError:
        raise CoppiceError(f"--widths {widths!r} is not a list of whole numbers; write --widths 16,16,32.") from None
    machines = Machines(devices, num_nodes)
    if helped(machines):
        return
    prepared = open_clips(data, root, front_end(preset, duration_s=duration), test_fold, bad_clips)
    settings = TrainingSettings(epochs=epochs, patience=patience, seed=seed)
    config = {"widths": sizes, "dense": dense}

    def work(folder: Path) -> None:
        trained = train_network(prepared, config=config, settings=settings, folder=folder, machines=machines)
        record(trained, prepared, folder)

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
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Also learn from this network, such as the unpruned one. Repeatable.")
    ] = None,
    teacher_weight: Annotated[float, typer.Option(help="Share of the loss that is the teacher's.")] = 0.5,
    temperature: Annotated[float, typer.Option(help="What teacher's and student's logits are divided by.")] = 2.0,
    epochs: Epochs = 200,
    patience: Patience = 20,
    seed: Seed = 0,
    devices: Devices = 1,
    num_nodes: NumNodes = 1,
) -> None:
    """Train on from a network's weights; OUT becomes a folder as with `train`.

    Example: `coppice finetune pruned.safetensors --data recordings/ --out runs/mine/finetune`,
    `coppice finetune pruned.safetensors --teacher unpruned.safetensors --data recordings/ --out runs/mine/taught`
    """
    from coppice.core.files import file_digest
    from coppice.networks.loading import load
    from coppice.recipes.record import record
    from coppice.recipes.stages import do_single_stage
    from coppice.training.devices.helping import helped
    from coppice.training.devices.machines import Machines
    from coppice.training.settings import TrainingSettings
    from coppice.training.teacher import Teacher
    from coppice.training.train import finetune as train_on

    machines = Machines(devices, num_nodes)
    if helped(machines):
        return
    classifier = load(model)
    said = None
    if teacher:
        said = Teacher([load(one) for one in teacher], weight=teacher_weight, temperature=temperature)
        said.check(classifier)
    prepared = open_clips(data, root, classifier.known_front_end(), test_fold, bad_clips)
    settings = TrainingSettings(epochs=epochs, patience=patience, seed=seed)

    def work(folder: Path) -> None:
        tuned = train_on(
            classifier,
            prepared,
            settings=settings,
            fraction=fraction,
            folder=folder,
            teacher=said,
            machines=machines,
        )
        record(tuned, prepared, folder)

    inputs: dict[str, Any] = {
        "model": file_digest(model),
        "settings": str(settings),
        "fraction": fraction,
        "data": clips_key(prepared),
    }
    if teacher:
        inputs["teacher"] = [*(file_digest(one) for one in teacher), teacher_weight, temperature]
    do_single_stage(out, inputs, work)
    print_line(f"fine-tuned: {out}")


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
    device: Annotated[
        list[str] | None, typer.Option(help="A recording device's own network, for its clips: a=FILE. Repeatable.")
    ] = None,
    runtime: HearingRuntime = None,
    json: JsonFlag = False,
) -> None:
    """Score a network on clips: accuracy, macro accuracy, log-loss, per class and device, with intervals.

    An exported ONNX file is scored by what ONNX Runtime computes.

    Example: `coppice evaluate checkpoint.safetensors --data recordings/`,
    `coppice evaluate model.int8.onnx --data recordings/`,
    `coppice evaluate general.safetensors --device a=device-a.safetensors --data recordings/`
    """
    from coppice.challenge.tables import check_format, table_of_predictions
    from coppice.cli.values import pairs
    from coppice.evaluation.evaluate import evaluate as score
    from coppice.evaluation.evaluate import evaluate_sounds, write_predictions
    from coppice.export.posterior_graph import WAVEFORM
    from coppice.networks.classifier import Classifier

    if table is not None:
        check_format(table)
    classifier = open_hearing(model, runtime=runtime)
    prepared = open_clips(data, root, classifier.known_front_end(), test_fold, bad_clips)
    if isinstance(classifier, Classifier) or classifier.takes != WAVEFORM:
        own = pairs(device, "--device", "a=device-a.safetensors")
        devices = {name: open_hearing(Path(file), runtime=runtime) for name, file in own.items()}
        scores, rows = score(classifier, prepared.log_mel(part), prepared.clips(part), devices=devices)
    elif device:
        raise CoppiceError("--device goes with networks that take log-mel; this file has its front end inside.")
    else:
        scores, rows = evaluate_sounds(classifier, prepared.clips(part))
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
    models: Annotated[
        list[Path],
        typer.Argument(
            help="Checkpoints or published files; with --runtime also .onnx, .xml and .tflite, and several.",
            show_default=False,
        ),
    ],
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
        str | None, typer.Option(help="Latency and memory only, in some of torch,onnxruntime,openvino,litert,c.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of each runtime; 1 if not given.")] = None,
    json: JsonFlag = False,
) -> None:
    """Measure parameters, MACs, bytes, memory and latency, each with its convention.

    Example: `coppice profile checkpoint.safetensors`, `coppice profile pruned.h5 --convention all`,
    `coppice profile pruned.safetensors pruned.int8.onnx --before checkpoint.safetensors --runtime torch,onnxruntime`
    """
    if runtime is None and threads is not None:
        raise CoppiceError("--threads goes with --runtime; write for example --runtime torch,onnxruntime --threads 1.")
    if runtime is not None:
        if convention is not None:
            raise CoppiceError("--convention counts and --runtime measures time; give one of them at a time.")
        names = [name.strip() for name in runtime.split(",")]
        print_latency(models, before, names, 1 if threads is None else threads, json=json)
        return
    if len(models) > 1:
        raise CoppiceError("several models are measured beside each other with --runtime; count them one by one.")
    (model,) = models
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

"""What a network scores and costs: ``evaluate``, ``profile``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coppice.cli.clips import open_clips
from coppice.cli.export import print_latency
from coppice.cli.hearing import HearingRuntime, open_hearing
from coppice.cli.options import BadClips, Root, Source, TestFold
from coppice.cli.output import (
    JsonFlag,
    ModelArgument,
    print_counts,
    print_json,
    print_mac_reduction,
    print_profile,
    print_scores,
)
from coppice.core.errors import CoppiceError


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (evaluate, profile):
        app.command()(command)


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

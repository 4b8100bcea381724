"""Each stage as a command of its own, on checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from coppice.cli.values import numbers, pairs
from coppice.core.units import change_text, percent_text

if TYPE_CHECKING:
    from coppice.audio.front_end import FrontEnd
    from coppice.datasets.prepare import Prepared

Source = Annotated[str, typer.Option("--data", help="A folder, a CSV/TSV file, esc10, esc50 or synthetic.")]
Root = Annotated[Path | None, typer.Option(help="Where the recordings of a named dataset or table lie.")]
TestFold = Annotated[int | None, typer.Option(help="The fold to test on.")]
BadClips = Annotated[str, typer.Option(help="refuse or skip clips that cannot be used.")]
Epochs = Annotated[int, typer.Option(help="At most so many epochs.")]
Patience = Annotated[int, typer.Option(help="Stop after so many epochs without a better validation log-loss.")]
Seed = Annotated[int, typer.Option(help="Seed.")]
Criterion = Annotated[str, typer.Option("--criterion", "-c", help="How filters are ranked.")]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="Only this layer. Repeatable.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (train, rank, plan, prune, finetune, quantize, evaluate, profile, classify):
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
    from coppice.core.errors import CoppiceError
    from coppice.recipes.record import record
    from coppice.recipes.stages import do_single_stage
    from coppice.training.settings import TrainingSettings
    from coppice.training.train import train as train_network

    try:
        sizes = [int(width) for width in widths.split(",")]
    except ValueError:
        raise CoppiceError(f"--widths {widths!r} is not a list of whole numbers; write --widths 16,16,32.") from None
    prepared = _prepare(data, root, front_end(preset, duration_s=duration), test_fold, bad_clips)
    settings = TrainingSettings(epochs=epochs, patience=patience, seed=seed)
    config = {"widths": sizes, "dense": dense}

    def work(folder: Path) -> None:
        record(train_network(prepared, config=config, settings=settings, folder=folder), prepared, folder)

    inputs = {"settings": str(settings), "config": config, "data": _data_key(prepared)}
    do_single_stage(out, inputs, work)
    print_line(f"trained: {out}")


def rank(
    model: ModelArgument,
    criterion: Criterion = "cosine_similarity",
    layer: Layers = None,
    seed: Seed = 0,
    json: JsonFlag = False,
) -> None:
    """Rank the filters of each convolution: which to remove first, and the method's own set.

    Example: `coppice rank checkpoint.safetensors --criterion l1`
    """
    from coppice.networks.loading import load
    from coppice.pruning.planning import rankings

    found = rankings(load(model), criterion, layers=layer, seed=seed)
    if json:
        print_json({name: {"order": r.order, "scores": r.scores, "keep": r.keep} for name, r in found.items()})
        return
    rows = [
        [
            name,
            " ".join(map(str, ranking.order)),
            "none of its own" if ranking.keep is None else f"{len(ranking.keep)}: {' '.join(map(str, ranking.keep))}",
        ]
        for name, ranking in found.items()
    ]
    print_table(f"{criterion}: filters in the order of removal", ["layer", "remove first … last", "own set"], rows)


def plan(
    model: ModelArgument,
    out: OutFile,
    criterion: Criterion = "cosine_similarity",
    keep: Annotated[list[str] | None, typer.Option(help="Filters to keep: conv2=11. Repeatable.")] = None,
    ratio: Annotated[list[str] | None, typer.Option(help="Share to remove: conv2=0.5. Repeatable.")] = None,
    index: Annotated[
        list[str] | None, typer.Option(help="Published list of kept filters: conv2=C2.npy. Repeatable.")
    ] = None,
    layer: Layers = None,
    seed: Seed = 0,
) -> None:
    """Decide which filters go, and write the plan as JSON; weights are not touched.

    Example: `coppice plan checkpoint.safetensors --criterion l1 --ratio conv2=0.5 --out plan.json`
    """
    from coppice.networks.loading import load
    from coppice.pruning.planning import plan as make_plan

    counts: Any = numbers(keep, "--keep", "conv2=11") or None
    ratios = numbers(ratio, "--ratio", "conv2=0.5") or None
    if index:
        from coppice.core.errors import CoppiceError
        from coppice.pruning.index_files import plan_from_indices

        if counts or ratios or layer:
            raise CoppiceError("--index says which filters stay; leave out --keep, --ratio and --layer.")
        decided = plan_from_indices(load(model), pairs(index, "--index", "conv2=C2.npy"))
    else:
        decided = make_plan(load(model), criterion, keep=counts, ratios=ratios, layers=layer, seed=seed)
    decided.save(out)
    for part in decided.layers:
        print_line(f"{part.name}: {len(part.keep)} of {part.filters} filters stay")


def prune(
    model: ModelArgument,
    plan: Annotated[Path, typer.Argument(help="A plan (JSON).", show_default=False)],
    out: OutFile,
) -> None:
    """Cut a network by a plan; proved equal to the masked network before it is written.

    Example: `coppice prune checkpoint.safetensors plan.json --out pruned.safetensors`
    """
    from coppice.complexity.profile import profile as measure
    from coppice.networks.checkpoint import save
    from coppice.networks.loading import load
    from coppice.pruning.plan import PruningPlan
    from coppice.pruning.surgery import prune as cut

    before = load(model)
    after = cut(before, PruningPlan.load(plan))
    save(after, out)
    old, new = measure(before, latency=False), measure(after, latency=False)
    for name in ("params_total", "macs"):
        a, b = getattr(old, name), getattr(new, name)
        print_line(f"{name}: {a:,} → {b:,} ({change_text(a, b)})")


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
    prepared = _prepare(data, root, classifier.known_front_end(), test_fold, bad_clips)
    settings = TrainingSettings(epochs=epochs, patience=patience, seed=seed)

    def work(folder: Path) -> None:
        tuned = train_on(classifier, prepared, settings=settings, fraction=fraction, folder=folder)
        record(tuned, prepared, folder)

    inputs = {
        "model": file_digest(model),
        "settings": str(settings),
        "fraction": fraction,
        "data": _data_key(prepared),
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
    json: JsonFlag = False,
) -> None:
    """Score a network on clips: accuracy, macro accuracy, log-loss, per class and device, with intervals.

    Example: `coppice evaluate checkpoint.safetensors --data recordings/`
    """
    from coppice.evaluation.evaluate import evaluate as score
    from coppice.evaluation.evaluate import write_predictions
    from coppice.networks.loading import load

    classifier = load(model)
    prepared = _prepare(data, root, classifier.known_front_end(), test_fold, bad_clips)
    scores, table = score(classifier, prepared.log_mel(part), prepared.clips(part))
    if predictions is not None:
        write_predictions(table, predictions)
    if json:
        print_json(scores)
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
    json: JsonFlag = False,
) -> None:
    """Measure parameters, MACs, bytes, memory and latency, each with its convention.

    Example: `coppice profile checkpoint.safetensors`, `coppice profile pruned.h5 --convention all`
    """
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


def _prepare(
    source: str, root: Path | None, front_end: "FrontEnd", test_fold: int | None, bad_clips: str
) -> "Prepared":
    from coppice.core.progress import say
    from coppice.datasets.prepare import prepare

    prepared = prepare(source, root=root, front_end=front_end, split={"test_fold": test_fold}, bad_clips=bad_clips)
    say(f"{prepared.dataset.name}: {prepared.split.describe()}")
    for clip_id, _, sentence in prepared.problems:
        say(f"left out {clip_id}: {sentence}")
    return prepared


def _data_key(prepared: "Prepared") -> str:
    from coppice.core.files import digest

    table = prepared.dataset.clips.assign(side=prepared.side_of_clips())
    return digest([table.to_csv(index=False), prepared.front_end.to_dict()])

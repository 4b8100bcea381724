"""Which filters go, and cutting them, as commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coppice.cli.clips import looked_at
from coppice.cli.factory import Factory, InputShape, OptionalModel, Weights, open_model
from coppice.cli.options import (
    BadClips,
    ClipCount,
    Criterion,
    Layers,
    LookedAt,
    RefittedCount,
    RefittedOn,
    Root,
    Seed,
    TestFold,
)
from coppice.cli.output import JsonFlag, OutFile, print_json, print_line, print_table
from coppice.cli.values import number_or_numbers, numbers, pairs
from coppice.core.units import change_text


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (rank, plan, prune):
        app.command()(command)


def rank(
    model: OptionalModel = None,
    criterion: Criterion = "cosine_similarity",
    layer: Layers = None,
    data: LookedAt = None,
    clips: ClipCount = 64,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    seed: Seed = 0,
    factory: Factory = None,
    weights: Weights = None,
    input_shape: InputShape = None,
    json: JsonFlag = False,
) -> None:
    """Rank the filters of each convolution: which to remove first, and the method's own set.

    Example: `coppice rank checkpoint.safetensors --criterion taylor --data recordings/`
    """
    from coppice.pruning.evidence.rankings import rankings

    classifier = open_model(model, factory, weights, input_shape)
    seen, targets = looked_at(classifier, data, root, test_fold, bad_clips, count=clips, seed=seed)
    found = rankings(classifier, criterion, layers=layer, seed=seed, clips=seen, targets=targets)
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
    out: OutFile,
    model: OptionalModel = None,
    criterion: Criterion = "cosine_similarity",
    keep: Annotated[list[str] | None, typer.Option(help="Filters to keep: conv2=11. Repeatable.")] = None,
    ratio: Annotated[
        list[str] | None, typer.Option(help="Share to remove: 0.5 (of every layer), or conv2=0.5. Repeatable.")
    ] = None,
    global_ratio: Annotated[
        float | None, typer.Option(help="Share to remove of all filters, the least important of all layers.")
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="Upper bound: macs=50%, params=30k, bytes=128kB, latency_ms=2.5. Repeatable; all hold."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="What runs the network that latency_ms measures: torch, onnxruntime, openvino, litert or c."),
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="With a budget: network compares all filters, layer cuts all layers alike.")
    ] = None,
    normalisation: Annotated[str, typer.Option(help="How layers' scores are made comparable: mean or l2.")] = "mean",
    rounding: Annotated[str, typer.Option(help="Of the filters that stay under a ratio: ceil or floor.")] = "ceil",
    round_to: Annotated[int, typer.Option(help="Layers that are cut keep a multiple of this many filters.")] = 1,
    minimum: Annotated[int, typer.Option(help="Filters that stay in every layer.")] = 1,
    protect: Annotated[list[str] | None, typer.Option(help="A layer that keeps all filters. Repeatable.")] = None,
    index: Annotated[
        list[str] | None, typer.Option(help="Published list of kept filters: conv2=C2.npy. Repeatable.")
    ] = None,
    layer: Layers = None,
    data: LookedAt = None,
    clips: ClipCount = 64,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    seed: Seed = 0,
    factory: Factory = None,
    weights: Weights = None,
    input_shape: InputShape = None,
) -> None:
    """Decide which filters go, and write the plan as JSON; weights are not touched.

    Example: `coppice plan checkpoint.safetensors --criterion l1 --budget macs=50% --round-to 8 --out plan.json`
    """
    from coppice.core.errors import CoppiceError
    from coppice.pruning.planning.budget import Budget
    from coppice.pruning.planning.decide import plan as make_plan

    counts: Any = numbers(keep, "--keep", "conv2=11") or None
    ratios = number_or_numbers(ratio, "--ratio", "0.5 or conv2=0.5")
    if runtime is not None and not budget:
        raise CoppiceError("--runtime is what a latency is measured in; give --budget latency_ms=60% as well.")
    if index:
        from coppice.pruning.planning.index_files import plan_from_indices

        if counts or ratios or global_ratio is not None or budget or layer or data:
            raise CoppiceError(
                "--index says which filters stay; leave out --keep, --ratio, --budget, --layer and --data."
            )
        classifier = open_model(model, factory, weights, input_shape)
        decided = plan_from_indices(classifier, pairs(index, "--index", "conv2=C2.npy"))
    else:
        if global_ratio is not None and (ratios or scope):
            raise CoppiceError("--global-ratio is for all layers together; leave out --ratio and --scope.")
        classifier = open_model(model, factory, weights, input_shape)
        seen, targets = looked_at(classifier, data, root, test_fold, bad_clips, count=clips, seed=seed)
        bounds = pairs(budget, "--budget", "macs=50%") | ({} if runtime is None else {"runtime": runtime})
        decided = make_plan(
            classifier,
            criterion,
            keep=counts,
            ratios=ratios if global_ratio is None else global_ratio,
            budget=Budget.from_mapping(bounds) if bounds else None,
            layers=layer,
            protect=protect or (),
            scope=scope if global_ratio is None else "network",
            normalisation=normalisation,
            rounding=rounding,
            round_to=round_to,
            minimum=minimum,
            seed=seed,
            clips=seen,
            targets=targets,
        )
    decided.save(out)
    for part in decided.layers:
        print_line(f"{part.name}: {len(part.keep)} of {part.filters} filters stay")
    for remark in decided.remarks:
        print_line(remark)


def prune(
    out: OutFile,
    model: OptionalModel = None,
    plan: Annotated[Path | None, typer.Argument(help="A plan (JSON).", show_default=False)] = None,
    compensate: Annotated[
        str | None, typer.Option(help="Repair the layers behind the cut: merge, or least_squares with --data.")
    ] = None,
    data: RefittedOn = None,
    clips: RefittedCount = 128,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    seed: Seed = 0,
    factory: Factory = None,
    weights: Weights = None,
    input_shape: InputShape = None,
) -> None:
    """Cut a network by a plan; proved equal to the masked network before it is written or repaired.

    Example: `coppice prune checkpoint.safetensors plan.json --out pruned.safetensors --compensate merge`
    """
    from coppice.complexity.profile import profile as measure
    from coppice.core.errors import CoppiceError
    from coppice.networks.checkpoint import save
    from coppice.pruning.compensation.compensate import compensate as repair
    from coppice.pruning.plan import PruningPlan
    from coppice.pruning.surgery.prune import prune as cut

    if factory is not None and plan is None:
        model, plan = None, model
    if plan is None:
        raise CoppiceError("give the plan as well: coppice prune MODEL PLAN --out FILE.")
    before, decided = open_model(model, factory, weights, input_shape), PruningPlan.load(plan)
    if data is not None and compensate != "least_squares":
        raise CoppiceError("only --compensate least_squares looks at clips; leave out --data, or choose it.")
    after = cut(before, decided)
    if compensate is not None:
        seen, _ = looked_at(before, data, root, test_fold, bad_clips, count=clips, seed=seed)
        after = repair(after, before, decided, compensate, clips=seen)
    save(after, out)
    old, new = measure(before, latency=False), measure(after, latency=False)
    for name in ("params_total", "macs"):
        a, b = getattr(old, name), getattr(new, name)
        print_line(f"{name}: {a:,} → {b:,} ({change_text(a, b)})")

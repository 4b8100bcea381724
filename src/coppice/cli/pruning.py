"""Which filters go, and cutting them, as commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

from coppice.cli.clips import looked_at
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
from coppice.cli.output import JsonFlag, ModelArgument, OutFile, print_json, print_line, print_table
from coppice.cli.values import numbers, pairs
from coppice.core.units import change_text


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (rank, plan, prune):
        app.command()(command)


def rank(
    model: ModelArgument,
    criterion: Criterion = "cosine_similarity",
    layer: Layers = None,
    data: LookedAt = None,
    clips: ClipCount = 64,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    seed: Seed = 0,
    json: JsonFlag = False,
) -> None:
    """Rank the filters of each convolution: which to remove first, and the method's own set.

    Example: `coppice rank checkpoint.safetensors --criterion taylor --data recordings/`
    """
    from coppice.networks.loading import load
    from coppice.pruning.rankings import rankings

    classifier = load(model)
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
    model: ModelArgument,
    out: OutFile,
    criterion: Criterion = "cosine_similarity",
    keep: Annotated[list[str] | None, typer.Option(help="Filters to keep: conv2=11. Repeatable.")] = None,
    ratio: Annotated[list[str] | None, typer.Option(help="Share to remove: conv2=0.5. Repeatable.")] = None,
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

        if counts or ratios or layer or data:
            raise CoppiceError("--index says which filters stay; leave out --keep, --ratio, --layer and --data.")
        decided = plan_from_indices(load(model), pairs(index, "--index", "conv2=C2.npy"))
    else:
        classifier = load(model)
        seen, targets = looked_at(classifier, data, root, test_fold, bad_clips, count=clips, seed=seed)
        decided = make_plan(
            classifier,
            criterion,
            keep=counts,
            ratios=ratios,
            layers=layer,
            seed=seed,
            clips=seen,
            targets=targets,
        )
    decided.save(out)
    for part in decided.layers:
        print_line(f"{part.name}: {len(part.keep)} of {part.filters} filters stay")


def prune(
    model: ModelArgument,
    plan: Annotated[Path, typer.Argument(help="A plan (JSON).", show_default=False)],
    out: OutFile,
    compensate: Annotated[
        str | None, typer.Option(help="Repair the layers behind the cut: merge, or least_squares with --data.")
    ] = None,
    data: RefittedOn = None,
    clips: RefittedCount = 128,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    seed: Seed = 0,
) -> None:
    """Cut a network by a plan; proved equal to the masked network before it is written or repaired.

    Example: `coppice prune checkpoint.safetensors plan.json --out pruned.safetensors --compensate merge`
    """
    from coppice.complexity.profile import profile as measure
    from coppice.core.errors import CoppiceError
    from coppice.networks.checkpoint import save
    from coppice.networks.loading import load
    from coppice.pruning.compensation import compensate as repair
    from coppice.pruning.plan import PruningPlan
    from coppice.pruning.surgery import prune as cut

    before, decided = load(model), PruningPlan.load(plan)
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

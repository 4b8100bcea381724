"""``coppice ensemble``: several networks, or their stored posteriors, into one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coppice.cli.options import BadClips, Root, TestFold
from coppice.cli.output import JsonFlag, print_json, print_line, print_table
from coppice.cli.values import pairs
from coppice.core.errors import CoppiceError
from coppice.core.units import percent_text

if TYPE_CHECKING:
    from coppice.ensembles.combination import Combination
    from coppice.ensembles.costs import Costs
    from coppice.ensembles.design import Design
    from coppice.ensembles.members import Members
    from coppice.ensembles.stored import StoredPosteriors
    from coppice.export.onnx_classifier import OnnxClassifier
    from coppice.networks.classifier import Classifier
    from coppice.pruning.planning.budget import Budget

_STORED = (".npy", ".csv", ".tsv")
_BY = "log_loss or macro_accuracy."


def add_commands(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(ensemble)


def ensemble(
    members: Annotated[
        list[str],
        typer.Argument(
            help="Checkpoints, published files, run folders, or stored posteriors (.npy, .csv), as FILE or NAME=FILE.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The ensemble (.safetensors), or its posteriors (.npy, .csv)."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Clips whose validation part is heard: a folder, a table, esc10, ...")
    ] = None,
    posteriors: Annotated[
        list[Path] | None, typer.Option(help="Instead of --data: posteriors of each model, in their order. Repeatable.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Table with a column label, one row for each clip; also recording, if known.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="bus,tram,...: classes in order, for .npy and published files that do not say.")
    ] = None,
    front_end: Annotated[str | None, typer.Option(help="Preset, for published files that do not say.")] = None,
    costs: Annotated[
        Path | None, typer.Option(help="Table of what stored members cost: member, macs, params, bytes, latency_ms.")
    ] = None,
    how: Annotated[str, typer.Option(help="arithmetic or geometric mean.")] = "arithmetic",
    weights: Annotated[str, typer.Option(help="equal, or fit: by log-loss on the validation clips.")] = "equal",
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Fit a temperature.")] = False,
    select: Annotated[bool, typer.Option("--select", help="Choose among the members.")] = False,
    by: Annotated[str, typer.Option(help=f"What members are chosen by: {_BY}")] = "log_loss",
    budget: Annotated[
        list[str] | None,
        typer.Option(help="With --select: macs=9M, params=50%, bytes=128kB, latency_ms=2. Repeatable."),
    ] = None,
    blocks: Annotated[int, typer.Option(help="Blocks of clips: what is chosen on all but one is scored on it.")] = 5,
    root: Root = None,
    test_fold: TestFold = None,
    bad_clips: BadClips = "refuse",
    json: JsonFlag = False,
) -> None:
    """Combine networks: what each adds, which to keep under a budget, with which weights; all scored on other clips.

    Example: `coppice ensemble a.safetensors b.safetensors c.safetensors --data recordings/ --select --budget macs=9M
    --weights fit --calibrate --out ensemble.safetensors`
    """
    from coppice.cli.clips import open_clips
    from coppice.ensembles.blocks import make_blocks
    from coppice.ensembles.design import design
    from coppice.ensembles.heard import hear_members
    from coppice.ensembles.tables import read_costs
    from coppice.pruning.planning.budget import Budget

    bounds = Budget.from_mapping(pairs(budget, "--budget", "macs=9M")) if budget else None
    files = _named(members)
    columns = [name.strip() for name in classes.split(",")] if classes else None
    stored, models = _read(files, posteriors, columns, front_end)
    _check_out(out, models)
    if models and not stored and data is None:
        _plain(models, out, how, select or calibrate or weights != "equal", json=json)
        return
    recordings: Sequence[str] | None = None
    if data is None:
        together, recordings = _together(stored, models, labels, columns)
    elif stored:
        raise CoppiceError("--data lets models listen; with stored posteriors leave it out, and give --labels.")
    else:
        prepared = open_clips(data, root, next(iter(models.values())).known_front_end(), test_fold, bad_clips)
        together = hear_members(models, prepared)
        recordings = prepared.clips("validation")["recording"].astype(str).tolist()
    found = design(
        together,
        how=how,
        choose=select,
        by=by,
        costs=read_costs(costs, together.names) if costs is not None else _counted(models, bounds),
        budget=bounds,
        weights=weights,
        calibrate=calibrate,
        blocks=make_blocks(together.known_targets(), count=blocks, recordings=recordings),
    )
    written = _write(out, models, together, found.combination) if out is not None else None
    if json:
        print_json({**found.to_dict(), "file": None if written is None else str(written)})
        return
    _print(found, by)
    if written is not None:
        print_line(str(written))


def _named(members: Sequence[str]) -> dict[str, Path]:
    """Return members by name: as given, by their file, or where files are called alike by their folder."""
    given = [text.partition("=") if "=" in text and not Path(text).exists() else ("", "", text) for text in members]
    paths = [Path(path) for _, _, path in given]
    for names in (
        [path.stem for path in paths],
        [path.absolute().parent.name for path in paths],
        list(map(str, paths)),
    ):
        full = [name or usual for (name, _, _), usual in zip(given, names, strict=True)]
        if len(set(full)) == len(full):
            return dict(zip(full, paths, strict=True))
    twice = next(name for name in full if full.count(name) > 1)
    raise CoppiceError(f"two members are called {twice!r}; name them: one={twice} other={twice}.")


def _read(
    files: Mapping[str, Path],
    posteriors: Sequence[Path] | None,
    classes: Sequence[str] | None,
    front_end: str | None,
) -> "tuple[dict[str, StoredPosteriors], dict[str, Classifier | OnnxClassifier]]":
    """Return the stored posteriors and the models of the members; all are of one kind, but models may have both."""
    from coppice.challenge.submit import source_of
    from coppice.ensembles.stored import read_stored
    from coppice.export.onnx_classifier import load_onnx
    from coppice.networks.loading import load

    kinds = {path.suffix.lower() in _STORED for path in files.values()}
    if len(kinds) > 1:
        raise CoppiceError("some members are networks and some are posteriors; give one kind, or --posteriors FILE.")
    if kinds == {True}:
        if posteriors:
            raise CoppiceError("--posteriors go with models; these members are posteriors already.")
        return {name: read_stored(path) for name, path in files.items()}, {}
    if posteriors and len(posteriors) != len(files):
        raise CoppiceError(f"there are {len(files)} members and {len(posteriors)} --posteriors; give one for each.")
    models: dict[str, Classifier | OnnxClassifier] = {}
    for name, path in files.items():
        if path.suffix.lower() == ".onnx":
            models[name] = load_onnx(path)
        elif path.is_dir() or path.suffix == ".safetensors":
            models[name] = load(source_of(path).model if path.is_dir() else path)
        else:
            models[name] = load(path, labels=classes, front_end=front_end)
    return dict(zip(files, map(read_stored, posteriors or ()), strict=bool(posteriors))), models


def _check_out(out: Path | None, models: "Mapping[str, Classifier | OnnxClassifier]") -> None:
    """Refuse before anything is computed what could not be written at the end."""
    if out is None or out.suffix.lower() in _STORED:
        return
    if out.suffix.lower() != ".safetensors":
        raise CoppiceError(f"--out {out}: give a name that ends in .safetensors, or in .npy or .csv for posteriors.")
    if not models:
        raise CoppiceError(f"--out {out}: posteriors alone make no network; give .npy or .csv, or the models.")
    _joined(models, None)


def _joined(models: "Mapping[str, Classifier | OnnxClassifier]", combination: "Combination | None") -> "Classifier":
    from coppice.ensembles.build import ensemble as join
    from coppice.networks.classifier import Classifier

    whole = {name: model for name, model in models.items() if isinstance(model, Classifier)}
    exported = next((name for name in models if name not in whole), None)
    if exported is not None:
        raise CoppiceError(
            f"{exported} is an exported network, which no ensemble can be made of; give the checkpoint that it was "
            "made from, or --out posteriors.csv."
        )
    return join(whole, combination=combination)


def _plain(
    models: "Mapping[str, Classifier | OnnxClassifier]", out: Path | None, how: str, wants_clips: bool, *, json: bool
) -> None:
    """Write the mean of the models, without clips to look at."""
    from coppice.ensembles.combination import Combination
    from coppice.networks.checkpoint import save

    if wants_clips:
        raise CoppiceError("choosing, weighing and calibrating need clips: give --data, or --posteriors and --labels.")
    if out is None or out.suffix.lower() in _STORED:
        raise CoppiceError("without clips there is only the ensemble to write: give --out FILE.safetensors, or --data.")
    path = save(_joined(models, Combination.equal(len(models), how=how)), out)
    if json:
        print_json({"chosen": list(models), "file": str(path)})
    else:
        print_line(f"{path}: the {how} mean of {', '.join(models)}")


def _together(
    stored: "Mapping[str, StoredPosteriors]",
    models: "Mapping[str, Classifier | OnnxClassifier]",
    labels: Path | None,
    columns: Sequence[str] | None,
) -> "tuple[Members, Sequence[str] | None]":
    """Match stored posteriors with one another and with a table of labels."""
    from coppice.ensembles.members import gather
    from coppice.ensembles.tables import read_truth

    if columns is None and models and all(one.labels is None for one in stored.values()):
        told = {model.labels for model in models.values()}  # an imported model may have numbers for names
        columns = list(next(iter(told))) if len(told) == 1 else None
    if labels is None:
        return gather(stored, labels=columns), None
    truth = read_truth(labels, clips=gather(stored, labels=columns).clips)
    return gather(stored, labels=columns, truth=truth.labels), truth.recordings


def _counted(models: "Mapping[str, Classifier | OnnxClassifier]", budget: "Budget | None") -> "Costs | None":
    """Return what the models cost, if all of them can be counted."""
    from coppice.ensembles.costs import costs_of
    from coppice.networks.classifier import Classifier

    whole = {name: model for name, model in models.items() if isinstance(model, Classifier)}
    if not whole or len(whole) < len(models):
        return None
    return costs_of(whole, latency=budget is not None and "latency_ms" in budget.bounds)


def _write(
    out: Path,
    models: "Mapping[str, Classifier | OnnxClassifier]",
    together: "Members",
    combination: "Combination",
) -> Path:
    from coppice.ensembles.stored import StoredPosteriors, write_stored
    from coppice.networks.checkpoint import save

    if out.suffix.lower() == ".safetensors":
        return save(_joined(models, combination), out)
    truth = tuple(together.labels[target] for target in together.known_targets())
    values = combination(together.posteriors)
    return write_stored(out, values, StoredPosteriors(values, together.labels, together.clips, truth))


def _print(found: "Design", by: str) -> None:
    from coppice.ensembles.advice import cost_text

    kinds = found.costs.kinds() if found.costs else ()
    rows: list[list[str]] = []
    for index, (name, alone, weight) in enumerate(
        zip(found.names, found.singles, found.combination.weights, strict=True)
    ):
        costs = [cost_text(kind, found.costs.of(1 << index, kind)) for kind in kinds] if found.costs else []
        rows.append([name, percent_text(alone.macro_accuracy, 2), f"{alone.log_loss:.4f}", *costs, f"{weight:.3f}"])
    print_table("members alone", ["member", "accuracy", "log-loss", *kinds, "weight"], rows)
    _print_matrix("share of clips on which two decide alike", found.names, found.agreement)
    _print_matrix("correlation of their errors", found.names, found.error_correlation)
    print_table(
        "ensemble, on the clips seen and on held-out ones",
        ["step", "accuracy", "log-loss", "held-out accuracy", "held-out log-loss"],
        [
            [
                step.name,
                percent_text(step.seen.macro_accuracy, 2),
                f"{step.seen.log_loss:.4f}",
                percent_text(step.held.macro_accuracy, 2),
                f"{step.held.log_loss:.4f}",
            ]
            for step in found.steps
        ],
    )
    print_line(f"held out: one after another of {found.blocks}; what is chosen is chosen on the others")
    for line in found.advice():
        print_line(line)
    if found.selection:
        print_line(f"searched: {found.selection.searched}, by {by} of the arithmetic mean")
        others = sorted({", ".join(found.names[i] for i in rule.chosen) for rule in found.by_block})
        print_line(f"chosen on all blocks but one: {'; '.join(others)}")
        if found.selection.front:
            front = ["+".join(found.names[index] for index in subset) for subset in found.selection.front]
            print_line(f"no subset is both cheaper and better than: {', '.join(front)}")
    cost = ", ".join(cost_text(kind, value) for kind, value in found.cost().items())
    rule = found.combination
    print_line(
        f"chosen: {', '.join(found.chosen)}{f' ({cost})' if cost else ''}; {rule.how} mean"
        + (f", temperature {rule.temperature:.3f}" if rule.temperature != 1 else "")
    )


def _print_matrix(title: str, names: Sequence[str], matrix: Any) -> None:
    rows = [[name, *(f"{value:.2f}" for value in row)] for name, row in zip(names, matrix, strict=True)]
    print_table(title, ["", *names], rows)

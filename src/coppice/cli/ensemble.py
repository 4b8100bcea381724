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
    from coppice.datasets.prepare import Prepared
    from coppice.ensembles.blocks import Blocks
    from coppice.ensembles.combination import Combination
    from coppice.ensembles.costs import Costs
    from coppice.ensembles.design import Design
    from coppice.ensembles.members import Members
    from coppice.ensembles.stored import StoredPosteriors
    from coppice.networks.classifier import Classifier

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
        str | None, typer.Option(help="Classes in the order of the columns, for .npy files: bus,tram,...")
    ] = None,
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
    from coppice.ensembles.blocks import make_blocks
    from coppice.ensembles.design import design
    from coppice.pruning.planning.budget import Budget

    if budget and not select:
        raise CoppiceError(f"--budget {budget[0]} goes with --select, which chooses members; add that.")
    files = _named(members)
    models, stored = _read(files, posteriors)
    if out is not None and out.suffix.lower() not in (*_STORED, ".safetensors"):
        raise CoppiceError(f"--out {out}: give a name that ends in .safetensors, or in .npy or .csv for posteriors.")
    if out is not None and out.suffix.lower() == ".safetensors" and not models:
        raise CoppiceError(
            f"--out {out}: from posteriors alone no network can be made; give .npy or .csv, or the models."
        )
    if models and not stored and data is None:
        _plain(models, out, how, select or calibrate or weights != "equal", json=json)
        return
    recordings: Sequence[str] | None = None
    if data is not None:
        if stored:
            raise CoppiceError("--data lets models listen; with stored posteriors leave it out, and give --labels.")
        together, recordings = _heard(models, data, root, test_fold, bad_clips)
    else:
        together, recordings = _together(stored, models, labels, classes)
    divided = make_blocks(together.known_targets(), count=blocks, recordings=recordings)
    found = design(
        together,
        how=how,
        choose=select,
        by=by,
        costs=_costs(models, costs, list(files), budget),
        budget=Budget.from_mapping(pairs(budget, "--budget", "macs=9M")) if budget else None,
        weights=weights,
        calibrate=calibrate,
        blocks=divided,
    )
    written = _write(out, models, together, found.combination) if out is not None else None
    if json:
        print_json({**found.to_dict(), "file": None if written is None else str(written)})
        return
    _print(found, by)
    if written is not None:
        print_line(f"{written}")


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
    files: Mapping[str, Path], posteriors: Sequence[Path] | None
) -> "tuple[dict[str, Classifier], dict[str, StoredPosteriors]]":
    """Return the models and the stored posteriors among the members, all of a kind."""
    from coppice.challenge.submit import source_of
    from coppice.ensembles.stored import read_stored
    from coppice.networks.loading import load

    kinds = {path.suffix.lower() in _STORED for path in files.values()}
    if len(kinds) > 1:
        raise CoppiceError("some members are networks and some are posteriors; give one kind, or --posteriors FILE.")
    if kinds == {True}:
        if posteriors:
            raise CoppiceError("--posteriors go with models; these members are posteriors already.")
        return {}, {name: read_stored(path) for name, path in files.items()}
    exported = next((path for path in files.values() if path.suffix.lower() == ".onnx"), None)
    if exported is not None:
        raise CoppiceError(
            f"{exported} is an exported network, which cannot be taken apart; give the checkpoint that it was made "
            "from, or its posteriors as .csv or .npy."
        )
    if posteriors and len(posteriors) != len(files):
        raise CoppiceError(f"there are {len(files)} members and {len(posteriors)} --posteriors; give one for each.")
    models = {name: load(source_of(path).model if path.is_dir() else path) for name, path in files.items()}
    stored = dict(zip(files, map(read_stored, posteriors or ()), strict=bool(posteriors)))
    return models, stored


def _plain(models: "Mapping[str, Classifier]", out: Path | None, how: str, wants_clips: bool, *, json: bool) -> None:
    """Write the mean of the models, without clips to look at."""
    from coppice.ensembles.build import ensemble as join
    from coppice.ensembles.combination import Combination
    from coppice.networks.checkpoint import save

    if wants_clips:
        raise CoppiceError(
            "to choose, weigh or calibrate, clips are needed: give --data, or --posteriors and --labels."
        )
    if out is None:
        raise CoppiceError(
            "there is nothing to do: give --out for the ensemble, or --data to see what each member adds."
        )
    made = join(models, combination=Combination.equal(len(models), how=how))
    path = save(made, out)
    if json:
        print_json({"chosen": list(models), "file": str(path)})
    else:
        print_line(f"{path}: the {how} mean of {', '.join(models)}")


def _heard(
    models: "Mapping[str, Classifier]", data: str, root: Path | None, test_fold: int | None, bad_clips: str
) -> "tuple[Members, list[str]]":
    """Let the models hear the validation clips."""
    from coppice.cli.clips import open_clips
    from coppice.ensembles.build import ensemble as join
    from coppice.ensembles.members import gather
    from coppice.ensembles.stored import StoredPosteriors

    first = next(iter(models.values()))
    join(models)  # whatever does not go together is said before the clips are heard
    prepared: Prepared = open_clips(data, root, first.known_front_end(), test_fold, bad_clips)
    clips, log_mel = prepared.clips("validation"), prepared.log_mel("validation")
    stored = {
        name: StoredPosteriors(model.posteriors(log_mel).numpy(), model.labels, tuple(clips["clip_id"]))
        for name, model in models.items()
    }
    return gather(stored, truth=clips["label"].tolist()), clips["recording"].astype(str).tolist()


def _together(
    stored: "Mapping[str, StoredPosteriors]",
    models: "Mapping[str, Classifier]",
    labels: Path | None,
    classes: str | None,
) -> "tuple[Members, list[str] | None]":
    """Match stored posteriors with one another and with a table of labels."""
    from coppice.datasets.csv_table import USUAL_NAMES, read_table
    from coppice.ensembles.members import gather

    columns = [name.strip() for name in classes.split(",")] if classes else None
    if columns is None and models and all(one.labels is None for one in stored.values()):
        told = {model.labels for model in models.values()}
        named = not any(label.startswith("class_") for each in told for label in each)
        columns = list(next(iter(told))) if len(told) == 1 and named else None
    if labels is None:
        return gather(stored, labels=columns), None
    table = read_table(labels)
    column = next((name for name in USUAL_NAMES["label"] if name in table), None)
    if column is None:
        raise CoppiceError(f"{labels} has no column of labels; call it 'label'.")
    found = gather(stored, labels=columns)
    clip = next((name for kind in ("clip_id", "file") for name in USUAL_NAMES[kind] if name in table), None)
    if clip is not None and found.clips is not None:
        missing = next((name for name in found.clips if name not in set(table[clip])), None)
        if missing is not None:
            raise CoppiceError(f"{labels} has no label of the clip {missing!r}.")
        table = table.drop_duplicates(clip).set_index(clip).loc[list(found.clips)].reset_index()
    recording = next((name for name in USUAL_NAMES["recording"] if name in table), None)
    recordings = table[recording].tolist() if recording is not None else None
    return gather(stored, labels=columns, truth=table[column].tolist()), recordings


def _costs(
    models: "Mapping[str, Classifier]", table: Path | None, names: list[str], budget: Sequence[str] | None
) -> "Costs | None":
    from coppice.datasets.csv_table import read_table
    from coppice.ensembles.costs import KINDS, Costs, costs_of

    if table is None:
        latency = any(text.startswith("latency_ms") for text in budget or ())
        return costs_of(models, latency=latency) if models else None
    rows = read_table(table)
    if "member" not in rows:
        raise CoppiceError(f"{table} has no column 'member' with the names of the members: {', '.join(names)}.")
    given: list[dict[str, float]] = []
    for name in names:
        row = rows[rows["member"] == name]
        if len(row) != 1:
            raise CoppiceError(f"{table} has {len(row)} rows of the member {name!r}; give one.")
        try:
            given.append({kind: float(row[kind].iloc[0].replace(",", "")) for kind in KINDS if kind in row})
        except ValueError as error:
            raise CoppiceError(f"{table}: a cost of {name!r} is no number ({error}).") from error
    return Costs.plain(given)


def _write(out: Path, models: "Mapping[str, Classifier]", together: "Members", combination: "Combination") -> Path:
    from coppice.ensembles.build import ensemble as join
    from coppice.ensembles.stored import StoredPosteriors, write_stored
    from coppice.networks.checkpoint import save

    if out.suffix.lower() == ".safetensors":
        return save(join(models, combination=combination), out)
    right = together.targets
    truth = None if right is None else tuple(together.labels[target] for target in right)
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
        f"ensemble, scored on the clips seen and on held-out ones ({found.blocks})",
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

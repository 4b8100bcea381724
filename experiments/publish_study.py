"""Publish a study that is done: docs/NAME.md with its figures, docs/NAME.html, and what the README says of it.

    coppice study run criteria-shootout --set data.root=FOLDER
    python experiments/publish_study.py runs/criteria-shootout

The README's part stands between two marks and is written anew; without marks for the study, it is left alone. So is
docs/NAME.html where there is none: it carries a library for charts, over a megabyte, and ``coppice study`` writes it.
"""

import argparse
import itertools
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from coppice.core.files import make_folder, write_text
from coppice.core.processor import processor
from coppice.core.units import count_text
from coppice.reports.study_figures import study_figure_files, study_figures
from coppice.reports.study_page import write_study_page
from coppice.reports.study_pairs import ACCURACY, COMPARED, MOST_VALUES, Comparison, compare, verdict
from coppice.reports.study_points import StudyPoints
from coppice.reports.study_records import AXIS, StudyRecord, read_study
from coppice.reports.study_tables import pair_table
from coppice.reports.wording import plural

README, DOCS = Path("README.md"), Path("docs")
FRACTION, SYSTEM = "fraction", "system"
SHARES = ("ratios", FRACTION)  # that more of the network or of the clips is better needs no test
FRONTS = {
    "front-accuracy-macs": "Accuracy against MACs",
    "front-accuracy-params_total": "Accuracy against parameters",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of the study")
    given = parser.parse_args()
    record = read_study(given.folder)
    if len(record.done) < len(record.rows):
        parser.error(f"{len(record.done)} of {len(record.rows)} runs are done; publish a study when all are")
    figures = study_figures(record)
    name = record.summary.name
    said = [each for each in figures.compared.values() if each.axis not in SHARES]
    with TemporaryDirectory() as place:
        # Of the results alone: reports of runs are not published, and links to them would lead nowhere.
        for file in ("results.csv", "study.json", "rankings.csv", "trials.csv"):
            if (given.folder / file).is_file():
                shutil.copy(given.folder / file, place)
        if (DOCS / f"{name}.html").exists():
            write_study_page(Path(place)).replace(DOCS / f"{name}.html")
        drawn = study_figure_files(Path(place), Path(place) / "figures", formats=["svg"], style="page")
        titles = {
            each.key: f"Accuracy {'against' if each.against else 'along'} {each.below}"
            for each in itertools.chain(*figures.curved)
        }
        titles |= FRONTS
        pictures = {}
        for file in shown(drawn):
            picture = make_folder(DOCS / "images") / f"{name}-{file.name}"
            shutil.copy(file, picture)
            pictures[titles[file.stem]] = picture
    beside = against_references(record, figures.points)
    fewer = fewer_clips(record, figures.points)
    write_text(DOCS / f"{name}.md", page(record, figures.points, said, beside, fewer, pictures))
    shares = [nearly_all(fewer)] if fewer else []
    tell_readme(name, record, [verdict(each) for each in said if each.where is None] + shares, beside)
    print(f"wrote {DOCS / name}.md")


def shown(drawn: Iterable[Path]) -> list[Path]:
    """Choose the figures: accuracy against what networks cost, along an axis of numbers, and what fine-tuning took."""
    names = {path.stem: path for path in drawn}
    along = sorted(name for name in names if re.match("along-.*-accuracy(-|$)", name))
    over_all = [name for name in along if "-all-" in name]
    return [names[name] for name in (*FRONTS, *(over_all or along)) if name in names]


def wall_hours(folder: Path) -> float:
    """Return the time from the first network, of a run or before all runs, to the last run, as the files have it."""
    begun = min(file.stat().st_mtime for part in ("base", "runs") for file in folder.glob(f"{part}/*/environment.json"))
    return (max(file.stat().st_mtime for file in folder.glob("runs/*/outcome.json")) - begun) / 3600


def page(
    record: StudyRecord,
    points: StudyPoints,
    said: list[Comparison],
    beside: list[Comparison],
    fewer: list[Comparison],
    pictures: dict[str, Path],
) -> str:
    """Say in Markdown what was measured, and what it shows."""
    name, summary = record.summary.name, record.summary
    seconds = record.single["seconds"].sum()
    lines = [
        f"# {summary.title}",
        "",
        f"Written by `experiments/publish_study.py` from what `coppice study run {name}` has measured; nobody types a "
        f"number here.{page_of(name)}",
        "",
        f"{len(record.done)} of {len(record.rows)} runs done: {summary.combined}; {trials(record, ', ')}. "
        f"{points.units.sentence} The runs took {seconds / 3600:.1f} h of one core of "
        f"{processor()}; their files were written within {wall_hours(record.folder):.1f} h.",
        "",
        *(f"* {axis}: {' · '.join(values)}" for axis, values in record.axes.items()),
        "",
        "## What it shows",
        "",
        *(f"* {verdict(each)}" for each in said),
        *(f"* {sentence(each)}" for each in beside),
        *(f"* {text}" for text in ([nearly_all(fewer)] if fewer else [])),
        "",
        *(f"![{title}](images/{picture.name})\n" for title, picture in pictures.items()),
        *itertools.chain.from_iterable(differences(each) for each in said if each.where is None),
        *itertools.chain.from_iterable(differences(each, each.pairs[0].second) for each in beside),
        *itertools.chain.from_iterable(differences(each) for each in fewer),
        "## Points",
        "",
        "| point | runs | accuracy | 95 % | change | log-loss | MACs | parameters |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(line(row) for _, row in points.frame.iterrows()),
        "",
    ]
    return "\n".join(lines)


def trials(record: StudyRecord, between: str) -> str:
    """Say how many folds and seeds there are."""
    return between.join((plural(len(record.folds), "fold"), plural(len(record.seeds), "seed")))


def page_of(name: str) -> str:
    """Lead to the page of the study, if it is kept."""
    if not (DOCS / f"{name}.html").exists():
        return ""
    return f" [The page of the study]({name}.html) has all of it: fronts, curves, pairs, every run."


def against_references(record: StudyRecord, points: StudyPoints) -> list[Comparison]:
    """Set all points, where there are few, against the first one and against the best of the largest networks.

    Pairs along an axis differ in that axis alone.
    """
    if len(points.frame) > MOST_VALUES:
        return []
    rows = record.single[record.single["status"] == "done"]
    values = rows[[AXIS + axis for axis in record.axes]].astype(str).agg(" · ".join, axis="columns")
    rows = rows.assign(**{AXIS + "point": values})
    means = rows.groupby(AXIS + "point", sort=False)[["params_total", "accuracy"]].mean()
    first, *_ = means.index
    best = means.loc[means["params_total"] == means["params_total"].max(), "accuracy"].idxmax()
    comparisons: list[Comparison] = []
    for reference in dict.fromkeys((first, best)):
        pairs = [(other, reference) for other in means.index if other != reference]
        axes = {"point": tuple(means.index)}
        comparisons += [compare(rows, "point", axes, score, points.units, pairs=pairs) for score in COMPARED]
    return comparisons


def fewer_clips(record: StudyRecord, points: StudyPoints) -> list[Comparison]:
    """Set each share of the clips for fine-tuning against all of them, system by system."""
    shares, systems = (record.axes.get(axis, ()) for axis in (FRACTION, SYSTEM))
    if len(shares) < 2 or len(record.axes) != 2 or not systems:
        return []
    done = record.single[record.single["status"] == "done"]
    pairs = [(share, shares[-1]) for share in shares[:-1]]
    found = []
    for system in systems:
        rows = done[done[AXIS + SYSTEM] == system]
        where = (SYSTEM, system)
        found += [
            compare(rows, FRACTION, record.axes, score, points.units, where=where, pairs=pairs) for score in COMPARED
        ]
    return found


def nearly_all(fewer: list[Comparison]) -> str:
    """Say what the largest share below all of the clips takes away."""
    told = []
    for each in fewer:
        if each.score is ACCURACY and each.where is not None and each.pairs:
            row = pair_table(each, each.key).rows[-1]
            told.append(f"{row.mean} for {each.where[1]} ({row.interval})")
    pair = fewer[0].pairs[-1]
    some, every = (f"{100 * float(share):g} %" for share in (pair.first, pair.second))
    return f"In points of accuracy, fine-tuning on {some} of the clips minus on {every}: {', '.join(told)}."


def sentence(comparison: Comparison) -> str:
    """Say what a comparison with one point shows."""
    differ, reference = [pair.differ for pair in comparison.pairs], comparison.pairs[0].second
    if comparison.tested and not any(differ):
        return f"No difference in {comparison.score.name} is shown between {reference} and any of the other points."
    if all(differ):
        return f"In {comparison.score.name}, all other points differ from {reference}."
    return verdict(comparison)


def differences(comparison: Comparison, reference: str | None = None) -> list[str]:
    """Write the pairs of a comparison as a table; with a reference, it is the second of all pairs."""
    table = pair_table(comparison, comparison.key)
    title = f"{table.title[0].upper()}{table.title[1:]}"
    rows = [
        [pair.first if reference else row.pair, row.mean, row.interval, row.p, row.corrected, row.n, row.runs]
        for row, pair in zip(table.rows, comparison.pairs, strict=True)
        if pair.runs  # where points are excluded, some pairs have none in common
    ]
    if reference:
        title = f"Differences in {comparison.score.name}, minus {reference}"
    head = ("| pair | mean | 95 % | p | corrected | n | runs |", "|---|---:|---:|---:|---:|---:|---:|")
    return [f"## {title}", "", *head, *(f"| {' | '.join(row)} |" for row in rows), ""]


def line(row: pd.Series) -> str:
    """Write a point as a row."""
    low, high = (100 * row[f"accuracy_{end}"] for end in ("low", "high"))
    known = not row["unpruned"] and pd.notna(row["accuracy_change"])
    change = f"{100 * row['accuracy_change']:+.1f}" if known else "–"
    cells = [
        row["point"],
        f"{int(row['runs'])}",
        f"{100 * row['accuracy']:.1f} %",
        f"{low:.1f} to {high:.1f}",
        change,
        f"{row['log_loss']:.3f}",
        count_text(row["macs"]),
        count_text(row["params_total"]),
    ]
    return "| " + " | ".join(cells) + " |"


def tell_readme(name: str, record: StudyRecord, said: list[str], beside: list[Comparison]) -> None:
    """Write what a study shows between its marks: of its axes, or of few points beside those that are references."""
    if beside:
        said = [sentence(each) for each in beside if each.score is ACCURACY]
    begin, end = f"<!-- {name}: written by experiments/publish_study.py -->\n", f"<!-- end of {name} -->"
    text = README.read_text(encoding="utf-8")
    if begin not in text:
        return
    page = f", [page](docs/{name}.html)" if (DOCS / f"{name}.html").exists() else ""
    words = (
        f"{record.summary.title}, {len(record.done)} runs on {trials(record, ' with ')} "
        f"([table](docs/{name}.md){page}): {' '.join(said)}\n"
    )
    before, rest = text.split(begin)
    write_text(README, before + begin + words + end + rest.split(end, 1)[1])


if __name__ == "__main__":
    main()

"""Publish a study that is done: docs/NAME.md with its figures, docs/NAME.html, and what the README says of it.

    coppice study run criteria-shootout --set data.root=FOLDER
    python experiments/publish_study.py runs/criteria-shootout

The README's part stands between two marks and is written anew; without marks for the study, it is left alone.
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from coppice.core.files import make_folder, write_text
from coppice.core.processor import processor
from coppice.core.units import count_text
from coppice.reports.study_figures import study_figure_files, study_figures
from coppice.reports.study_page import write_study_page
from coppice.reports.study_pairs import Comparison, verdict
from coppice.reports.study_points import StudyPoints
from coppice.reports.study_records import StudyRecord, read_study

README, DOCS = Path("README.md"), Path("docs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of the study")
    given = parser.parse_args()
    record = read_study(given.folder)
    if len(record.done) < len(record.rows):
        parser.error(f"{len(record.done)} of {len(record.rows)} runs are done; publish a study when all are")
    figures = study_figures(record)
    name = record.summary.name
    axis = next(iter(record.axes))
    said = [each for each in figures.compared.values() if each.axis == axis]
    text = page(record, figures.points, said)
    write_text(DOCS / f"{name}.md", text)
    with TemporaryDirectory() as place:
        # Of the results alone: reports of runs are not published, and links to them would lead nowhere.
        for file in ("results.csv", "study.json", "rankings.csv", "trials.csv"):
            if (given.folder / file).is_file():
                shutil.copy(given.folder / file, place)
        write_study_page(Path(place)).replace(DOCS / f"{name}.html")
        drawn = study_figure_files(Path(place), Path(place) / "figures", formats=["svg"], style="page")
        for kind in KINDS:
            file = next(path for path in drawn if path.name.startswith(kind))
            shutil.copy(file, make_folder(DOCS / "images") / f"{name}-{kind}svg")
    tell_readme(name, record, said)
    print(f"wrote {DOCS / name}.md and .html")


KINDS = ("front-accuracy-macs.", "along-ratios-all-accuracy.")


def wall_hours(folder: Path) -> float:
    """Return the time from the first training to the last run, as the files have it."""
    begun = min(file.stat().st_mtime for file in folder.glob("base/*/environment.json"))
    return (max(file.stat().st_mtime for file in folder.glob("runs/*/outcome.json")) - begun) / 3600


def page(record: StudyRecord, points: StudyPoints, said: list[Comparison]) -> str:
    """Say in Markdown what was measured, and what it shows."""
    name, summary = record.summary.name, record.summary
    seconds = record.single["seconds"].sum()
    lines = [
        f"# {summary.title}",
        "",
        f"Written by `experiments/publish_study.py` from what `coppice study run {name}` has measured; nobody types a "
        f"number here. [The page of the study]({name}.html) has all of it: fronts, curves, pairs, every run.",
        "",
        f"{len(record.done)} of {len(record.rows)} runs done: {summary.combined}; {len(record.folds)} folds, "
        f"{len(record.seeds)} seeds. {points.units.sentence} The runs took {seconds / 3600:.1f} h of one core of "
        f"{processor()}; from the first training to the last run it was {wall_hours(record.folder):.1f} h.",
        "",
        "## What it shows",
        "",
        *(f"* {verdict(each)}" for each in said),
        "",
        f"![Accuracy against MACs](images/{name}-{KINDS[0]}svg)",
        "",
        f"![Accuracy along the ratios](images/{name}-{KINDS[1]}svg)",
        "",
        "## Points",
        "",
        "| point | runs | accuracy | 95 % | change | log-loss | MACs | parameters |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(line(row) for _, row in points.frame.iterrows()),
        "",
    ]
    return "\n".join(lines)


def line(row: pd.Series) -> str:
    """Write a point as a row."""
    low, high = (100 * row[f"accuracy_{end}"] for end in ("low", "high"))
    change = "–" if row["unpruned"] else f"{100 * row['accuracy_change']:+.1f}"
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


def tell_readme(name: str, record: StudyRecord, said: list[Comparison]) -> None:
    """Write the verdict between the marks of the study."""
    begin, end = f"<!-- {name}: written by experiments/publish_study.py -->\n", f"<!-- end of {name} -->"
    text = README.read_text(encoding="utf-8")
    if begin not in text:
        return
    together = " ".join(verdict(each) for each in said if each.where is None)
    words = (
        f"{record.summary.title}, {len(record.done)} runs on {len(record.folds)} folds with {len(record.seeds)} seeds "
        f"([table](docs/{name}.md), [page](docs/{name}.html)): {together}\n"
    )
    before, rest = text.split(begin)
    write_text(README, before + begin + words + end + rest.split(end, 1)[1])


if __name__ == "__main__":
    main()

"""The table of results as Markdown, generated from the records so that nobody types a number."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from coppice.reports.cross_validation_headline import cross_validation_headline, cross_validation_table
from coppice.reports.cross_validation_records import CrossValidationRecord, read_cross_validation
from coppice.reports.data_tables import PlainTable
from coppice.reports.energy_table import cross_validation_energy_table, inference_table, run_energy_table
from coppice.reports.headline import Headline, run_headline
from coppice.reports.run_folder import is_cross_validation
from coppice.reports.run_records import RunRecord, read_run
from coppice.reports.stage_table import Cell, Table, stage_table

SYNTHETIC = (
    "The sounds of this run were made by a procedure: its numbers show that the steps work and say nothing "
    "about recordings of the real world."
)


def results_markdown(run_folder: Path) -> str:
    """Return a run's results as Markdown: headline, table of stages and measures, conventions.

    Parameters
    ----------
    run_folder : Path
        A run or a cross-validation.

    Returns
    -------
    str
        GitHub-flavoured Markdown without a heading, ready to stand under one.

    Raises
    ------
    CoppiceError
        If the folder is not a run.
    """
    run_folder = Path(run_folder)
    if is_cross_validation(run_folder):
        record = read_cross_validation(run_folder)
        return _markdown(
            cross_validation_headline(record), cross_validation_table(record), record.notes, record.synthetic
        )
    run = read_run(run_folder)
    synthetic = run.data is not None and run.data.synthetic
    return _markdown(run_headline(run), stage_table(run), run.notes, synthetic)


def results_page(run_folder: Path) -> str:
    """Return :func:`results_markdown` as a page of its own: title, results, energy, environment and the exact recipe.

    Raises
    ------
    CoppiceError
        If the folder is not a run.
    """
    run_folder = Path(run_folder)
    record: CrossValidationRecord | RunRecord
    if is_cross_validation(run_folder):
        record = read_cross_validation(run_folder)
        energy = _energy(cross_validation_energy_table(record), None)
    else:
        record = read_run(run_folder)
        energy = _energy(run_energy_table(record), inference_table(record))
    facts = "\n".join(f"* {_plain(name)}: {_plain(value)}" for name, value in record.environment.items())
    recipe = record.recipe.strip()
    return (
        f"# {_plain(record.summary.title)}\n\nWritten by `coppice report --markdown` from the records of a run.\n\n"
        f"{results_markdown(run_folder)}\n{energy}## Environment\n\n{facts}\n\n## Recipe\n\n```yaml\n{recipe}\n```\n"
    )


def _markdown(headline: Headline, table: Table, notes: tuple[str, ...], synthetic: bool) -> str:
    blocks = [f"**{_plain(SYNTHETIC)}**"] if synthetic else []
    blocks.append(" ".join(_plain(text) for text in (headline.sentence, *headline.remarks)))
    blocks += _blocks(table, notes)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _energy(stages: Table | None, inference: PlainTable | None) -> str:
    blocks = ["## Energy"]
    if stages is not None:
        blocks += _blocks(stages)
    if inference is not None:
        rows = [tuple(map(_plain, row)) for row in inference.rows]
        blocks += [f"{_plain(inference.caption)}.", _table(inference.columns, rows)]
    return "\n\n".join(block for block in blocks if block) + "\n\n" if blocks[1:] else ""


def _blocks(table: Table, notes: tuple[str, ...] = ()) -> list[str]:
    rows = [(_plain(row.title), *map(_cell, row.cells)) for row in table.rows]
    listed = "\n".join(f"* {_plain(text)}" for text in (*table.footnotes, *notes))
    return [_table(("stage", *table.columns), rows), *map(_plain, table.warnings), listed]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * len(columns[1:])], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(cell: Cell) -> str:
    return _plain(cell.value) + (f" ({_plain(cell.small)})" if cell.small else "")


def _plain(text: str) -> str:
    # Titles come from files: nothing in them may start markup or leave the cell.
    for character in "\\|<>`*_[]":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())

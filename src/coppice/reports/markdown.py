"""The table of results as Markdown, generated from the records so that nobody types a number."""

from pathlib import Path

from coppice.reports.cross_validation_headline import cross_validation_headline, cross_validation_table
from coppice.reports.cross_validation_records import read_cross_validation
from coppice.reports.headline import Headline, run_headline
from coppice.reports.run_folder import is_cross_validation
from coppice.reports.run_records import read_run
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
    """Return :func:`results_markdown` as a page of its own: title, results, environment and the exact recipe.

    Raises
    ------
    CoppiceError
        If the folder is not a run.
    """
    run_folder = Path(run_folder)
    record = read_cross_validation(run_folder) if is_cross_validation(run_folder) else read_run(run_folder)
    facts = "\n".join(f"* {_plain(name)}: {_plain(value)}" for name, value in record.environment.items())
    recipe = record.recipe.strip()
    return (
        f"# {_plain(record.summary.title)}\n\nWritten by `coppice report --markdown` from the records of a run.\n\n"
        f"{results_markdown(run_folder)}\n## Environment\n\n{facts}\n\n## Recipe\n\n```yaml\n{recipe}\n```\n"
    )


def _markdown(headline: Headline, table: Table, notes: tuple[str, ...], synthetic: bool) -> str:
    blocks = [f"**{_plain(SYNTHETIC)}**"] if synthetic else []
    blocks.append(" ".join(_plain(text) for text in (headline.sentence, *headline.remarks)))
    head = "| stage | " + " | ".join(table.columns) + " |"
    rule = "|---|" + "---:|" * len(table.columns)
    rows = [f"| {_plain(row.title)} | " + " | ".join(_cell(cell) for cell in row.cells) + " |" for row in table.rows]
    blocks.append("\n".join([head, rule, *rows]))
    blocks += [_plain(text) for text in table.warnings]
    listed = [*table.footnotes, *notes]
    blocks.append("\n".join(f"* {_plain(text)}" for text in listed))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _cell(cell: Cell) -> str:
    return _plain(cell.value) + (f" ({_plain(cell.small)})" if cell.small else "")


def _plain(text: str) -> str:
    # Titles come from files: nothing in them may start markup or leave the cell.
    for character in "\\|<>`*_[]":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())

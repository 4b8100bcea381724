"""The table of published numbers as Markdown and as one HTML file; every number comes from the rows."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jinja2

from coppice import __version__
from coppice.core.files import make_folder, write_text
from coppice.reports.style import DARK, LIGHT, css_variables
from coppice.reproduction.claim import Claim, Paper, Row, Value

_MARKS = {"agrees": "agrees", "differs": "DIFFERS", "absent": "no data"}

# Where a stranger gets the released files, by the folder that the rows look for.
ORIGINS = {
    "surrey2021": "networks and index files of the Interspeech 2022 paper: repository "
    "passive-filter-pruning-Interspeech22 (`nets/*.h5`, `keep/C1.npy` to `C3.npy`)",
    "surrey2022": "networks and posteriors of the DCASE 2022 systems: repository DCASE2022_Challenge (one folder a "
    "network: `float32.tflite`, `float16.tflite`, `int8_dynamic.tflite`, `posteriors_*.npy`)",
    "iitmandi2021": "the four submitted networks: repository DCASE2021_codes (`entry1.float16.h5` to "
    "`entry4.float16.h5`)",
    "tau2022_sample": "ten clips of the official test split of TAU Urban Acoustic Scenes 2022 Mobile (Zenodo 6337421) "
    "and `meta.csv`",
}


def value_text(value: Value, claim: Claim, *, more: int = 0) -> str:
    r"""Write a value with its unit, with as many digits as the published one has, or some more.

    Examples
    --------
    >>> from coppice.reproduction.reproduce import all_claims
    >>> claim = next(c for c in all_claims() if c.key == "co2.miles")
    >>> value_text(13.0151, claim), value_text(13.0151, claim, more=1)
    ('13.0\xa0miles', '13.02\xa0miles')
    """
    if isinstance(value, str):
        return f"{value} {claim.unit}".strip()
    unit = f"\N{NO-BREAK SPACE}{claim.unit}" if claim.unit else ""
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}{unit}"
    if abs(value) < claim.tolerance:
        return f"{value:.1e}{unit}"
    digits = next((places for places in range(7) if claim.tolerance >= 0.5 * 10**-places * (1 - 1e-9)), 6)
    return f"{value:,.{digits + more}f}{unit}"


def difference_text(row: Row) -> str:
    """Write the difference, what differences agree, and whether this one does."""
    mark = _MARKS[row.status]
    if row.difference is None:
        return mark
    if row.difference == 0:
        return f"0, {mark}"
    sign = "−" if row.difference < 0 else "+"
    return f"{sign}{abs(row.difference):.2g} (± {row.claim.tolerance:.2g}), {mark}"


def summary_line(rows: Sequence[Row]) -> str:
    """Return the last line: how many rows, how many agree.

    Examples
    --------
    >>> from coppice.reproduction.reproduce import reproduce
    >>> summary_line(reproduce("nowhere", only=["co2"]))
    '4 rows, 4 agree'
    """
    counts = {status: sum(row.status == status for row in rows) for status in _MARKS}
    parts = [f"{len(rows)} row{'' if len(rows) == 1 else 's'}", f"{counts['agrees']} agree"]
    if counts["differs"]:
        parts.append(f"{counts['differs']} differ")
    if counts["absent"]:
        parts.append(f"{counts['absent']} need files that are not there")
    return ", ".join(parts)


def write_pages(rows: Sequence[Row], folder: Path) -> tuple[Path, Path]:
    """Write ``reproduced.md`` and ``reproduced.html`` into a folder.

    Parameters
    ----------
    rows : sequence of Row
        From :func:`coppice.reproduction.reproduce.reproduce`.
    folder : Path
        Created if it does not exist.

    Returns
    -------
    tuple of two Paths

    Raises
    ------
    CoppiceError
        If the disk refuses.
    """
    folder = make_folder(Path(folder))
    markdown, page = folder / "reproduced.md", folder / "reproduced.html"
    write_text(markdown, as_markdown(rows))
    write_text(page, as_html(rows))
    return markdown, page


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table as GitHub-flavoured Markdown, one section for each paper."""
    lines = ["# Published numbers, reproduced", "", f"{_INTRODUCTION} **{summary_line(rows)}.**", ""]
    for paper, own in _by_paper(rows):
        lines += [f"## {paper.title}", "", f"{paper.reference}.", ""]
        lines += [
            "| key | what | published | ours | difference | source | convention |",
            "|---|---|---:|---:|---:|---|---|",
        ]
        for row in own:
            cells = (row.claim.key, row.claim.what, *_values(row), row.claim.source, row.claim.convention)
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        lines.append("")
    lines += ["## Where the released files come from", ""]
    lines += [f"* `{name}`: {origin}." for name, origin in ORIGINS.items()]
    return "\n".join([*lines, ""])


def as_html(rows: Sequence[Row]) -> str:
    """Return the table as one HTML file that needs no network."""
    papers = [(paper, [(row, *_values(row)) for row in own]) for paper, own in _by_paper(rows)]
    return (
        _templates()
        .get_template("reproduced.html")
        .render(
            introduction=_INTRODUCTION,
            summary=summary_line(rows),
            papers=papers,
            origins={name: origin.replace("`", "") for name, origin in ORIGINS.items()},
            light=css_variables(LIGHT),
            dark=css_variables(DARK),
            version=__version__,
        )
    )


_INTRODUCTION = (
    "Computed by `coppice reproduce` from released files and from the code; nothing is typed in but the published "
    "values. A row agrees when it lies within half a unit of the last published digit; counts must be equal. Where no "
    "paper prints a number, the source says that it was recomputed from what was released."
)


def _by_paper(rows: Sequence[Row]) -> list[tuple[Paper, list[Row]]]:
    papers = dict.fromkeys(row.claim.paper for row in rows)
    return [(paper, [row for row in rows if row.claim.paper == paper]) for paper in papers]


def _values(row: Row) -> tuple[str, str, str]:
    ours = row.note if row.ours is None else value_text(row.ours, row.claim, more=1)
    return value_text(row.claim.published, row.claim), ours, difference_text(row)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*").replace("<", "&lt;")


@functools.cache
def _templates() -> jinja2.Environment:
    # The style sheet is that of the reports.
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("coppice.reproduction", "page"), jinja2.PackageLoader("coppice.reports", "page")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

"""The output file of a system: one line for each clip, checked in one go."""

import csv
import io
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from coppice.challenge.problems import Problems
from coppice.challenge.rules import COLUMNS, SCENES

SUM_TOLERANCE = 1e-3  # ten probabilities of four decimals can be off by half of it
_TIE = 1e-9
_TAB, _NEWLINE = 9, 10


def check_output(data: bytes, file: str, expected: list[str] | None, problems: Problems) -> None:
    r"""Note everything that is wrong with an output file.

    The header has the official columns in the official order, separated by tabs; every line has as many fields; file
    names are those of the evaluation clips, each once, with or without ``audio/``; the label is a scene and that of
    the largest probability; probabilities are numbers from 0 to 1 that sum to 1 within 0.001.

    Parameters
    ----------
    data : bytes
        The file.
    file : str
        What it is called in the package.
    expected : list of str or None
        Names of the evaluation clips; None: not known, so that only repetitions are found.
    problems : Problems
        Where they are noted.

    Examples
    --------
    >>> from coppice.challenge.problems import Problems
    >>> problems = Problems()
    >>> row = "0.wav\tbus\t0.1\t0.9" + "\t0" * 8
    >>> check_output(("\t".join(COLUMNS) + "\n" + row + "\n").encode(), "a.csv", ["0.wav"], problems)
    >>> list(problems)
    []
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.add(file, data[: error.start].count(b"\n") + 1, "this is not UTF-8 text.")
        return
    data = data.replace(b"\r\n", b"\n")
    header, _, body = data.partition(b"\n")
    columns = _check_header(header.decode("utf-8"), file, problems)
    if columns is None:
        return
    rows = _split(body, file, problems)
    names, labels, values, noted = _parse(rows, columns, file, problems)
    _check_names(names, rows, file, expected, problems)
    _check_labels(labels, rows.lines, file, problems)
    _check_values(values, noted, labels, rows.lines, file, problems)


@dataclass(frozen=True)
class _Rows:
    """Lines with the right number of fields, and of the others their first field."""

    text: bytes
    lines: Int[np.ndarray, " rows"]
    short: list[str]


def _check_header(header: str, file: str, problems: Problems) -> list[str] | None:
    columns = header.split("\t")
    if columns == list(COLUMNS):
        return columns
    if header.startswith("\ufeff"):
        problems.add(file, 1, "the file begins with a byte order mark; save it as UTF-8 without one.")
        return None
    if len(columns) == 1:
        problems.add(file, 1, f"the header {header[:60]!r} has no tabs; separate the columns by tabs.")
        return None
    if sorted(columns) == sorted(COLUMNS):
        problems.add(file, 1, f"the columns are in another order than {', '.join(COLUMNS)}.")
        return columns
    for name in dict.fromkeys(columns):
        if name not in COLUMNS:
            problems.add(file, 1, f"the header has the column {name[:60]!r}, which is not one of {', '.join(COLUMNS)}.")
        elif columns.count(name) > 1:
            problems.add(file, 1, f"the header has the column {name!r} {columns.count(name)} times.")
    for name in COLUMNS:
        if name not in columns:
            problems.add(file, 1, f"the header lacks the column {name!r}.")
    return None


def _split(body: bytes, file: str, problems: Problems) -> _Rows:
    if body and not body.endswith(b"\n"):
        body += b"\n"
    signs = np.frombuffer(body, dtype=np.uint8)
    ends = np.flatnonzero(signs == _NEWLINE)
    tabs = np.searchsorted(np.flatnonzero(signs == _TAB), ends)
    fields = np.diff(tabs, prepend=0) + 1
    lines = np.arange(len(ends)) + 2
    good = fields == len(COLUMNS)
    if good.all():
        return _Rows(body, lines, [])
    starts = np.concatenate([[0], ends[:-1] + 1])
    bad = np.flatnonzero(~good)
    empty = np.array([not body[starts[row] : ends[row]].strip() for row in bad.tolist()], dtype=bool)
    problems.add_lines(file, lines[bad[empty]], lambda _: "this line is empty.")
    wrong = bad[~empty]
    problems.add_lines(
        file,
        lines[wrong],
        lambda at: f"this line has {fields[wrong[at]]} fields; there are {len(COLUMNS)} columns.",
    )
    text = body.split(b"\n")
    short = [text[row].split(b"\t")[0].decode("utf-8") for row in wrong.tolist()]
    kept = b"".join(text[row] + b"\n" for row in np.flatnonzero(good).tolist())
    return _Rows(kept, lines[good], short)


def _parse(
    rows: _Rows, columns: list[str], file: str, problems: Problems
) -> tuple[list[str], np.ndarray, Float[np.ndarray, "rows scenes"], Bool[np.ndarray, "rows scenes"]]:
    """Return names, labels, probabilities and which of them are noted already, being no numbers."""
    if not len(rows.lines):
        problems.add(file, 2, "there are no lines below the header.")
        empty = np.empty((0, len(SCENES)))
        return [], np.array([], dtype=object), empty, empty.astype(bool)
    kinds: dict[str, type] = dict.fromkeys(columns, str)

    def read(numbers: type) -> pd.DataFrame:
        return pd.read_csv(
            io.BytesIO(rows.text),
            sep="\t",
            header=None,
            names=columns,
            dtype=kinds | dict.fromkeys(SCENES, numbers),
            quoting=csv.QUOTE_NONE,
            na_filter=False,
            skip_blank_lines=False,
        )

    try:
        table = read(float)
        values = table[list(SCENES)].to_numpy()
        noted = np.zeros(values.shape, dtype=bool)
    except ValueError:
        table = read(str)
        values = np.empty((len(table), len(SCENES)))
        noted = np.zeros(values.shape, dtype=bool)
        for column, scene in enumerate(SCENES):
            texts = table[scene].to_numpy(dtype=object)
            values[:, column] = pd.to_numeric(table[scene], errors="coerce")
            nan = np.flatnonzero(np.isnan(values[:, column]))
            is_text = np.array([texts[row].strip().lower().lstrip("+-") != "nan" for row in nan.tolist()], dtype=bool)
            bad = nan[is_text]
            noted[bad, column] = True
            problems.add_lines(
                file,
                rows.lines[bad],
                lambda at, bad=bad, texts=texts, scene=scene: (  # type: ignore[misc]
                    f"the probability of {scene} is {texts[bad[at]][:40]!r}, which is no number."
                ),
            )
    return table["filename"].tolist(), table["scene_label"].to_numpy(dtype=object), values, noted


def _check_names(names: list[str], rows: _Rows, file: str, expected: list[str] | None, problems: Problems) -> None:
    base = [name.removeprefix("audio/") for name in names]
    lines = rows.lines
    number = {name: index for index, name in enumerate(expected or ())}
    if expected is None:
        unknown = np.array([re.fullmatch(r"[^/\\]+\.wav", name) is None for name in base], dtype=bool)
        codes = np.unique(np.array(base, dtype=str), return_inverse=True)[1]
    else:
        codes = np.array([number.get(name, -1) for name in base], dtype=np.int64)
        unknown = codes < 0
    strange = np.flatnonzero(unknown)
    problems.add_lines(
        file,
        lines[strange],
        lambda at: f"{names[strange[at]][:80]!r} is no evaluation clip{_clips_text(expected)}.",
    )
    order = np.argsort(codes, kind="stable")
    again = np.sort(order[1:][(np.diff(codes[order]) == 0) & ~unknown[order[1:]]])
    problems.add_lines(
        file,
        lines[again],
        lambda at: f"{names[again[at]]!r} was there on line {lines[(codes == codes[again[at]]).argmax()]} already.",
    )
    if expected is None:
        return
    seen = np.zeros(len(expected), dtype=bool)
    seen[codes[~unknown]] = True
    for name in rows.short:  # its line is noted already
        if name.removeprefix("audio/") in number:
            seen[number[name.removeprefix("audio/")]] = True
    missing = np.flatnonzero(~seen)
    if len(missing):
        some = ", ".join(expected[at] for at in missing[:5].tolist()) + (", …" if len(missing) > 5 else "")
        problems.add(file, None, f"{len(missing):,} of {len(expected):,} evaluation clips are missing: {some}.")


def _clips_text(expected: list[str] | None) -> str:
    return "" if not expected else f" (they are {expected[0]} to {expected[-1]})"


def _check_labels(labels: np.ndarray, lines: Int[np.ndarray, " rows"], file: str, problems: Problems) -> None:
    unknown = np.flatnonzero(~_known(labels))
    problems.add_lines(
        file, lines[unknown], lambda at: f"{labels[unknown[at]][:60]!r} is no scene; they are {', '.join(SCENES)}."
    )


def _known(labels: np.ndarray) -> Bool[np.ndarray, " rows"]:
    return np.isin(labels.astype(str), SCENES) if len(labels) else np.zeros(0, dtype=bool)


def _check_values(
    values: Float[np.ndarray, "rows scenes"],
    noted: Bool[np.ndarray, "rows scenes"],
    labels: np.ndarray,
    lines: Int[np.ndarray, " rows"],
    file: str,
    problems: Problems,
) -> None:
    with np.errstate(invalid="ignore"):
        outside = ~((values >= 0) & (values <= 1)) & ~noted
    row, column = np.nonzero(outside)
    keep = np.concatenate([[True], np.diff(row) > 0]) if len(row) else np.zeros(0, dtype=bool)
    row, column = row[keep], column[keep]
    logits = len(row) > len(lines) / 2

    def what(at: int) -> str:
        value = values[row[at], column[at]]
        hint = "; these look like logits: write their softmax" if logits else ""
        return f"the probability of {SCENES[column[at]]} is {value:g}, not a number from 0 to 1{hint}."

    problems.add_lines(file, lines[row], what)
    sound = ~(outside | noted).any(axis=1)
    sums = np.where(sound, values.sum(axis=1, where=~noted), 1.0)
    off = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    problems.add_lines(file, lines[off], lambda at: f"the probabilities sum to {sums[off[at]]:.6g}, not to 1.")
    checked = np.flatnonzero(sound & _known(labels))
    chosen = np.searchsorted(SCENES, labels[checked].astype(str))
    given = values[checked, chosen]
    best = values[checked].argmax(axis=1)
    wrong = np.flatnonzero(given < values[checked, best] - _TIE)
    problems.add_lines(
        file,
        lines[checked[wrong]],
        lambda at: (
            f"the label is {labels[checked[wrong[at]]]!r} with {given[wrong[at]]:g}, but {SCENES[best[wrong[at]]]} has "
            f"{values[checked[wrong[at]], best[wrong[at]]]:g}."
        ),
    )

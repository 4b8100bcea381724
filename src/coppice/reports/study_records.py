"""A study's folder: one row for each point, fold and seed, checked."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors, read_json
from coppice.reports.measures import Record
from coppice.reports.wording import plural

KIND, VERSION = "study", 1
AXIS = "axis."
STATUSES = ("done", "failed", "waiting")
TEXTS = ("run", "point", "status", "reason", "fold", "seed", "coppice_version")
SHARES = ("accuracy", "macro_accuracy", "base_accuracy", "validation_accuracy")
NUMBERS = (
    *SHARES,
    "log_loss",
    "clips",
    "params_total",
    "params_bn_folded",
    "macs",
    "size_bytes",
    "latency_ms_p50",
    "energy_kwh",
    "seconds",
    "finetune_seconds",
    "finetune_clips",
    "validation_log_loss",
    "base_log_loss",
    "base_macs",
    "base_params_total",
    "base_size_bytes",
)
RANKED = ("ranking_ms", "similarity_error", "kept_as_exact")
LATER = (*RANKED, "finetune_epochs", "finetune_clips_seen", "finetune_macs")  # columns that not every study has
NEEDED = ("accuracy", "log_loss", "macs", "params_total", "size_bytes")  # of a run that is done


class SearchSummary(Record):
    """What ``study.json`` says of a search."""

    objectives: tuple[str, ...]
    reference: dict[str, float]
    budget: dict[str, int] = Field(default_factory=dict)


class EnsembleSummary(Record):
    """The axis on which an ensemble stands in place of a value, and how many members were chosen, if they were."""

    axis: str
    size: int | None = None


class StudySummary(Record):
    """The whole of ``study.json``."""

    version: int
    kind: str = KIND
    name: str
    title: str
    axes: dict[str, tuple[str, ...]]
    combined: str = ""
    columns: dict[str, str] = Field(default_factory=dict)
    where: str = ""
    ensembles: dict[str, EnsembleSummary] = Field(default_factory=dict)
    search: SearchSummary | None = None

    @property
    def command(self) -> str:
        """What goes on with it."""
        return "coppice study run" if self.search is None else "coppice study search"


@dataclass(frozen=True)
class StudyRecord:
    """Everything that a page says about a study.

    Attributes
    ----------
    folder : Path
        Of the study.
    summary : StudySummary
        What ``study.json`` says.
    axes : dict
        Name of an axis, without fold and seed → its values in order, those that only the table knows last; without the
        names of ensembles.
    rows : DataFrame
        ``results.csv``, checked: texts as they are, numbers as float64, NaN where a cell is empty.
    text : str
        ``results.csv`` as it is.
    notes : tuple of str
        What must be said with it.
    """

    folder: Path
    summary: StudySummary
    axes: dict[str, tuple[str, ...]]
    rows: pd.DataFrame = field(repr=False)
    text: str = field(repr=False)
    notes: tuple[str, ...]

    @property
    def done(self) -> pd.DataFrame:
        """The rows of runs that are done."""
        return self.rows[self.rows["status"] == "done"]

    @property
    def failed(self) -> pd.DataFrame:
        """The rows of runs that failed."""
        return self.rows[self.rows["status"] == "failed"]

    @property
    def single(self) -> pd.DataFrame:
        """The rows of runs: all but ensembles."""
        return self.rows[~is_ensemble(self.rows, self.summary.ensembles)]

    @property
    def ensembles(self) -> dict[str, tuple[str, ...]]:
        """Axis → names of the ensembles of its values that stand in the table, in order."""
        found: dict[str, tuple[str, ...]] = {}
        for name, said in self.summary.ensembles.items():
            if (self.rows[AXIS + said.axis] == name).any():
                found[said.axis] = (*found.get(said.axis, ()), name)
        return found

    @property
    def folds(self) -> tuple[str, ...]:
        """Test folds in order."""
        return in_order(self.rows["fold"])

    @property
    def seeds(self) -> tuple[str, ...]:
        """Seeds in order."""
        return in_order(self.rows["seed"])


def is_ensemble(rows: pd.DataFrame, ensembles: Mapping[str, EnsembleSummary]) -> pd.Series:
    """Tell which rows are of ensembles."""
    marked = pd.Series(False, index=rows.index)
    for name, said in ensembles.items():
        marked |= rows[AXIS + said.axis] == name
    return marked


def in_order(values: Iterable[str]) -> tuple[str, ...]:
    """Return texts once each, numbers by size and before words.

    Examples
    --------
    >>> in_order(["10", "2", "one", "2"])
    ('2', '10', 'one')
    """

    def place(value: str) -> tuple[bool, float, str]:
        number = as_number(value)
        return (True, 0.0, value) if number is None else (False, number, value)

    return tuple(sorted(set(values), key=place))


def as_number(text: str) -> float | None:
    """Return the number that a short text is, also in percent; None for a word.

    Examples
    --------
    >>> as_number("0.25"), as_number("25 %"), as_number("conv1:11"), as_number("nan")
    (0.25, 0.25, None, None)
    """
    bare = text.strip()
    try:
        number = float(bare.removesuffix("%")) / (100 if bare.endswith("%") else 1)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def read_study(folder: Path) -> StudyRecord:
    """Read ``study.json`` and ``results.csv``.

    Parameters
    ----------
    folder : Path
        Of a study, finished or not.

    Raises
    ------
    CoppiceError
        If one is missing, damaged, of another format, or the two are not of one study.
    """
    folder = Path(folder)
    summary = _summary(folder / "study.json")
    path = folder / "results.csv"
    with plain_os_errors("read the results", path):
        data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CoppiceError(f"{path} is damaged: byte {error.start} is not UTF-8 text; run the study again.") from None
    rows = _rows(path, text)
    axes = _axes(path, summary, rows)
    notes = tuple(_notes(rows, is_ensemble(rows, summary.ensembles), summary.command))
    return StudyRecord(folder, summary, axes, rows, text, notes)


def _summary(path: Path) -> StudySummary:
    value = read_json(path, "study")
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind != KIND:
        what = f"is of a {kind}, not of a study" if isinstance(kind, str) else "is not of a study"
        raise CoppiceError(f"{path} {what}; give a folder that coppice study run has written.")
    if value.get("version") != VERSION:
        raise CoppiceError(f"{path} is of format {value.get('version')}; this Coppice reads {VERSION}.")
    try:
        return StudySummary.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise CoppiceError(f"{path} is damaged: {where}: {first['msg'].lower()}; run the study again.") from error


def _rows(path: Path, text: str) -> pd.DataFrame:
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise CoppiceError(f"{path} is damaged: {error}; run the study again.") from error
    if not lines:
        raise CoppiceError(f"{path} is empty; run the study again.")
    head, body = lines[0], lines[1:]
    missing = [name for name in (*TEXTS, *NUMBERS) if name not in head]
    if missing:
        raise CoppiceError(f"{path} is not of a study: it has no column {missing[0]!r}.")
    double = next((name for name in head if head.count(name) > 1), None)
    if double is not None:
        raise CoppiceError(f"{path} is damaged: it has the column {double!r} twice.")
    for number, line in enumerate(body, start=1):
        if len(line) != len(head):
            raise CoppiceError(f"{path} is damaged: row {number} has {len(line)} cells and the head {len(head)}.")
    if not body:
        raise CoppiceError(f"{path} has no row: the study has no run.")
    rows = pd.DataFrame(body, columns=head, dtype=object)
    for name in (*NUMBERS, *(name for name in LATER if name in head)):
        rows[name] = _numbers(path, name, rows[name])
    _check(path, rows)
    return rows


def _numbers(path: Path, name: str, cells: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(cells.replace("", None), errors="coerce").astype(np.float64)
    limit = 1.0 if name in SHARES else np.inf
    wrong = (cells != "") & ~((numbers >= 0) & (numbers <= limit) & np.isfinite(numbers))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        allowed = "a number from 0 to 1" if name in SHARES else "a number of at least 0"
        raise CoppiceError(f"{path} is damaged: {name} of row {row + 1} is {cells.iloc[row]!r}, not {allowed}.")
    return numbers


def _check(path: Path, rows: pd.DataFrame) -> None:
    unknown = ~rows["status"].isin(STATUSES)
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise CoppiceError(
            f"{path} is damaged: the status of row {row + 1} is {rows['status'].iloc[row]!r}; known are done, failed "
            "and waiting."
        )
    for name in NEEDED:
        empty = (rows["status"] == "done") & rows[name].isna()
        if empty.any():
            raise CoppiceError(f"{path} is damaged: row {int(np.flatnonzero(empty)[0]) + 1} is done and has no {name}.")
    for row, run in enumerate(rows["run"], start=1):
        inside = PurePosixPath(run)
        if inside.is_absolute() or ".." in inside.parts or "\\" in run:
            raise CoppiceError(f"{path} is damaged: the run of row {row}, {run!r}, is not inside the study's folder.")
    twice = rows.duplicated(["point", "fold", "seed"])
    if twice.any():
        second = rows[twice].iloc[0]
        where = f"{second['point']}, fold {second['fold']}, seed {second['seed']}"
        raise CoppiceError(f"{path} counts a run twice: {where}.")


def _axes(path: Path, summary: StudySummary, rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    in_table = [name.removeprefix(AXIS) for name in rows.columns if name.startswith(AXIS)]
    said = [name for name in summary.axes if name not in ("fold", "seed")]
    apart = sorted(set(said) ^ (set(in_table) - {"fold", "seed"}))
    if apart:
        raise CoppiceError(
            f"{path} and {path.with_name('study.json').name} are not of one study: only one of them has the axis "
            f"{apart[0]!r}."
        )
    same = rows.duplicated(["fold", "seed", *(AXIS + name for name in said)])
    if same.any():
        raise CoppiceError(
            f"{path} is damaged: row {int(np.flatnonzero(same)[0]) + 1} repeats the axes of another row."
        )
    lost = next((each.axis for each in summary.ensembles.values() if each.axis not in said), None)
    if lost is not None:
        raise CoppiceError(f"{path.with_name('study.json')} is damaged: ensembles stand on {lost!r}, which is no axis.")
    axes = {}
    for name in said:
        found = set(rows[AXIS + name]) - {one for one, each in summary.ensembles.items() if each.axis == name}
        known = [value for value in summary.axes[name] if value in found]
        axes[name] = (*known, *in_order(found - set(known) - {""}))
    return axes


def _notes(rows: pd.DataFrame, ensemble: pd.Series, command: str) -> Iterable[str]:
    for noun, part in (("run", rows[~ensemble]), ("ensemble", rows[ensemble])):
        failed, waiting = ((part["status"] == status).sum() for status in ("failed", "waiting"))
        whole = plural(len(part), noun)
        if failed:
            yield f"{failed:,} of {whole} failed; each is listed with its reason, and none is in a mean."
        if waiting:
            yield f"{waiting:,} of {whole} are waiting: {command} goes on with them."
    others = rows["coppice_version"][~rows["coppice_version"].isin(["", __version__])]
    for version, count in others.value_counts().items():
        yield (
            f"{plural(int(count), 'run')} of {len(rows):,} come from Coppice {version}; this page was written by "
            f"{__version__}. They are shown and averaged with the others."
        )

"""What a study's folder holds, read again: its points with their means."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coppice import __version__
from coppice.reports import study_records
from coppice.reports.study_records import AXIS, NEEDED

UNPRUNED = "unpruned"


@dataclass(frozen=True)
class FoundPoint:
    """A point, or the unpruned networks, with means over the runs that are done; None where none is.

    Attributes
    ----------
    name : str
    values : dict
        Axis → short text of its value; empty for the unpruned networks.
    runs, done, failed : int
    accuracy, log_loss, macs, params_total, size_bytes : float or None
    """

    name: str
    values: dict[str, str]
    runs: int
    done: int
    failed: int
    accuracy: float | None = None
    log_loss: float | None = None
    macs: float | None = None
    params_total: float | None = None
    size_bytes: float | None = None


@dataclass(frozen=True)
class FoundStudy:
    """A study as its folder has it.

    Attributes
    ----------
    title : str
    axes : tuple of str
    points : tuple of FoundPoint
        The unpruned networks first, if points go on from any.
    remarks : tuple of str
        What failed or is waiting, and results of another version.
    """

    title: str
    axes: tuple[str, ...]
    points: tuple[FoundPoint, ...]
    remarks: tuple[str, ...]

    @property
    def failed(self) -> int:
        """How many runs failed."""
        return sum(point.failed for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {
            "title": self.title,
            "axes": [*self.axes],
            "points": [asdict(point) for point in self.points],
            "remarks": [*self.remarks],
        }


def read_study(folder: Path) -> FoundStudy:
    """Read ``study.json`` and ``results.csv``, as the page does.

    Parameters
    ----------
    folder : Path
        Of a study, finished or not.

    Raises
    ------
    CoppiceError
        As :func:`coppice.reports.study_records.read_study`.
    """
    record = study_records.read_study(folder)
    axes = [name for name in record.summary.axes if AXIS + name in record.rows]
    points = [_point(str(name), part, axes) for name, part in record.rows.groupby("point", sort=False)]
    return FoundStudy(
        record.summary.title,
        tuple(axes),
        (*_unpruned(record.rows), *points),
        tuple(_remarks(record.rows, record.summary.command)),
    )


def _point(name: str, part: pd.DataFrame, axes: list[str]) -> FoundPoint:
    values = {axis: str(part[AXIS + axis].iloc[0]) for axis in axes}
    done = part[part["status"] == "done"]
    failed = int((part["status"] == "failed").sum())
    if done.empty:
        return FoundPoint(name, values, len(part), 0, failed)
    means = {key: float(done[key].mean()) for key in NEEDED}
    return FoundPoint(name, values, len(part), len(done), failed, **means)


def _unpruned(table: pd.DataFrame) -> tuple[FoundPoint, ...]:
    """Return the unpruned networks as a point, one run for each fold and seed; nothing where none is measured."""
    columns = [name for name in table.columns if name.startswith("base_")]
    bases = table.drop_duplicates(["fold", "seed", *columns])[columns].dropna(how="all")
    runs = len(table.drop_duplicates(["fold", "seed"]))
    if bases.empty:
        return ()
    means = {name.removeprefix("base_"): float(bases[name].mean()) for name in columns}
    return (FoundPoint(UNPRUNED, {}, max(runs, len(bases)), len(bases), 0, **means),)


def _remarks(table: pd.DataFrame, command: str) -> list[str]:
    failed = table[table["status"] == "failed"]
    remarks = [f"failed: {row['run']}, {row['point']}: {row['reason']}" for _, row in failed.head(10).iterrows()]
    waiting = int((table["status"] == "waiting").sum())
    if len(failed):
        remarks.append(f"failed: {len(failed)} of {len(table)} runs; {command} tries them again.")
    if waiting:
        remarks.append(f"waiting: {waiting} of {len(table)} runs; {command} goes on with them.")
    others = sorted(set(table["coppice_version"]) - {"", __version__})
    if others:
        count = int(table["coppice_version"].isin(others).sum())
        which = f"{count} of {len(table)} runs"
        remarks.append(
            f"from Coppice {', '.join(others)}: {which}; {command} does them again, as this is {__version__}."
        )
    return remarks

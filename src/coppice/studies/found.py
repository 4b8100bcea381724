"""What a study's folder holds, read again: its points with their means."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors, read_json

KIND, VERSION = "study", 1  # of study.json
UNPRUNED = "unpruned"
_TEXTS = ("run", "point", "status", "reason", "fold", "seed", "coppice_version")
_MEANS = ("accuracy", "log_loss", "macs", "params_total", "size_bytes")


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
    """Read ``study.json`` and ``results.csv``.

    Parameters
    ----------
    folder : Path
        Of a study, finished or not.

    Raises
    ------
    CoppiceError
        If it holds no study, or one of a newer format.
    """
    said = read_json(folder / "study.json", "study")
    if not isinstance(said, dict) or said.get("kind") != KIND:
        raise CoppiceError(f"{folder} is not the folder of a study; give one that coppice study run has written.")
    if said["version"] != VERSION:
        raise CoppiceError(f"{folder} has results of format {said['version']}; this Coppice reads {VERSION}.")
    axes = [str(name) for name in said["axes"]]
    table = _table(folder / "results.csv", axes)
    points = [_point(str(name), part, axes) for name, part in table.groupby("point", sort=False)]
    return FoundStudy(
        said["title"],
        tuple(axes),
        (*_unpruned(table), *points),
        tuple(_remarks(table, "coppice study search" if "search" in said else "coppice study run")),
    )


def _table(path: Path, axes: list[str]) -> pd.DataFrame:
    with plain_os_errors("read the results", path):
        try:
            table = pd.read_csv(path, converters={f"axis.{name}": str for name in axes})
        except ValueError as error:  # no text, no rows, or rows of other lengths
            raise CoppiceError(
                f"{path} is damaged ({' '.join(str(error).split())}); coppice study run writes it again."
            ) from error
    for name in (*_TEXTS, *(f"axis.{axis}" for axis in axes), *_MEANS):
        if name not in table:
            raise CoppiceError(f"{path} is damaged: it has no column {name!r}; coppice study run writes it again.")
    for name in _MEANS:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise CoppiceError(f"{path} is damaged: {name} is not all numbers; coppice study run writes it again.")
    return table


def _point(name: str, part: pd.DataFrame, axes: list[str]) -> FoundPoint:
    values = {axis: str(part[f"axis.{axis}"].iloc[0]) for axis in axes}
    done = part[part["status"] == "done"]
    failed = int((part["status"] == "failed").sum())
    if done.empty:
        return FoundPoint(name, values, len(part), 0, failed)
    means = {key: float(done[key].mean()) for key in _MEANS}
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
    others = sorted(set(table["coppice_version"].dropna()) - {__version__})
    if others:
        count = int(table["coppice_version"].isin(others).sum())
        which = f"{count} of {len(table)} runs"
        remarks.append(
            f"from Coppice {', '.join(others)}: {which}; {command} does them again, as this is {__version__}."
        )
    return remarks

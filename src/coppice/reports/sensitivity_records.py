"""A sensitivity study as data: what each coupled group costs when it alone is cut."""

from pathlib import Path
from typing import Any

import pandas as pd

from coppice.core.errors import CoppiceError
from coppice.core.files import read_json
from coppice.reports.measures import Interval, Record

VERSION = 1


class Scores(Record):
    """Scores on the validation clips; intervals as ``interval`` of the study says."""

    accuracy: float
    accuracy_interval: Interval
    macro_accuracy: float
    macro_accuracy_interval: Interval
    log_loss: float
    log_loss_interval: Interval


class CutScores(Scores):
    """The same after a cut, and what has changed: the same clips before and after.

    Attributes
    ----------
    agreement : float
        Share of the clips that get the same label from the pruned and from the unpruned network, right or wrong.
    """

    agreement: float
    agreement_interval: Interval
    accuracy_change: float
    accuracy_change_interval: Interval
    log_loss_change: float
    log_loss_change_interval: Interval


class Point(Record):
    """One group, cut to one ratio.

    Attributes
    ----------
    ratio : float
        Share of the group's filters that was to go.
    removed : int
        Filters of the deciding layer that went.
    scores : CutScores or None
        None when no filter went: then nothing was measured.
    reason : str or None
        Why nothing was measured.
    """

    ratio: float
    removed: int
    scores: CutScores | None = None
    params_total: int | None = None
    macs: int | None = None
    reason: str | None = None


class GroupPoints(Record):
    """One coupled group: its layers, and its points, or the reason why it has none."""

    name: str
    coupled: tuple[str, ...] = ()
    filters: int
    reason: str | None = None
    points: tuple[Point, ...] = ()

    @property
    def title(self) -> str:
        """The deciding layer, and how many go with it.

        Examples
        --------
        >>> GroupPoints(name="conv1", coupled=("conv2", "conv5"), filters=16).title
        'conv1 (+2)'
        """
        return f"{self.name} (+{len(self.coupled)})" if self.coupled else self.name

    @property
    def measured(self) -> tuple[Point, ...]:
        """The points at which something was cut."""
        return tuple(point for point in self.points if point.scores is not None)


class Clips(Record):
    """The clips of a study."""

    name: str
    part: str = "validation"
    clips: int
    recordings: int
    synthetic: bool = False
    split: str = ""


class Sensitivity(Record):
    """A whole study.

    Attributes
    ----------
    model : str
        SHA-256 of the unpruned classifier, as a checkpoint stores it.
    criterion : str
        How filters were ranked.
    ratios : tuple of float
        What was asked of every group.
    looked_at : int
        Training clips that the criterion looked at; 0 for one that looks at weights alone.
    """

    version: int = VERSION
    kind: str = "sensitivity"
    model: str
    criterion: str
    ratios: tuple[float, ...]
    seed: int
    looked_at: int = 0
    clips: Clips
    unpruned: Scores
    params_total: int
    macs: int
    groups: tuple[GroupPoints, ...]
    conventions: dict[str, str]
    environment: dict[str, str]

    @property
    def cut(self) -> tuple[GroupPoints, ...]:
        """The groups of which at least one point was measured."""
        return tuple(group for group in self.groups if group.measured)

    @property
    def left_out(self) -> tuple[tuple[str, str], ...]:
        """Title and reason of everything that was not measured: whole groups, and single ratios."""
        found = []
        for group in self.groups:
            if group.reason is not None:
                found.append((group.title, group.reason))
            found += [(f"{group.title} at {100 * p.ratio:g} %", p.reason) for p in group.points if p.reason]
        return tuple(found)

    def table(self) -> pd.DataFrame:
        """Return one row per group and ratio; a group that was not cut has one row with its reason and no score."""
        rows: list[dict[str, Any]] = []
        for group in self.groups:
            whole = {"group": group.name, "coupled": " ".join(group.coupled), "filters": group.filters}
            if group.reason is not None:
                rows.append(whole | {"reason": group.reason})
            for point in group.points:
                row = whole | point.model_dump(exclude={"scores"}) | {"share_removed": point.removed / group.filters}
                for name, value in (point.scores.model_dump() if point.scores else {}).items():
                    ends = (f"{name}_low", f"{name}_high")
                    row |= dict(zip(ends, value, strict=True)) if name.endswith("_interval") else {name: value}
                rows.append(row)
        columns = ["group", "coupled", "filters", "ratio", "removed", "share_removed"]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return pd.DataFrame(rows, columns=[*columns, *(name for name in names if name not in columns)])


def read_sensitivity(path: Path) -> Sensitivity:
    """Read a ``sensitivity.json``.

    Raises
    ------
    CoppiceError
        If it is missing, damaged, or of another version.
    """
    value = read_json(path, "sensitivity study")
    try:
        study = Sensitivity.model_validate(value)
    except ValueError as error:
        raise CoppiceError(f"{path} is not a sensitivity study; do the study again.") from error
    if study.version != VERSION or study.kind != "sensitivity":
        raise CoppiceError(f"{path} is of version {study.version}; this Coppice reads version {VERSION}.")
    return study

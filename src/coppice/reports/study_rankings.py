"""How well similarities from a few columns stand for exact ones, layer by layer: a chart and a table."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.core.units import percent_text
from coppice.reports.figure import Figure
from coppice.reports.study_looks import group_looks
from coppice.reports.study_records import AXIS, StudyRecord
from coppice.reports.wording import ms_text

_TEXTS = ("run", "point", "layer")
_NUMBERS = ("filters", "kept", "ranking_ms", "similarity_error", "kept_as_exact", "smallest_m")
_ZERO = 1e-9  # an error below is rounding


@dataclass(frozen=True)
class RankingRow:
    """One layer of a point: means over its runs."""

    point: str
    layer: str
    kept: str
    time: str
    error: str
    as_exact: str
    smallest: str


def read_rankings(record: StudyRecord) -> pd.DataFrame:
    """Read ``rankings.csv``; empty where no criterion of the study ranks by similarities.

    Parameters
    ----------
    record : StudyRecord
        Only runs that it has are returned.

    Raises
    ------
    CoppiceError
        If it is damaged.
    """
    path = record.folder / "rankings.csv"
    if not path.is_file():
        return pd.DataFrame(columns=[*_TEXTS, *_NUMBERS, "value"])
    with plain_os_errors("read the rankings", path):
        table = _table(path, path.read_bytes())
    table = table[table["run"].isin(record.rows["run"])].reset_index(drop=True)
    by_run = record.rows.set_index("run")
    column = AXIS + "criterion"
    table["value"] = by_run[column].reindex(table["run"]).to_numpy() if column in by_run else table["point"]
    return table


def _table(path: Path, data: bytes) -> pd.DataFrame:
    again = "coppice study run writes it again."
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CoppiceError(f"{path} is damaged ({error}); {again}") from error
    head, body = lines[0] if lines else [], lines[1:]
    missing = [name for name in (*_TEXTS, *_NUMBERS) if name not in head]
    if missing or any(len(line) != len(head) for line in body):
        what = f"it has no column {missing[0]!r}" if missing else "its rows have different lengths"
        raise CoppiceError(f"{path} is damaged: {what}; {again}")
    table = pd.DataFrame(body, columns=head, dtype=object)
    for name in _NUMBERS:
        numbers = pd.to_numeric(table[name].replace("", None), errors="coerce").astype(np.float64)
        if ((table[name] != "") & ~np.isfinite(numbers)).any():
            raise CoppiceError(f"{path} is damaged: {name} is not all numbers; {again}")
        table[name] = numbers
    return table


def ranking_rows(table: pd.DataFrame) -> tuple[RankingRow, ...]:
    """List each layer of each point, in the order of the results."""
    rows = []
    for (point, layer), part in table.groupby(["point", "layer"], sort=False):
        mean = part[list(_NUMBERS)].mean()
        rows.append(
            RankingRow(
                point=str(point),
                layer=str(layer),
                kept=f"{_range_text(part['kept'])} of {_range_text(part['filters'])}",
                time=ms_text(mean["ranking_ms"]),
                error=error_text(mean["similarity_error"]),
                as_exact=percent_text(mean["kept_as_exact"]),
                smallest=_range_text(part["smallest_m"]),
            )
        )
    return tuple(rows)


def error_text(error: float) -> str:
    """Write a spectral norm with three digits that count; what is only rounding as 0.

    Examples
    --------
    >>> error_text(1.80213), error_text(123.4), error_text(3e-14)
    ('1.80', '123', '0')
    """
    return "0" if error < _ZERO else f"{error:#.3g}".removesuffix(".")


def ranking_figure(table: pd.DataFrame, criteria: Sequence[str]) -> Figure | None:
    """Draw the error of each criterion, or point, in each layer: a mark at the mean, a line over all runs."""
    if table.empty:
        return None
    layers = list(dict.fromkeys(table["layer"]))
    rows = [
        {
            "value": str(value),
            "group": str(layer),
            "mean": float(errors.mean()) if errors.mean() >= _ZERO else 0.0,
            "low": float(errors.min()),
            "high": float(errors.max()),
            "runs": len(errors),
        }
        for (value, layer), errors in table.groupby(["value", "layer"], sort=False)["similarity_error"]
    ]
    x: dict[str, Any] = {"type": "quantitative", "title": "spectral norm of W − W̃", "axis": {"tickCount": 5}}
    x["scale"] = {"zero": True, "nice": True, "padding": 8}
    known = set(table["value"])
    order = [value for value in criteria if value in known] or list(dict.fromkeys(table["value"]))
    y: dict[str, Any] = {
        "field": "value",
        "type": "nominal",
        "title": None,
        "sort": order,
        "axis": {"labelLimit": {"expr": "width < 300 ? 150 : 240"}, "ticks": False, "domain": False},
    }
    looks = {**group_looks(layers), "yOffset": {"field": "group", "type": "nominal", "sort": layers}}
    tooltip = [
        {"field": "value", "type": "nominal", "title": "criterion"},
        {"field": "group", "type": "nominal", "title": "layer"},
        {"field": "mean", "type": "quantitative", "title": "mean error", "format": ".3~g"},
        {"field": "low", "type": "quantitative", "title": "least", "format": ".3~g"},
        {"field": "high", "type": "quantitative", "title": "largest", "format": ".3~g"},
        {"field": "runs", "type": "quantitative", "title": "runs"},
    ]
    rule = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "yOffset": looks["yOffset"]}
    spec = {
        "data": {"values": rows},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": rule | {"color": looks["color"]}},
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": x | {"field": "mean"}, "y": y, **looks, "tooltip": tooltip},
            },
        ],
        "width": "container",
        "height": {"step": 14 + 11 * len(layers), "for": "position"},
        "description": "Spectral norm of the error of the similarities that each criterion ranks by, in each layer.",
    }
    return Figure("similarity-error", spec)


def _range_text(numbers: pd.Series) -> str:
    known = sorted({int(number) for number in numbers.dropna()})
    if not known:
        return "none"
    text = str(known[0]) if len(known) == 1 else f"{known[0]}–{known[-1]}"
    return text if numbers.notna().all() else f"{text}, or none"

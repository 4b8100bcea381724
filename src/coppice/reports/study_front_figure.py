"""A score against a cost: all points of a study, and the front."""

from typing import Any

import numpy as np
import pandas as pd

from coppice.reports.cost_axis import cost_axis
from coppice.reports.study_looks import COLOURS, group_looks
from coppice.reports.study_measures import Cost, Score
from coppice.reports.study_points import UNPRUNED, StudyPoints
from coppice.reports.study_records import AXIS

DATA = "points"
MOST_SVG = 1500  # marks beyond which a page draws on a canvas
MOST_ON_PAPER = 400
PRUNED, ENSEMBLE = "pruned", "ensemble"
_COLOURED = ("criterion", "system", "keep", "layers", "ratios")


def coloured_axis(axes: dict[str, tuple[str, ...]]) -> str | None:
    """Return the axis that chooses the colours of points; None where each has too many values, or one.

    Examples
    --------
    >>> coloured_axis({"ratios": ("0.25", "0.5"), "criterion": ("l1", "random")})
    'criterion'
    """
    ranked = [name for name in _COLOURED if name in axes] + [name for name in axes if name not in _COLOURED]
    return next((name for name in ranked if 2 <= len(axes[name]) <= COLOURS), None)


def front_rows(points: StudyPoints, axes: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Return what the charts of fronts draw, and a table shows: the points with the group that gives their colour.

    Scores and costs are rounded to six digits that count.
    """
    axis = coloured_axis(axes)
    frame = points.frame.copy()
    group = frame[AXIS + axis] if axis else pd.Series(PRUNED, index=frame.index)
    frame["group"] = np.where(frame["unpruned"].astype(bool), UNPRUNED, group)
    frame.loc[frame["ensemble"].astype(bool), "group"] = ENSEMBLE
    for name in frame.columns[frame.dtypes == np.float64]:
        frame[name] = [float(f"{value:.6g}") for value in frame[name]]
    return frame


def on_paper(rows: pd.DataFrame, bit: int) -> pd.DataFrame:
    """Leave all points of one front, and of the others at most :data:`MOST_ON_PAPER`, evenly from the table."""
    marked = (rows["front"].to_numpy() >> bit & 1).astype(bool) | rows["unpruned"].to_numpy(dtype=bool)
    others = np.flatnonzero(~marked)
    if len(others) > MOST_ON_PAPER:
        others = others[np.linspace(0, len(others) - 1, MOST_ON_PAPER).round().astype(int)]
    return rows.iloc[np.sort(np.concatenate([np.flatnonzero(marked), others]))]


def front_chart(
    points: StudyPoints, axes: dict[str, tuple[str, ...]], score: Score, cost: Cost
) -> dict[str, Any] | None:
    """Draw a score against a cost from the data set ``points``; None where no point has both.

    Parameters
    ----------
    points : StudyPoints
        All of a study.
    axes : dict
        Axes with their values in order.
    score, cost : Score, Cost
        What is drawn.

    Returns
    -------
    dict
        A Vega-Lite specification without data and colours.
    """
    known = points.frame.dropna(subset=[score.field, cost.field])
    if known.empty:
        return None
    axis = coloured_axis(axes)
    least, most = known[cost.field].min(), known[cost.field].max()
    x = cost_axis(cost, least, most)
    y = {"type": "quantitative", "title": score.title, "scale": {"zero": False, "nice": True}}
    groups = [*(axes[axis] if axis else [PRUNED]), *([ENSEMBLE] if points.frame["ensemble"].any() else [])]
    # A value of the axis may have that name, too.
    drawn = UNPRUNED in groups or known["unpruned"].any()
    looks = group_looks([group for group in groups if group != UNPRUNED], unpruned=UNPRUNED if drawn else None)
    digits = ".1f" if score.scale == 100 else ".3f"
    tooltip = [
        {"field": "point", "type": "nominal", "title": "point"},
        {"field": "value", "type": "quantitative", "title": score.name, "format": digits},
        {"field": "interval", "type": "nominal", "title": "95 % interval"},
        {"field": cost.field, "type": "quantitative", "title": cost.name, "format": ",.6~g"},
        {"field": "done", "type": "quantitative", "title": "runs"},
    ]
    marks = {"x": x, "y": y | {"field": "value"}, **looks, "tooltip": tooltip}

    def layer(filtered: str, mark: dict[str, Any], encoding: dict[str, Any]) -> dict[str, Any]:
        return {"transform": [{"filter": filtered}], "mark": mark, "encoding": encoding}

    dot = {"type": "point", "filled": True, "cursor": "pointer"}
    on_front, off_front = "datum.on_front == 1", "datum.on_front != 1"
    rule = {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": looks["color"]}
    return {
        "data": {"name": DATA},
        "transform": [
            {"filter": f"datum.{score.field} != null && datum.{cost.field} != null"},
            {"calculate": f"{score.scale:g} * datum.{score.field}", "as": "value"},
            *({"calculate": f"{score.scale:g} * datum.{score.field}_{end}", "as": end} for end in ("low", "high")),
            {
                "calculate": f"datum.{score.field}_low == null ? '–' : "
                f"format(datum.low, '{digits}') + ' to ' + format(datum.high, '{digits}')",
                "as": "interval",
            },
            {"calculate": f"(datum.front >> {points.bit(score, cost)}) & 1", "as": "on_front"},
        ],
        "layer": [
            layer(f"{off_front} && datum.whole && !datum.unpruned", dot | {"size": 36, "opacity": 0.4}, marks),
            layer("!datum.whole", dot | {"filled": False, "size": 36, "opacity": 0.6}, marks),
            layer(
                on_front,
                {"type": "line", "interpolate": "step-after", "style": "quiet-rule"},
                {"x": x, "y": y | {"field": "value"}},
            ),
            layer(f"{on_front} && datum.{score.field}_low != null", {"type": "rule", "strokeWidth": 1.5}, rule),
            layer(on_front, dot | {"size": 90, "opacity": 1}, marks),
            layer(f"{off_front} && datum.unpruned", dot | {"size": 90, "opacity": 1}, marks),
        ],
        "width": "container",
        "height": 360,
        "description": f"{score.title} of each point against {cost.title}; large marks with a line are the front.",
    }


def plain_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON-able data, None for what is not known."""
    columns = {name: plain_column(rows[name]) for name in rows.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def plain_column(column: pd.Series) -> list[Any]:
    """Return a column as JSON-able data, None for what is not known."""
    return [None if isinstance(value, float) and np.isnan(value) else value for value in column.tolist()]

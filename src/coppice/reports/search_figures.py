"""How a search went: the fronts that it had on its way, and how much of the plane they covered."""

import math
from typing import Any

from coppice.reports.cost_axis import cost_axis
from coppice.reports.figure import Figure
from coppice.reports.search_records import SearchRecord
from coppice.reports.study_front_figure import plain_rows
from coppice.reports.study_looks import group_looks
from coppice.reports.wording import plural

_SHARES = (0.1, 0.25, 0.5, 1.0)


def stages(search: SearchRecord) -> dict[int, str]:
    """Return how many trials there were at each moment whose front is drawn, with its name."""
    start, whole = search.start, len(search.done)
    made = {start: "the grid alone"} if start else {}
    for share in _SHARES:
        own = math.ceil(share * (whole - start))
        if own:
            made[start + own] = f"after {plural(own, 'trial')}"
    return made


def search_figures(search: SearchRecord) -> tuple[Figure, ...]:
    """Draw the growing front and the hypervolume; nothing where no trial is done."""
    if search.done.empty:
        return ()
    return Figure("search-front", _fronts(search)), Figure("search-hypervolume", _hypervolume(search))


def _fronts(search: SearchRecord) -> dict[str, Any]:
    score, cost = search.score, search.cost
    named = stages(search)
    most = float(search.done[cost.field].max())
    steps: dict[str, list[dict[str, Any]]] = {}
    for count, name in named.items():
        rows = plain_rows(search.front_after(count)[["trial", "point", cost.field, score.field]])
        rows.append(rows[-1] | {cost.field: most})  # what costs more and is no better
        steps[name] = [row | {"group": name, "value": score.scale * row[score.field]} for row in rows]
    dots = [
        row | {"value": score.scale * row[score.field], "source": "grid" if row["grid"] else "search"}
        for row in plain_rows(search.done[["trial", "grid", "point", cost.field, score.field]])
    ]
    low, high = min(row[cost.field] for row in dots), max(row[cost.field] for row in dots)
    x = cost_axis(cost, low, high)
    y = {"field": "value", "type": "quantitative", "title": score.title, "scale": {"zero": False, "nice": True}}
    looks = group_looks(list(named.values()), lines=True)
    tooltip = [
        {"field": "trial", "type": "quantitative", "title": "trial", "format": "d"},
        {"field": "point", "type": "nominal", "title": "point"},
        {
            "field": "value",
            "type": "quantitative",
            "title": score.name,
            "format": ".1f" if score.scale == 100 else ".3f",
        },
        {"field": cost.field, "type": "quantitative", "title": cost.name, "format": ",.6~g"},
        {"field": "source", "type": "nominal", "title": "from"},
    ]
    color = {"color": looks["color"]}
    front = set(search.front_after(len(search.done)).index)
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [row for place, row in enumerate(dots) if place not in front]},
            "mark": {"type": "point", "filled": True, "size": 30, "opacity": 0.35, "style": "quiet-rule"},
            "encoding": {"x": x, "y": y, "tooltip": tooltip},
        }
    ]
    for number, name in enumerate(reversed(steps)):  # the last one wide and below, so that all can be seen
        layers.append(
            {
                "data": {"values": steps[name]},
                "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5 if number else 4},
                "encoding": {"x": x, "y": y, **color},
            }
        )
    layers.append(
        {
            "data": {"values": [row | {"group": list(steps)[-1]} for place, row in enumerate(dots) if place in front]},
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
            "encoding": {"x": x, "y": y, "tooltip": tooltip, **color},
        }
    )
    return {
        "layer": layers,
        "width": "container",
        "height": 360,
        "description": f"{score.title} of each trial against {cost.title}; the lines are the fronts on the way.",
    }


def _hypervolume(search: SearchRecord) -> dict[str, Any]:
    known = search.done.iloc[max(0, search.start - 1) :]  # of the grid, what all its points cover together
    rows = plain_rows(known[["trial", "point", "hypervolume", "joined"]])
    x = {
        "field": "trial",
        "type": "quantitative",
        "title": "trials that have ended" + ("; 0 is the grid alone" if search.start else ""),
        "scale": {"zero": False, "nice": False, "padding": 8},
        "axis": {"format": "d", "tickMinStep": 1, "grid": False},
    }
    y = {
        "field": "hypervolume",
        "type": "quantitative",
        "title": "hypervolume",
        "scale": {"zero": False, "nice": True, "padding": 6},
    }
    tooltip = [
        {"field": "trial", "type": "quantitative", "title": "trial", "format": "d"},
        {"field": "point", "type": "nominal", "title": "point"},
        {"field": "hypervolume", "type": "quantitative", "title": "hypervolume", "format": ".4f"},
    ]
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": rows},
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
            "encoding": {"x": x, "y": y},
        },
        {
            "data": {"values": [row for row in rows if row["joined"] and row["trial"]]},
            "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
            "encoding": {"x": x, "y": y, "tooltip": tooltip},
        },
    ]
    return {
        "layer": layers,
        "width": "container",
        "height": 220,
        "description": "Hypervolume of the front after each trial; marks are the trials that joined it.",
    }

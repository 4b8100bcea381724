"""Lines of a score with error bars, along an axis or against what fine-tuning took."""

from typing import Any

from coppice.reports.study_curves import Curve
from coppice.reports.study_looks import group_looks

_MACS = ((1e15, "PMACs"), (1e12, "TMACs"), (1e9, "GMACs"), (1e6, "MMACs"), (1.0, "MACs"))
_WIDE = 100.0  # from this ratio of the largest number to the smallest on, numbers stand in logarithmic distances
_APART = 5.0  # pixels between lines, so that error bars at one place do not cover each other


def curve_chart(curve: Curve) -> dict[str, Any]:
    """Draw one score along an axis, one line for each value of another, as a Vega-Lite specification."""
    score, apart = curve.score, _APART if curve.against is None else 0.0  # what was measured stays where it is
    x = _x(curve)
    y = {"type": "quantitative", "title": score.title, "scale": {"zero": False, "nice": True}}
    looks = group_looks(list(curve.lines), lines=True)
    if len(curve.lines) == 1:
        looks = {name: look | {"legend": None} for name, look in looks.items()}
    layers: list[dict[str, Any]] = []
    if curve.unpruned is not None:
        layers.append(
            {
                "data": {"values": [{"value": score.scale * curve.unpruned}]},
                "mark": {"type": "rule", "style": "quiet-rule", "strokeDash": [4, 3]},
                "encoding": {"y": y | {"field": "value"}},
            }
        )
    for number, name in enumerate(curve.lines):
        offset = apart * (number - (len(curve.lines) - 1) / 2)
        layers.append(_line(curve, name, offset, x, y, looks))
    joined = "" if curve.against is None else f", joined in the order of {curve.along}"
    at = "" if curve.where is None else f", {curve.where[0]} {curve.where[1]}"
    return {
        "layer": layers,
        "width": "container",
        "height": 340,
        "description": f"{score.title} against {x['title']}{at}{joined}, with 95 % intervals"
        + ("; the dashed line is the unpruned network." if curve.unpruned is not None else "."),
    }


def _x(curve: Curve) -> dict[str, Any]:
    """Return the encoding of what stands below: numbers from 0 on, percents, or words in their order."""
    x: dict[str, Any] = {"field": "x", "title": curve.title}
    numbers = curve.numbers
    if curve.against is not None:
        unit = _unit(curve)[1]
        x["title"] += f" ({unit})" if unit else ""
        return x | {
            "type": "quantitative",
            "scale": {"zero": True, "nice": True, "padding": 8},
            "axis": {"grid": False, "labelOverlap": True, "tickCount": 6},
        }
    if numbers is None:
        return x | {"type": "nominal", "sort": list(curve.values), "axis": {"labelAngle": 0, "labelLimit": 90}}
    padding = 8 + _APART * len(curve.lines) / 2
    least, most = min(numbers), max(numbers)
    kind = "log" if 0 < least <= most / _WIDE else "linear"
    return x | {
        "type": "quantitative",
        "scale": {"type": kind, "domain": [least, most], "nice": False, "padding": padding},
        "axis": {"values": list(numbers), "grid": False, "labelOverlap": True},
    }


def _unit(curve: Curve) -> tuple[float, str]:
    """Return by what the numbers below are divided, and the unit that makes of MACs."""
    most = max(point.spent or 0.0 for point in curve.points)
    if curve.against is None or curve.against.field != "finetune_macs":
        return 1.0, ""
    return next((size, unit) for size, unit in _MACS if most >= size or size == 1)


def _line(
    curve: Curve, name: str, offset: float, x: dict[str, Any], y: dict[str, Any], looks: dict[str, Any]
) -> dict[str, Any]:
    digits = ".1f" if curve.score.scale == 100 else ".3f"
    tooltip = [
        {"field": "group", "type": "nominal", "title": curve.line or "score"},
        {"field": "x", "type": x["type"], "title": curve.along},
        {"field": "value", "type": "quantitative", "title": curve.score.name, "format": digits},
        {"field": "low", "type": "quantitative", "title": "95 % from", "format": digits},
        {"field": "high", "type": "quantitative", "title": "to", "format": digits},
        {"field": "runs", "type": "quantitative", "title": "runs"},
    ]
    if curve.against is not None:
        tooltip[1] = {"field": "along", "type": "nominal", "title": curve.along}
        tooltip.insert(2, {"field": "x", "type": "quantitative", "title": x["title"], "format": ",.4~r"})
    value = y | {"field": "value"}
    drawn = {"strokeDash": looks["strokeDash"]} if "strokeDash" in looks else {}
    if curve.against is not None:
        drawn["order"] = {"field": "place", "type": "quantitative"}
    dot: dict[str, Any] = {"type": "point", "size": 60, "xOffset": offset, "opacity": 1}
    marked = {"y": value, "shape": looks["shape"], "tooltip": tooltip}
    return {
        "data": {"values": _rows(curve, name)},
        "encoding": {"x": x, "color": looks["color"]},
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2, "xOffset": offset}, "encoding": {"y": value, **drawn}},
            {
                "transform": [{"filter": "datum.low != null"}],
                "mark": {"type": "rule", "strokeWidth": 1.5, "xOffset": offset},
                "encoding": {"y": y | {"field": "low"}, "y2": {"field": "high"}},
            },
            {"transform": [{"filter": "datum.whole"}], "mark": dot | {"filled": True}, "encoding": marked},
            {"transform": [{"filter": "!datum.whole"}], "mark": dot | {"filled": False}, "encoding": marked},
        ],
    }


def _rows(curve: Curve, name: str) -> list[dict[str, Any]]:
    """Return the points of one line in the order of the axis, as drawn."""
    places: dict[str, float | str] = dict(zip(curve.values, curve.numbers or curve.values, strict=True))
    order = dict(zip(curve.values, curve.numbers or range(len(curve.values)), strict=True))
    points = sorted((point for point in curve.points if point.line == name), key=lambda point: order[point.x])
    scale, unit = curve.score.scale, _unit(curve)[0]
    rows = []
    for point in points:
        row: dict[str, Any] = {"x": places[point.x]}
        if point.spent is not None:
            row = {"x": float(f"{point.spent / unit:.6g}"), "along": point.x, "place": order[point.x]}
        row |= {
            "group": name,
            "value": round(scale * point.mean, 6),
            "low": None if point.interval is None else round(scale * point.interval[0], 6),
            "high": None if point.interval is None else round(scale * point.interval[1], 6),
            "runs": point.runs,
            "whole": point.whole,
        }
        rows.append(row)
    return rows

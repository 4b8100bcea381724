"""Lines of a score with error bars, against a ratio, a set of layers or a share of clips."""

from typing import Any

from coppice.reports.study_curves import Curve
from coppice.reports.study_looks import group_looks

_APART = 5.0  # pixels between lines, so that error bars at one place do not cover each other


def curve_chart(curve: Curve) -> dict[str, Any]:
    """Draw one score along an axis, one line for each value of another, as a Vega-Lite specification."""
    numbers, score = curve.numbers, curve.score
    x: dict[str, Any] = {"field": "x", "title": curve.title}
    if numbers is not None:
        x |= {
            "type": "quantitative",
            "scale": {
                "domain": [min(numbers), max(numbers)],
                "nice": False,
                "padding": 8 + _APART * len(curve.lines) / 2,
            },
            "axis": {"values": list(numbers), "grid": False, "labelOverlap": True},
        }
    else:
        x |= {"type": "nominal", "sort": list(curve.values), "axis": {"labelAngle": 0, "labelLimit": 90}}
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
        offset = _APART * (number - (len(curve.lines) - 1) / 2)
        layers.append(_line(curve, name, offset, x, y, looks))
    at = "" if curve.where is None else f", {curve.where[0]} {curve.where[1]}"
    return {
        "layer": layers,
        "width": "container",
        "height": 340,
        "description": f"{score.title} against {curve.title}{at}, with 95 % intervals"
        + ("; the dashed line is the unpruned network." if curve.unpruned is not None else "."),
    }


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
    value = y | {"field": "value"}
    dashes = {"strokeDash": looks["strokeDash"]} if "strokeDash" in looks else {}
    dot: dict[str, Any] = {"type": "point", "size": 60, "xOffset": offset, "opacity": 1}
    marked = {"y": value, "shape": looks["shape"], "tooltip": tooltip}
    return {
        "data": {"values": _rows(curve, name)},
        "encoding": {"x": x, "color": looks["color"]},
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2, "xOffset": offset}, "encoding": {"y": value, **dashes}},
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
    scale = curve.score.scale
    order = {value: number for number, value in enumerate(curve.values)}
    points = sorted((point for point in curve.points if point.line == name), key=lambda point: order[point.x])
    return [
        {
            "x": places[point.x],
            "group": name,
            "value": round(scale * point.mean, 6),
            "low": None if point.interval is None else round(scale * point.interval[0], 6),
            "high": None if point.interval is None else round(scale * point.interval[1], 6),
            "runs": point.runs,
            "whole": point.whole,
        }
        for point in points
    ]

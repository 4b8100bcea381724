"""Differences between the values of an axis, pair by pair, with intervals."""

from typing import Any

from coppice.reports.study_pairs import Comparison, p_text

_SHOWN, _NOT_SHOWN = "they differ", "none is shown"


def pair_chart(comparison: Comparison) -> dict[str, Any]:
    """Draw the difference of each pair with its interval, as a Vega-Lite specification."""
    score = comparison.score
    rows = [
        {
            "pair": f"{pair.first} − {pair.second}",
            "mean": score.scale * pair.test.mean,
            "low": None if pair.test.interval is None else score.scale * pair.test.interval[0],
            "high": None if pair.test.interval is None else score.scale * pair.test.interval[1],
            "p": p_text(pair),
            "shown": _SHOWN if pair.differ else _NOT_SHOWN,
            "runs": pair.runs,
        }
        for pair in comparison.pairs
        if pair.runs
    ]
    title = f"difference in {score.name} ({'points' if score.scale == 100 else 'nats'})"
    digits = ".2f" if score.scale == 100 else ".3f"
    x = {
        "type": "quantitative",
        "title": title,
        "axis": {"tickCount": 5, "labelOverlap": True, "labelSeparation": 8, "titleAnchor": "end"},
    }
    y = {
        "field": "pair",
        "type": "nominal",
        "title": None,
        "sort": [row["pair"] for row in rows],
        "axis": {"labelLimit": {"expr": "width < 300 ? 150 : 240"}, "ticks": False, "domain": False},
    }
    color = {
        "field": "shown",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [_NOT_SHOWN, _SHOWN]},
        "legend": {"columns": {"expr": "width < 440 ? 1 : 2"}},
    }
    tooltip = [
        {"field": "pair", "type": "nominal"},
        {"field": "mean", "type": "quantitative", "title": "difference", "format": digits},
        {"field": "low", "type": "quantitative", "title": "95 % from", "format": digits},
        {"field": "high", "type": "quantitative", "title": "to", "format": digits},
        {"field": "p", "type": "nominal", "title": "Holm"},
        {"field": "runs", "type": "quantitative", "title": "pairs of runs"},
    ]
    return {
        "layer": [
            {
                "data": {"values": [{"mean": 0}]},
                "mark": {"type": "rule", "style": "quiet-rule", "strokeDash": [4, 3]},
                "encoding": {"x": x | {"field": "mean"}},
            },
            {
                "data": {"values": rows},
                "transform": [{"filter": "datum.low != null"}],
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "color": color},
            },
            {
                "data": {"values": rows},
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {"x": x | {"field": "mean"}, "y": y, "color": color, "tooltip": tooltip},
            },
        ],
        "width": "container",
        "height": {"step": 22},
        "description": f"{title} of each pair of values of {comparison.axis}, with 95 % intervals.",
    }

"""Accuracy against what it costs: parameters, MACs, bytes, latency."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import altair as alt

from coppice.reports.run_records import RunRecord
from coppice.reports.wording import UNKNOWN, bytes_or_dash, ms_text, percent_interval_text, whole_or_dash

UNPRUNED = "unpruned"


@dataclass(frozen=True)
class Point:
    """One stage in the plane of accuracy and cost; accuracy in percent."""

    stage: str
    system: str
    step: str
    accuracy: float
    interval: tuple[float, float] | None
    costs: dict[str, float | None]


@dataclass(frozen=True)
class Cost:
    """One way to count what a network costs: field, title and the label expression of its axis."""

    field: str
    title: str


LATENCY = Cost("latency", "latency p50 (ms)")
COSTS = (
    Cost("params", "parameters"),
    Cost("macs", "MACs per clip"),
    Cost("bytes", "bytes, as stored"),
    LATENCY,
)
STEPS = {
    "train": "trained",
    "prune": "cut, not yet fine-tuned",
    "dense": "dense layer shrunk",
    "finetune": "fine-tuned",
    "float16": "stored as float16",
    "bfloat16": "stored as bfloat16",
    "dynamic_int8": "large weights stored as int8",
    "int8": "computed in int8",
}


def run_points(run: RunRecord) -> list[Point]:
    """Return one point per stage that was both evaluated and counted."""
    points = []
    for stage in run.stages:
        if stage.test is None or stage.complexity is None:
            continue
        times = run.latency_of(stage)
        points.append(
            Point(
                stage=stage.entry.title,
                system=stage.entry.system or UNPRUNED,
                step=STEPS.get(stage.entry.kind, stage.entry.kind),
                accuracy=stage.test.accuracy,
                interval=stage.test.accuracy_interval,
                costs={
                    "params": stage.complexity.params_total,
                    "macs": stage.complexity.macs,
                    "bytes": stage.complexity.size_bytes_stored,
                    "latency": times[0].latency_ms_p50 if times else None,
                },
            )
        )
    return points


def accuracy_against_cost(points: Iterable[Point], systems: Iterable[str]) -> alt.LayerChart | None:
    """Draw accuracy against a cost that the reader chooses; None where there is nothing to draw.

    Parameters
    ----------
    points : iterable of Point
        One per stage.
    systems : iterable of str
        In the order of their colours, the headline system first.
    """
    points = list(points)
    known = [cost for cost in COSTS if any(point.costs.get(cost.field) is not None for point in points)]
    if not known:
        return None
    rows = [row for cost in known for row in _rows(points, cost)]
    choice = alt.param(
        name="cost",
        value=known[0].title,
        bind=alt.binding_radio(options=[cost.title for cost in known], name="Against "),
    )
    return _chart(rows, systems, choice=choice)


def accuracy_against(points: Iterable[Point], systems: Iterable[str], cost: Cost) -> alt.LayerChart | None:
    """Draw accuracy against one cost, without a control, for paper; None where that cost is unknown."""
    rows = _rows(list(points), cost)
    return _chart(rows, systems, x_title=cost.title) if rows else None


def _rows(points: list[Point], cost: Cost) -> list[dict[str, Any]]:
    rows = []
    for point in points:
        value = point.costs.get(cost.field)
        if value is None:
            continue
        low, high = point.interval or (None, None)
        rows.append(
            {
                "stage": point.stage,
                "system": point.system,
                "step": point.step,
                "accuracy": 100 * point.accuracy,
                "low": None if low is None else 100 * low,
                "high": None if high is None else 100 * high,
                "interval": percent_interval_text(point.interval),
                "cost": cost.title,
                "value": value,
                "written": _written(cost, value),
            }
        )
    return rows


def _written(cost: Cost, value: float | None) -> str:
    if value is None:
        return UNKNOWN
    if cost.field == "bytes":
        return bytes_or_dash(value)
    return ms_text(value) if cost.field == "latency" else whole_or_dash(value)


def _chart(
    rows: list[dict[str, Any]], systems: Iterable[str], *, x_title: str | None = None, choice: Any = None
) -> alt.LayerChart:
    order = [UNPRUNED, *systems]
    steps = [step for step in STEPS.values() if any(row["step"] == step for row in rows)]
    x = alt.X(
        "value:Q",
        title=x_title,
        scale=alt.Scale(zero=True, nice=True),
        axis=alt.Axis(format="~s", tickCount=5, grid=False),
    )
    y_scale = alt.Scale(zero=False, nice=True)
    color = alt.Color(
        "system:N",
        title=None,
        scale=alt.Scale(domain=order),
        legend=alt.Legend(columns=2, symbolType="circle"),
    )
    layers = []
    for system in order:
        for step in steps:
            chosen = [row for row in rows if row["system"] == system and row["step"] == step]
            if not chosen:
                continue
            offset: Any = _offset(order, system, steps, step)
            if choice is not None:  # a measured time differs anyway, and is shown where it is
                offset = alt.ExprRef(f"cost == '{LATENCY.title}' ? 0 : {offset}")
            elif x_title == LATENCY.title:
                offset = 0
            base = alt.Chart(alt.Data(values=chosen)).encode(x=x, color=color)
            if choice is not None:
                base = base.transform_filter("datum.cost == cost")
            layers.append(
                base.mark_rule(strokeWidth=1.5, xOffset=offset).encode(
                    y=alt.Y("low:Q", title="test accuracy (%)", scale=y_scale), y2="high:Q"
                )
            )
            layers.append(
                base.mark_point(filled=True, size=100, opacity=1, xOffset=offset).encode(
                    y=alt.Y("accuracy:Q", title="test accuracy (%)", scale=y_scale),
                    shape=alt.Shape("step:N", title=None, scale=alt.Scale(domain=steps), legend=alt.Legend(columns=2)),
                    tooltip=[
                        alt.Tooltip("stage:N", title="stage"),
                        alt.Tooltip("accuracy:Q", title="accuracy (%)", format=".1f"),
                        alt.Tooltip("interval:N", title="95 % interval"),
                        alt.Tooltip("cost:N", title="cost"),
                        alt.Tooltip("written:N", title="amount"),
                    ],
                )
            )
    chart = alt.layer(*layers)
    if choice is not None:
        named = alt.TitleParams(alt.ExprRef("cost"), orient="bottom", anchor="middle", fontWeight="normal", fontSize=12)
        chart = chart.add_params(choice).properties(title=named)
    return chart.properties(
        width="container",
        height=340,
        description="Test accuracy of each stage, with 95 % intervals, against what the stage costs.",
    )


def _offset(order: list[str], system: str, steps: list[str], step: str) -> float:
    # Systems that cut equally many filters cost the same: their marks stand side by side, not on each other.
    if system == UNPRUNED:
        return 7.0 * (steps.index(step) > 0)
    cut = order[1:]
    return 17.0 * (cut.index(system) - (len(cut) - 1) / 2) + 6.0 * (steps.index(step) - len(steps) / 2)

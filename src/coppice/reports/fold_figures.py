"""Accuracy of every fold and seed, stage by stage."""

from collections.abc import Iterable
from typing import Any

import altair as alt

from coppice.reports.cost_figures import STEPS, UNPRUNED, Point
from coppice.reports.cross_validation_records import CrossValidationRecord


def cross_validation_points(record: CrossValidationRecord) -> list[Point]:
    """Return one point per stage, means over folds and seeds."""
    points = []
    for stage in record.summary.stages:
        if stage.accuracy is None:
            continue
        sizes = {"float16": stage.size_bytes_float16, "bfloat16": stage.size_bytes_float16}
        sizes |= dict.fromkeys(("dynamic_int8", "int8"), stage.file_bytes)
        size = sizes.get(stage.kind, stage.size_bytes_float32)
        points.append(
            Point(
                stage=stage.title,
                system=stage.system or UNPRUNED,
                step=STEPS.get(stage.kind, stage.kind),
                accuracy=stage.accuracy.mean,
                interval=stage.accuracy.interval,
                costs={
                    "params": stage.params_total.mean if stage.params_total else None,
                    "macs": stage.macs.mean if stage.macs else None,
                    "bytes": size.mean if size else None,
                },
            )
        )
    return points


def fold_dots(record: CrossValidationRecord, systems: Iterable[str]) -> alt.LayerChart | None:
    """Draw each run's accuracy as a dot per fold, one row of dots per system; None without scores per run.

    Only the first and the last stage of each system are drawn: what it started from and what it came to.
    """
    last = [record.unpruned, *(record.last_stage(system) for system in systems)]
    stages = [stage for stage in last if stage is not None]
    rows: list[dict[str, Any]] = [
        {
            "system": stage.system or UNPRUNED,
            "stage": stage.title,
            "fold": "all" if score.fold is None else str(score.fold),
            "seed": score.seed,
            "accuracy": 100 * score.accuracy,
        }
        for stage in stages
        for score in stage.per_run
        if score.accuracy is not None
    ]
    if not rows:
        return None
    folds = sorted({row["fold"] for row in rows}, key=lambda fold: (len(fold), fold))
    means = [
        {"system": stage.system or UNPRUNED, "fold": fold, "mean": 100 * stage.accuracy.mean}
        for stage in stages
        if stage.accuracy is not None
        for fold in folds
    ]
    order = [stage.system or UNPRUNED for stage in stages]
    y = alt.Y("system:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=120))
    color = alt.Color("system:N", scale=alt.Scale(domain=order), legend=None)
    x_scale = alt.Scale(zero=False, nice=True, padding=10)
    offset = alt.YOffset("fold:N", sort=folds)
    dots = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=70, opacity=0.75)
        .encode(
            x=alt.X("accuracy:Q", title="test accuracy (%)", scale=x_scale, axis=alt.Axis(tickCount=6)),
            y=y,
            yOffset=offset,
            color=color,
            tooltip=[
                alt.Tooltip("stage:N"),
                alt.Tooltip("fold:N"),
                alt.Tooltip("seed:N"),
                alt.Tooltip("accuracy:Q", title="accuracy (%)", format=".1f"),
            ],
        )
    )
    ticks = (
        alt.Chart(alt.Data(values=means))
        .mark_tick(thickness=2, size=14, opacity=0.9)
        .encode(x=alt.X("mean:Q", scale=x_scale), y=y, yOffset=offset, color=color)
    )
    return alt.layer(ticks, dots).properties(
        width="container",
        height={"step": max(40, 12 * len(folds) + 12), "for": "position"},
        description="Test accuracy of each run, one line of dots per fold, with the mean of each system.",
    )

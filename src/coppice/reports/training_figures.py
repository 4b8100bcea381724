"""Training curves: log-loss on training and validation clips per epoch, with the epoch that was kept."""

from typing import Any

import altair as alt

from coppice.reports.run_records import RunRecord, StageRecord


def fitted_stages(run: RunRecord) -> list[StageRecord]:
    """Return the stages whose training history was kept."""
    return [stage for stage in run.stages if stage.history]


def shared_range(stages: list[StageRecord]) -> tuple[float, float]:
    """Return one log-loss range for the curves of several stages, so that they can be compared by eye.

    A diverged first epoch is not allowed to flatten all the others: the range ends at 1.5 times the largest
    log-loss after the first epoch.
    """
    first: list[float] = []
    later: list[float] = []
    for stage in stages:
        for index, epoch in enumerate(stage.history):
            losses = [v for v in (epoch.train_log_loss, epoch.validation_log_loss) if v is not None]
            (later if index else first).extend(losses)
    highest = max(first + later, default=1.0)
    if later:
        highest = min(highest, 1.5 * max(later))
    return 0.0, 1.15 * max(highest, 0.1)  # room above for the note on the kept epoch


def training_curve(stage: StageRecord, loss_range: tuple[float, float]) -> alt.LayerChart:
    """Draw the curve of one fitted stage.

    Parameters
    ----------
    stage : StageRecord
        With a history.
    loss_range : (float, float)
        Of the vertical axis, in nats (see :func:`shared_range`).
    """
    rows: list[dict[str, Any]] = []
    for epoch in stage.history:
        for side, loss in (("training", epoch.train_log_loss), ("validation", epoch.validation_log_loss)):
            if loss is not None:
                accuracy = epoch.validation_accuracy
                rows.append({"epoch": epoch.epoch, "side": side, "log_loss": loss, "accuracy": accuracy})
    sides = [side for side in ("training", "validation") if any(row["side"] == side for row in rows)]
    epochs = [epoch.epoch for epoch in stage.history]
    x_scale = alt.Scale(domain=[min(epochs), max(*epochs, min(epochs) + 1)], nice=False, zero=False)
    x = alt.X(
        "epoch:Q",
        title="epoch",
        scale=x_scale,
        axis=alt.Axis(grid=False, values=_ticks(min(epochs), max(epochs)), format="d"),
    )
    y = alt.Y("log_loss:Q", title="log-loss", scale=alt.Scale(domain=list(loss_range), nice=False))
    color = alt.Color(
        "side:N",
        title=None,
        scale=alt.Scale(domain=sides),
        legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3),
    )
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=2, clip=True, point=len(stage.history) == 1)
        .encode(
            x=x,
            y=y,
            color=color,
            strokeDash=alt.StrokeDash("side:N", legend=None, sort=["validation", "training"]),
            tooltip=[
                alt.Tooltip("epoch:Q"),
                alt.Tooltip("side:N"),
                alt.Tooltip("log_loss:Q", title="log-loss", format=".3f"),
                alt.Tooltip("accuracy:Q", title="validation accuracy", format=".1%"),
            ],
        )
    )
    layers = [lines]
    best = best_epoch(stage)
    if best is not None:
        at_best = alt.Chart(alt.Data(values=[{"epoch": best, "text": f"kept: epoch {best}"}]))
        late = best > sum(epochs) / len(epochs)
        layers.append(at_best.mark_rule(style="quiet-rule", strokeDash=[2, 3]).encode(x=x))
        layers.append(
            at_best.mark_text(
                style="quiet-text", align="right" if late else "left", dx=-5 if late else 5, baseline="top"
            ).encode(x=x, y=alt.value(2), text="text:N")
        )
    said = f" The network of epoch {best} was kept." if best is not None else ""
    return alt.layer(*layers).properties(
        width="container",
        height=200,
        title=stage.entry.title,
        description=f"Log-loss of “{stage.entry.title}” on {' and '.join(sides)} clips per epoch.{said}",
    )


def best_epoch(stage: StageRecord) -> int | None:
    """Return the epoch whose network was kept: as recorded, else that of the lowest validation log-loss."""
    training = stage.metrics.training
    if training is not None and training.best_epoch is not None:
        return training.best_epoch
    known = [(e.validation_log_loss, e.epoch) for e in stage.history if e.validation_log_loss is not None]
    return min(known)[1] if known else None


def _ticks(first: int, last: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, last + 1) if (last - first) / step <= 6)
    return [epoch for epoch in range(first, last + 1) if epoch % step == 0 or step == 1]

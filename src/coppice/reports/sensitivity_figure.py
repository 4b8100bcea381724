"""Scores against the share of filters removed, one line per coupled group."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from coppice.reports.sensitivity_records import GroupPoints, Sensitivity
from coppice.reports.wording import number_interval_text, percent_interval_text

_COLOURS = 6  # after the grey one, which stands for the unpruned network everywhere
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [1, 3])


@dataclass(frozen=True)
class Measure:
    """One score that is drawn: its field, its title, and whether it is a share (drawn in percent)."""

    field: str
    title: str
    share: bool = True

    def drawn(self, value: float) -> float:
        """Return a value as the axis has it."""
        return 100 * value if self.share else value


MEASURES = (
    Measure("agreement", "agreement (%)"),
    Measure("accuracy", "accuracy (%)"),
    Measure("macro_accuracy", "macro accuracy (%)"),
    Measure("log_loss", "log-loss (nats)", share=False),
)


def sensitivity_chart(study: Sensitivity) -> alt.LayerChart | None:
    """Draw the score that the reader chooses; None where nothing was cut."""
    rows = [row for measure in MEASURES for row in _rows(study, measure)]
    if not rows:
        return None
    choice = alt.param(
        name="score",
        value=MEASURES[0].title,
        bind=alt.binding_radio(options=[measure.title for measure in MEASURES], name="Score "),
    )
    return _chart(study, rows, choice)


def sensitivity_against(study: Sensitivity, measure: Measure) -> alt.LayerChart | None:
    """Draw one score without controls, for paper; None where nothing was cut."""
    rows = _rows(study, measure)
    return _chart(study, rows, None, title=measure.title) if rows else None


def _rows(study: Sensitivity, measure: Measure) -> list[dict[str, Any]]:
    return [row for group in study.cut for row in _group_rows(study, group, measure)]


def _group_rows(study: Sensitivity, group: GroupPoints, measure: Measure) -> list[dict[str, Any]]:
    whole = None if measure.field == "agreement" else study.unpruned
    found = [(0, whole), *((point.removed, point.scores) for point in group.measured)]
    text = percent_interval_text if measure.share else number_interval_text
    rows = []
    for removed, scores in found:
        value = 1.0 if scores is None else getattr(scores, measure.field)
        interval = None if scores is None else getattr(scores, f"{measure.field}_interval")
        rows.append(
            {
                "group": group.title,
                "layers": ", ".join((group.name, *group.coupled)),
                "score": measure.title,
                "share": 100 * removed / group.filters,
                "gone": f"{removed} of {group.filters}",
                "value": measure.drawn(value),
                "low": None if interval is None else measure.drawn(interval[0]),
                "high": None if interval is None else measure.drawn(interval[1]),
                "interval": text(interval),
            }
        )
    return rows


def _chart(
    study: Sensitivity, rows: Sequence[dict[str, Any]], choice: alt.Parameter | None, *, title: str | None = None
) -> alt.LayerChart:
    picked = alt.selection_point(name="picked", fields=["group"], bind="legend")
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, nice=True))
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        x=alt.X(
            "share:Q",
            title="filters of the named layer removed (%)",
            scale=alt.Scale(domain=[0, 100], nice=False),
            axis=alt.Axis(values=[0, 25, 50, 75, 100], grid=False),
        ),
        **_looks([group.title for group in study.cut]),
    )
    if choice is not None:
        base = base.transform_filter("datum.score == score")

    def faint(opacity: float, *, alone: bool = False) -> Any:
        if choice is None:
            return alt.value(0.0 if alone else opacity)
        picked_only = alt.when(picked, empty=not alone).then(alt.value(opacity))
        return picked_only.otherwise(alt.value(0.0 if alone else 0.08))

    lines = base.mark_line(strokeWidth=2).encode(y=y, opacity=faint(1.0))
    ends = base.mark_rule(strokeWidth=1.5, strokeDash=[1, 0]).encode(
        y=alt.Y("low:Q", title=title), y2="high:Q", opacity=faint(0.35, alone=len(study.cut) > _COLOURS)
    )
    marks = base.mark_point(filled=True, size=70).encode(
        y=y,
        opacity=faint(1.0),
        tooltip=[
            alt.Tooltip("layers:N", title="cut"),
            alt.Tooltip("gone:N", title="filters removed"),
            alt.Tooltip("score:N"),
            alt.Tooltip("value:Q", format=".3~f"),
            alt.Tooltip("interval:N", title="95 % interval"),
        ],
    )
    chart = alt.layer(ends, lines.add_params(picked) if choice else lines, marks)
    if choice is not None:
        named = alt.TitleParams(alt.ExprRef("score"), fontWeight="normal", fontSize=12)
        chart = chart.add_params(choice).properties(title=named)
    return chart.properties(
        width="container",
        height=360,
        description="Scores on the validation clips when one group of coupled layers is cut alone, by the share of its "
        "filters that is removed; one line for each group.",
    )


def _looks(groups: list[str]) -> dict[str, Any]:
    """Give each group a colour and, beyond six, a dash; grey stands for the unpruned network everywhere."""
    chunks = [groups[start : start + _COLOURS] for start in range(0, len(groups), _COLOURS)]
    greys = [f"grey {number}" for number in range(len(chunks))]  # colours are used in turn, grey first
    domain = [name for grey, chunk in zip(greys, chunks, strict=True) for name in (grey, *chunk)]
    narrow = max(map(len, groups)) > 12  # two columns of long names need more than a phone's width
    columns: Any = alt.ExprRef("width < 440 ? 1 : 2") if narrow else 2
    legend = alt.Legend(
        columns=columns, values=groups, symbolType="stroke", symbolStrokeWidth=3, symbolSize=250, symbolOpacity=1
    )
    looks: dict[str, Any] = {"color": alt.Color("group:N", title=None, scale=alt.Scale(domain=domain), legend=legend)}
    if len(chunks) > 1:  # of the same names as the colours, so that both share one legend
        dashes = [_DASHES[number % len(_DASHES)] for number, chunk in enumerate(chunks) for _ in (None, *chunk)]
        scale = alt.Scale(domain=domain, range=dashes)
        looks["strokeDash"] = alt.StrokeDash("group:N", title=None, scale=scale, legend=legend)
    return looks

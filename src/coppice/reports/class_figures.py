"""Which class is taken for which, before and after, and what changed for each class."""

from typing import Any

import altair as alt

from coppice.reports.measures import Evaluation

MOST_LABELS_WITH_NUMBERS = 16
_WHEN = (("unpruned", "before"), ("pruned", "after"))


def confusion_matrix(evaluation: Evaluation, title: str) -> alt.LayerChart | None:
    """Draw a confusion matrix: rows are the true class, shaded by the share of the row.

    Parameters
    ----------
    evaluation : Evaluation
        With ``labels`` and ``confusion``.
    title : str
        Above the matrix.

    Returns
    -------
    alt.LayerChart or None
        None where the matrix was not kept or does not fit its labels.
    """
    labels, counts = list(evaluation.labels), evaluation.confusion
    if not labels or len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
        return None
    rows: list[dict[str, Any]] = []
    for true, row in zip(labels, counts, strict=True):
        total = sum(row)
        for predicted, count in zip(labels, row, strict=True):
            share = count / total if total else 0.0
            rows.append({"true": true, "predicted": predicted, "count": count, "share": share})
    small = len(labels) > MOST_LABELS_WITH_NUMBERS
    axis = {"labelLimit": 96, "ticks": False, "domain": False, "labelOverlap": small, "labelFontSize": 11}
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("predicted:N", sort=labels, title="predicted", axis=alt.Axis(labelAngle=-45, **axis)),
        y=alt.Y("true:N", sort=labels, title="true class", axis=alt.Axis(**axis)),
    )
    cells = base.mark_rect(style="cell").encode(
        color=alt.Color("share:Q", scale=alt.Scale(domain=[0, 1], interpolate="rgb"), legend=None),
        tooltip=[
            alt.Tooltip("true:N", title="true"),
            alt.Tooltip("predicted:N"),
            alt.Tooltip("count:Q", title="clips"),
            alt.Tooltip("share:Q", title="share of the true class", format=".0%"),
        ],
    )
    layers = [cells]
    if not small:
        numbers = base.encode(text="count:Q")
        layers.append(numbers.mark_text(style="on-accent").transform_filter("datum.share > 0.5"))
        layers.append(numbers.mark_text(style="on-paper").transform_filter("datum.share <= 0.5 && datum.count > 0"))
    return alt.layer(*layers).properties(
        width="container",
        height=max(180, min(30 * len(labels), 520)) if not small else min(12 * len(labels), 640),
        title=title,
        description=f"Confusion matrix of “{title}”: {evaluation.correct} of {evaluation.clips} are right.",
    )


def class_changes(before: Evaluation, after: Evaluation) -> list[dict[str, Any]]:
    """Return accuracy per class before and after in percent, the largest loss first.

    Examples
    --------
    >>> old = Evaluation(clips=4, accuracy=1, per_class={"rain": {"clips": 4, "accuracy": 1.0}})
    >>> new = Evaluation(clips=4, accuracy=0.5, per_class={"rain": {"clips": 4, "accuracy": 0.5}})
    >>> class_changes(old, new)[0]["change"]
    -50.0
    """
    rows = []
    for label, old in before.per_class.items():
        new = after.per_class.get(label)
        if new is None or old.accuracy is None or new.accuracy is None:
            continue
        rows.append(
            {
                "label": label,
                "clips": new.clips,
                "before": 100 * old.accuracy,
                "after": 100 * new.accuracy,
                "change": 100 * (new.accuracy - old.accuracy),
            }
        )
    return sorted(rows, key=lambda row: row["change"])


def class_dumbbells(before: Evaluation, after: Evaluation) -> alt.LayerChart | None:
    """Draw accuracy per class before and after as two dots on a line; None where it was not kept."""
    changes = class_changes(before, after)
    if not changes:
        return None
    order = [row["label"] for row in changes]
    rows = [row | {"when": when, "accuracy": row[key]} for row in changes for when, key in _WHEN]
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=120))
    x_scale, x_axis = (
        alt.Scale(domain=[0, 100], padding=12, nice=False),
        alt.Axis(values=list(range(0, 101, 20))),
    )
    lines = (
        alt.Chart(alt.Data(values=changes))
        .mark_rule(style="quiet-rule", strokeWidth=2)
        .encode(y=y, x=alt.X("before:Q", title="accuracy (%)", scale=x_scale, axis=x_axis), x2="after:Q")
    )
    dots = [
        # A ring and a dot: where nothing changed, both are still seen.
        alt.Chart(alt.Data(values=[row for row in rows if row["when"] == when]))
        .mark_point(filled=when == "pruned", size=80 if when == "pruned" else 180, strokeWidth=2.5, opacity=1)
        .encode(
            y=y,
            x=alt.X("accuracy:Q", title="accuracy (%)", scale=x_scale, axis=x_axis),
            color=alt.Color(
                "when:N",
                title=None,
                scale=alt.Scale(domain=["unpruned", "pruned"]),
                legend=alt.Legend(symbolType="circle", symbolStrokeWidth=3),
            ),
            tooltip=[
                alt.Tooltip("label:N", title="class"),
                alt.Tooltip("before:Q", title="unpruned (%)", format=".1f"),
                alt.Tooltip("after:Q", title="pruned (%)", format=".1f"),
                alt.Tooltip("clips:Q", title="test clips"),
            ],
        )
        for when, _ in _WHEN
    ]
    return alt.layer(lines, *dots).properties(
        width="container",
        height=max(120, 26 * len(order)),
        description="Accuracy of each class, unpruned and pruned, sorted by the change.",
    )

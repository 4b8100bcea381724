"""How alike the filters of a layer are: nearest-filter distances, and all similarities as a heat map."""

import altair as alt
import torch

from coppice.reports.layer_filters import LayerFilters

BIN = 0.05
MOST_FILTERS_IN_A_MAP = 96


def nearest_histogram(layer: LayerFilters) -> alt.LayerChart | None:
    """Draw how far each filter is from the filter closest to it; None for a layer with one filter.

    Parameters
    ----------
    layer : LayerFilters
        Distances in [0, 2].
    """
    if layer.nearest_mean is None or layer.nearest_sd is None:
        return None
    bins = (layer.nearest.clamp(0, 2 - 1e-9) / BIN).floor().long()
    counts = torch.bincount(bins)
    bars = [
        {"from": round(i * BIN, 2), "to": round((i + 1) * BIN, 2), "filters": int(n)}
        for i, n in enumerate(counts.tolist())
        if n
    ]
    end = max(1.0, (len(counts) + 1) * BIN)
    x_scale = alt.Scale(domain=[0, end], nice=False)
    x_axis = alt.Axis(grid=False, tickCount=5)
    histogram = (
        alt.Chart(alt.Data(values=bars))
        .mark_bar(style="quiet-bar", binSpacing=1)
        .encode(
            x=alt.X(
                "from:Q",
                bin="binned",
                title="cosine distance to the nearest filter",
                scale=x_scale,
                axis=x_axis,
            ),
            x2="to:Q",
            y=alt.Y("filters:Q", title="filters", axis=alt.Axis(tickMinStep=1, tickCount=4, format="d")),
            tooltip=[alt.Tooltip("from:Q"), alt.Tooltip("to:Q"), alt.Tooltip("filters:Q")],
        )
    )
    mean, sd = layer.nearest_mean, layer.nearest_sd
    row = {
        "mean": mean,
        "low": max(mean - sd, 0),
        "high": min(mean + sd, end),
        "text": f"{mean:.3f} ± {sd:.3f}",
    }
    marks = alt.Chart(alt.Data(values=[row]))
    x_mean = alt.X("mean:Q", scale=x_scale)
    rule = marks.mark_rule(style="accent-rule", strokeWidth=2).encode(x=x_mean)
    spread = marks.mark_rule(style="accent-rule", strokeWidth=4, opacity=0.35).encode(
        x=alt.X("low:Q", scale=x_scale), x2="high:Q", y=alt.value(8)
    )
    left = mean < end / 2
    text = marks.mark_text(
        style="accent-text", align="left" if left else "right", dx=6 if left else -6, baseline="top"
    ).encode(x=x_mean, y=alt.value(14), text="text:N")
    return alt.layer(histogram, spread, rule, text).properties(
        width="container",
        height=150,
        title=f"{layer.name}: {layer.filters} filters of {layer.kernel_text}",
        description=f"Nearest-filter distances of {layer.name}: mean {mean:.3f}, sd {sd:.3f}.",
    )


def shown_in_map(layer: LayerFilters) -> list[int]:
    """Return the filters that a heat map shows: all, or those with the closest neighbours in a wide layer."""
    if layer.filters <= MOST_FILTERS_IN_A_MAP:
        return list(range(layer.filters))
    return sorted(layer.nearest.argsort(stable=True)[:MOST_FILTERS_IN_A_MAP].tolist())


def similarity_map(layer: LayerFilters) -> alt.Chart:
    """Draw the cosine similarity of each filter with each other one.

    Parameters
    ----------
    layer : LayerFilters
        Similarity is 1 − distance, in [−1, 1].
    """
    shown = shown_in_map(layer)
    similarity = (1 - layer.distances[shown][:, shown]).clamp(-1, 1)
    values = [round(value, 2) for value in similarity.flatten().tolist()]
    count = len(shown)
    some = "" if count == layer.filters else f" (the {count} with the closest neighbours)"
    axis = alt.Axis(ticks=False, domain=False, labelOverlap=True, labelAngle=0, labelFontSize=11)
    # The cells come as one flat list, row by row: a tenth of the bytes of one object per cell.
    return (
        alt.Chart(alt.Data(values=values))
        .transform_window(cell="row_number()")
        .transform_calculate(
            row=f"{shown}[floor((datum.cell - 1) / {count})]", column=f"{shown}[(datum.cell - 1) % {count}]"
        )
        .mark_rect()
        .encode(
            x=alt.X("column:O", title="filter", axis=axis),
            y=alt.Y("row:O", title="filter", axis=axis),
            color=alt.Color(
                "data:Q",
                title="similarity",
                scale=alt.Scale(domain=[-1, 1], domainMid=0, interpolate="rgb"),
                legend=alt.Legend(orient="right", gradientLength=110, tickCount=3, title=None),
            ),
            tooltip=[
                alt.Tooltip("row:O", title="filter"),
                alt.Tooltip("column:O", title="and filter"),
                alt.Tooltip("data:Q", title="cosine similarity", format=".2f"),
            ],
        )
        .properties(
            width="container",
            height=240,
            title=f"{layer.name}: similarity{some}",
            description=f"Cosine similarity of the filters of {layer.name} with each other.",
        )
    )

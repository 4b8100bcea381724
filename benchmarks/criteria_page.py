"""What bench_criteria.py has measured, as a section of docs/benchmarks.md and its figure."""

from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from coppice.core.files import make_folder, write_text
from coppice.reports.figure import VEGALITE_VERSION
from coppice.reports.style import LIGHT, vega_config
from page import machine, ms, table, write_section

FIGURE = "criteria-growth.svg"


def write_page(folder: Path, measured: dict[str, Any]) -> None:
    """Write the figure, and the section into benchmarks.md; what others have written there stays."""
    draw(make_folder(folder / "images") / FIGURE, measured)
    write_section(folder, "criteria", section(measured))


def section(measured: dict[str, Any]) -> str:
    """Write everything between the markers."""
    return "\n".join(
        (
            "## Ranking filters\n",
            f"{machine()}. "
            "Random weights in float32, as a network stores them; everything is computed in float64. "
            "Processor time of one thread in ms, medians, unless said otherwise.\n",
            beside_text(measured["beside"], measured["cores"], measured["load"]),
            nystrom_text(measured["beside"]),
            criteria_text(measured["criteria"]),
            active_text(measured["active"]),
            growth_text(measured),
            memory_text(measured["memory"]),
        )
    )


def beside_text(rows: list[dict[str, Any]], cores: int, load: float) -> str:
    """Compare with the published way."""
    busy = ""
    if load > 0.5:
        busy = (
            f" Other programs kept the cores busy meanwhile (load average {load:.1f}): the wall-clock time is an upper "
            "bound."
        )
    lines = [
        [
            shape_text(row["shape"]),
            str(row["kept"]),
            ms(row["published_ms"]) + (" *" if row["extrapolated"] else ""),
            ms(row["exact_ms"]),
            f"**{row['published_ms'] / row['exact_ms']:,.0f}×**",
            ms(row["all_cores_ms"]),
            f"{row['published_ms'] / row['all_cores_ms']:,.0f}×",
            ms(row["all_cores_spent_ms"]),
        ]
        for row in rows
    ]
    head = [
        "filters × channels, kernel",
        "kept",
        "published",
        "`cosine_similarity`",
        "ratio",
        f"{cores} threads: wall",
        "ratio",
        "spent",
    ]
    return (
        "### Cosine similarity beside the published way\n\n"
        "*Published*: one `numpy.linalg.svd` per filter with its default `full_matrices=True` and one call of "
        "`scipy.spatial.distance.cosine` per pair of filters, as the papers describe it, on one thread (on more it is "
        "slower). *Ours* goes further: it also checks that the weights are finite and orders *all* filters, beyond the "
        "set that the method keeps. Both keep the same set in every row; the run stops where they do not. "
        f"On {cores} threads: the best wall-clock time, and the processor time that they spend together.{busy}\n\n"
        + table(head, lines)
        + "\\* Extrapolated: the decompositions of a few filters and eight rows of pairs, times their share.\n"
    )


def nystrom_text(rows: list[dict[str, Any]]) -> str:
    """Compare the Nyström form with the exact one."""
    lines = [
        [
            shape_text(row["shape"]),
            ms(row["exact_ms"]),
            ms(row["nystrom_ms"]),
            change(row["nystrom_ms"], row["exact_ms"]),
            ms(row["spread_ms"]),
            change(row["spread_ms"], row["exact_ms"]),
        ]
        for row in rows
    ]
    return (
        "### Does the Nyström form pay?\n\n"
        "No, at no size. Prototypes are as long as the kernel has positions, so the exact similarities are one product "
        "of inner length 9 or 49, and the approximation from m columns is a product of the same size and of inner "
        "length m, after some preparation. The factor of three in the paper is against a double loop in Python. "
        "Where m is smaller than the kernel has positions the product is shorter and the set another one; and the "
        "product is not where the time goes. `nystrom_spread` with as many columns as positions is exact, so that "
        "there is nothing left to approximate.\n\n"
        + table(["filters × channels, kernel", "exact", "`nystrom`", "", "`nystrom_spread`", ""], lines)
    )


def criteria_text(rows: list[dict[str, Any]]) -> str:
    """One row per criterion."""
    sizes = [key for key in rows[0] if key != "criterion"]
    lines = [[f"`{row['criterion']}`", *(ms(row.get(size)) for size in sizes)] for row in rows]
    return (
        "### Criterion by criterion\n\n"
        "Layers of 3×3 kernels with as many channels as filters.\n\n"
        + table(["criterion", *(f"{size} filters" for size in sizes)], lines)
        + "`betweenness` takes time with the third power of the number of filters: it is not timed beyond 512.\n"
    )


def active_text(rows: list[dict[str, Any]]) -> str:
    """One row per criterion that looks at clips."""
    lines = [[f"`{row['criterion']}`", ms(row["ms"])] for row in rows]
    first = rows[0]
    return (
        "### Criteria that look at clips\n\n"
        f"All three convolutions of the DCASE 2021 network, {first['clips']} clips of {first['bands']}×"
        f"{first['frames']}: what the layers hand on is gathered and every filter ranked. One thread. A forward pass "
        f"over the clips takes {ms(first['forward_ms'])}.\n\n" + table(["criterion", "ms"], lines)
    )


def growth_text(measured: dict[str, Any]) -> str:
    """Refer to the figure, and give the largest sizes in numbers."""
    most = max(row["filters"] for row in measured["growth"])
    shown = [256, 1024, 4096, most]
    found = {(row["criterion"], row["filters"]): row["ms"] for row in measured["growth"]}
    names = list(dict.fromkeys(row["criterion"] for row in measured["growth"]))
    lines = [[f"`{name}`", *(ms(found.get((name, filters))) for filters in shown)] for name in names]
    network = [[f"`{row['criterion']}`", ms(row["ms"])] for row in measured["cnn14"]]
    return (
        "### How cost grows\n\n"
        f"![Time against filters, and against layers](images/{FIGURE})\n\n"
        "Left: one layer of 64 channels and 3×3 kernels. Right: layers of 128 filters and 128 channels. `nystrom` "
        "would lie on `cosine_similarity`.\n\n"
        + table(["criterion", *(f"{filters:,} filters" for filters in shown)], lines)
        + "All twelve convolutions of CNN14, 75 million weights:\n\n"
        + table(["criterion", "ms"], network)
    )


def memory_text(rows: list[dict[str, Any]]) -> str:
    """Peak memory beyond the weights."""
    lines = [
        [f"`{row['criterion']}`", shape_text(row["shape"]), f"{row['weights_mib']:,.0f}", f"{row['mib']:,.0f}"]
        for row in rows
    ]
    return (
        "### Memory at 16,384 filters\n\n"
        "Highest resident memory of a process beyond what it held with the weights, in MiB. The matrix of all "
        "distances would take 2,048; it is worked out in blocks. `geometric_median` makes a float64 copy of "
        "the weights.\n\n" + table(["criterion", "filters × channels, kernel", "weights", "on top"], lines)
    )


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape such as ``512 × 512, 3×3``."""
    return f"{shape[0]:,} × {shape[1]:,}, " + "×".join(map(str, shape[2:]))


def change(value: float, reference: float) -> str:
    """Write how much more or less than a reference."""
    return f"{100 * (value / reference - 1):+.0f} %".replace("-", "−")


def draw(path: Path, measured: dict[str, Any]) -> None:
    """Draw time against the number of filters and of layers, both axes logarithmic."""
    names = [name for name in dict.fromkeys(row["criterion"] for row in measured["growth"]) if name != "nystrom"]
    panels = []
    for what, axis in (("growth", "filters"), ("depth", "layers")):
        rows = [row for row in measured[what] if row["criterion"] in names]
        ticks = sorted({row[axis] for row in rows})
        scale = alt.Scale(type="log", base=2, domain=[ticks[0], ticks[-1]])
        ends = alt.Axis(
            values=ticks, format="d", labelOverlap=False, labelBound=False, labelFlush=False, labelAngle=-30
        )
        panels.append(
            alt.Chart(alt.Data(values=rows), width=330, height=300)
            .mark_line(point=True)
            .encode(
                x=alt.X(f"{axis}:Q", title=axis, scale=scale, axis=ends),
                y=alt.Y("ms:Q", title="ms on one thread", scale=alt.Scale(type="log"), axis=alt.Axis(format="~g")),
                color=alt.Color("criterion:N", title=None, sort=names, scale=alt.Scale(domain=names)),
                shape=alt.Shape("criterion:N", title=None, sort=names, scale=alt.Scale(domain=names)),
            )
        )
    spec = {**alt.hconcat(*panels).to_dict(), "config": vega_config(LIGHT)}
    write_text(path, str(vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE_VERSION)))

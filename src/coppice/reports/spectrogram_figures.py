"""Spectrograms of one clip, plain and augmented, as charts, a page or a figure for a paper."""

from collections.abc import Sequence
from pathlib import Path

import altair as alt
import numpy as np
from jaxtyping import Float32

from coppice.audio.front_end import FrontEnd
from coppice.core.errors import CoppiceError
from coppice.core.files import whole_file, write_text
from coppice.reports.figure import FORMATS, as_figure, render
from coppice.reports.headline import Headline
from coppice.reports.html import html_page
from coppice.reports.style import LIGHT, vega_config
from coppice.training.augment.show import Panel

MOST_BANDS, MOST_FRAMES = 64, 125
_COLUMNS = 3


def coarse(picture: Float32[np.ndarray, "mels frames"]) -> Float32[np.ndarray, "rows columns"]:
    """Average neighbouring bands and frames until a picture is small enough to be drawn cell by cell.

    Examples
    --------
    >>> coarse(np.arange(256, dtype=np.float32).reshape(128, 2))[0]
    array([1., 2.], dtype=float32)
    """
    for axis, most in ((0, MOST_BANDS), (1, MOST_FRAMES)):
        size = picture.shape[axis]
        together = -(-size // most)
        picture = np.add.reduceat(picture, np.arange(0, size, together), axis=axis)
        counts = np.diff(np.append(np.arange(0, size, together), size))
        picture = picture / np.expand_dims(counts, 1 - axis).astype(np.float32)
    return picture


def spectrogram(panel: Panel, front_end: FrontEnd, limits: tuple[float, float]) -> alt.Chart:
    """Draw one picture, low bands at the bottom.

    Parameters
    ----------
    panel : Panel
        Log-mel and what was done to it.
    front_end : FrontEnd
        For the ends of the axes.
    limits : (float, float)
        Log-mel of the lightest and the darkest colour.
    """
    cells = coarse(panel.log_mel)[::-1]
    rows, columns = cells.shape
    # The cells come as one flat list, row by row: a tenth of the bytes of one object per cell.
    values = [round(value, 2) for value in cells.astype(float).flatten().tolist()]
    title = panel.name + (f": {panel.note}" if panel.note else "")
    axis = alt.Axis(ticks=False, domain=False, labels=False)
    scale = alt.Scale(domain=list(limits), clamp=True, interpolate="rgb")
    khz = f"{front_end.fmin_hz / 1000:g} – {front_end.fmax_hz / 1000:g} kHz"
    return (
        alt.Chart(alt.Data(values=values))
        .transform_window(cell="row_number()")
        .transform_calculate(row=f"floor((datum.cell - 1) / {columns})", column=f"(datum.cell - 1) % {columns}")
        .mark_rect(strokeWidth=1)
        .encode(
            x=alt.X("column:O", title=f"0 – {front_end.duration_s:g} s", axis=axis),
            y=alt.Y("row:O", title=khz, axis=axis),
            color=alt.Color("data:Q", scale=scale, legend=None),
            stroke=alt.Stroke("data:Q", scale=scale, legend=None),  # closes the seams between cells
        )
        .properties(
            width="container", height=150, title=title, description=f"Log-mel, {title}: {rows} bands, {columns} frames."
        )
    )


def write_spectrograms(panels: Sequence[Panel], front_end: FrontEnd, path: Path, *, clip: str) -> Path:
    """Write pictures side by side as a page (``.html``) or a figure (``.svg``, ``.png``, ``.pdf``).

    Parameters
    ----------
    panels : sequence of Panel
        The plain one first; its 2nd and 99th percentile are the ends of the colours.
    front_end : FrontEnd
        Of the pictures.
    path : Path
        The suffix says in which form.
    clip : str
        Which clip it is.

    Raises
    ------
    CoppiceError
        If the suffix is another one, or the disk refuses.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("html", *FORMATS):
        raise CoppiceError(f"{path} is none of the files that can be written; name it .html, .svg, .png or .pdf.")
    low, high = (float(value) for value in np.percentile(panels[0].log_mel, (2, 99)))
    charts = [spectrogram(panel, front_end, (low, max(high, low + 1e-3))) for panel in panels]
    if kind != "html":
        small = [chart.properties(width=230, height=130) for chart in charts]
        spec = alt.concat(*small, columns=_COLUMNS).to_dict()
        with whole_file(path) as temporary:
            temporary.write_bytes(render(spec | {"config": vega_config(LIGHT)}, kind))
        return path
    figures = [
        as_figure(f"{number}-{panel.name}", chart, renderer="canvas")
        for number, (panel, chart) in enumerate(zip(panels, charts, strict=True))
    ]
    drawn = tuple(figure for figure in figures if figure is not None)
    sentence = f"One clip through front end {front_end.preset}, plain and with each augmentation alone."
    remark = "Each as strong as it gets, in the colours of the plain picture. Masks and impulse response are one draw."
    write_text(
        path,
        html_page(
            "spectrograms.html",
            drawn,
            title="What augmentation does",
            name=clip,
            headline=Headline(sentence, (remark,), ()),
            facts=[f"{front_end.n_mels} bands", f"{front_end.shape[1]} frames", f"{front_end.sample_rate} Hz"],
            synthetic="",
            notes=(),
            figures=drawn,
        ),
    )
    return path

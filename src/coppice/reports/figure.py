"""One chart, and the same as a file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import make_folder, whole_file
from coppice.reports.style import LIGHT, vega_config

FORMATS = ("svg", "png", "pdf")
VEGALITE_VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


@dataclass(frozen=True)
class Figure:
    """One chart: a file-safe name, its Vega-Lite specification without colours, and how a page draws it."""

    name: str
    spec: dict[str, Any]
    renderer: str = "svg"
    paper_width: int = 520


def check_formats(formats: Sequence[str]) -> None:
    """Refuse a file format that figures cannot have.

    Examples
    --------
    >>> check_formats(["svg", "gif"])
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: figures cannot be written as 'gif'. Known: 'svg', 'png', 'pdf'.
    """
    for name in formats:
        if name not in FORMATS:
            raise CoppiceError(f"figures cannot be written as {name!r}. {did_you_mean(name, FORMATS)}")


def write_figures(figures: Sequence[Figure], folder: Path, formats: Sequence[str]) -> tuple[Path, ...]:
    """Write charts as files for a paper, in the light palette.

    Parameters
    ----------
    figures : sequence of Figure
        Without controls (see :func:`on_paper`).
    folder : Path
        Created.
    formats : sequence of {"svg", "png", "pdf"}
        One file each per chart (see :func:`check_formats`).

    Raises
    ------
    CoppiceError
        If the disk refuses.
    """
    make_folder(folder)
    written = []
    for figure in figures:
        spec = figure.spec | {"config": vega_config(LIGHT), "width": figure.paper_width}
        for name in formats:
            path = folder / f"{figure.name}.{name}"
            with whole_file(path) as temporary:
                temporary.write_bytes(render(spec, name))
            written.append(path)
    return tuple(written)


def render(spec: dict[str, Any], name: str) -> bytes:
    """Draw a specification that has its colours as a file of a format of :data:`FORMATS`."""
    if name == "svg":
        return str(vl_convert.vegalite_to_svg(spec, vl_version=VEGALITE_VERSION)).encode()
    if name == "png":
        return bytes(vl_convert.vegalite_to_png(spec, vl_version=VEGALITE_VERSION, scale=2))
    return bytes(vl_convert.vegalite_to_pdf(spec, vl_version=VEGALITE_VERSION))


def as_figure(name: str, chart: Any, **options: Any) -> Figure | None:
    """Return a chart under a name that can be a file's; None where there is no chart."""
    if chart is None:
        return None
    spec = chart.to_dict(validate=False)  # the tests validate; here it would take half the time of a report
    for key in ("config", "$schema"):  # the page and the files bring their own
        spec.pop(key, None)
    return Figure(name=safe_name(name), spec=spec, **options)


def safe_name(name: str) -> str:
    """Return a name that a file can have.

    Examples
    --------
    >>> safe_name("accuracy of <conv1 + conv2>")
    'accuracy-of-conv1-conv2'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")

"""The script that draws a page's charts: Vega, Vega-Lite and vega-embed in one piece, for use offline."""

import functools
import importlib.metadata
from contextlib import suppress
from pathlib import Path

import vl_convert

from coppice.core.errors import CoppiceError
from coppice.core.files import write_text
from coppice.datasets.cache import cache_folder
from coppice.reports.figure import VEGALITE_VERSION


@functools.cache
def chart_library() -> str:
    """Return the script, safe to stand inside a ``<script>`` element.

    Putting it together takes seconds, and it is the same for all pages: it is kept in Coppice's cache folder, under the
    versions of what it is made from.
    """
    path = _kept()
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    bundle = str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGALITE_VERSION))
    script = bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    with suppress(CoppiceError):  # a folder that cannot be written costs time, and not the page
        write_text(path, script)
    return script


def _kept() -> Path:
    maker = importlib.metadata.version("vl-convert-python")
    return cache_folder() / "pages" / f"vega-lite-{VEGALITE_VERSION}-by-vl-convert-{maker}.js"

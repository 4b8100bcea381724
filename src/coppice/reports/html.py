"""One HTML file: a template, its charts and the script that draws them, in the palettes of the page."""

import functools
from collections.abc import Sequence
from typing import Any

import jinja2

from coppice.reports.chart_library import chart_library
from coppice.reports.figure import Figure
from coppice.reports.style import DARK, LIGHT, css_variables, vega_config


def html_page(template: str, charts: Sequence[Figure], **context: Any) -> str:
    """Fill a template with charts and what it asks for; return one HTML text that needs no network.

    Parameters
    ----------
    template : str
        Name of a file in the folder ``page``.
    charts : sequence of Figure
        Drawn by the page, where its ``chart`` macro places them.
    **context
        What the template asks for; a name that is missing is an error.
    """
    page = _pages()
    return page.get_template(template).render(
        charts={chart.name: {"spec": chart.spec, "renderer": chart.renderer} for chart in charts},
        themes={"light": vega_config(LIGHT), "dark": vega_config(DARK)},
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        library=chart_library() if charts else "",
        **context,
    )


@functools.cache
def _pages() -> jinja2.Environment:
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("coppice.reports", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return pages

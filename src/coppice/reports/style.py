"""One palette for the page and the charts, light and dark, and for figures on paper."""

from typing import Any

SERIF = "'Times New Roman', Times, 'Liberation Serif', 'TeX Gyre Termes', 'DejaVu Serif', serif"
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

# Categories: grey for the unpruned network, then colours that stay apart for colour-blind eyes (after Okabe
# and Ito, "Color universal design", 2008), darkened or lightened until they stand 3:1 against the paper.
LIGHT: dict[str, Any] = {
    "paper": "#ffffff",
    "raised": "#f6f7f5",
    "ink": "#1c211e",
    "quiet": "#59635d",
    "line": "#dfe3df",
    "accent": "#0b6e4f",
    "accent-soft": "#e3f0ea",
    "warn": "#8a4b08",
    "warn-soft": "#fdf1df",
    "on-accent": "#ffffff",
    "negative": "#b8560b",
    "categories": ["#6f7873", "#0b7d5a", "#0067a8", "#c65300", "#a1508a", "#947000", "#3a8fc4"],
}
DARK: dict[str, Any] = {
    "paper": "#141816",
    "raised": "#1c211e",
    "ink": "#e6eae7",
    "quiet": "#a3ada7",
    "line": "#343b37",
    "accent": "#5fc9a0",
    "accent-soft": "#1d332a",
    "warn": "#f0b869",
    "warn-soft": "#35291a",
    "on-accent": "#0d1110",
    "negative": "#e8965a",
    "categories": ["#9aa39e", "#4fc596", "#5aaee6", "#f08b4b", "#d491bd", "#d3ae3e", "#8fcdf0"],
}


def vega_config(palette: dict[str, Any]) -> dict[str, Any]:
    """Return the Vega-Lite configuration that draws a chart in one palette.

    Charts name styles (``quiet-rule``, ``on-accent``, …) instead of colours, so that one specification serves
    the light page, the dark page and paper.

    Examples
    --------
    >>> vega_config(LIGHT)["background"]
    '#ffffff'
    """
    text = {"font": SANS, "color": palette["ink"]}
    return {
        "background": palette["paper"],
        "font": SANS,
        "padding": 4,
        "view": {"stroke": None},
        "range": {
            "category": palette["categories"],
            "heatmap": [palette["paper"], palette["accent"]],
            "diverging": [palette["negative"], palette["paper"], palette["accent"]],
            "symbol": ["circle", "square", "triangle-up", "diamond", "cross"],
        },
        "axis": {
            "labelColor": palette["quiet"],
            "titleColor": palette["quiet"],
            "titleFontWeight": "normal",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "gridColor": palette["line"],
            "domainColor": palette["line"],
            "tickColor": palette["line"],
            "titlePadding": 8,
            "labelLimit": 130,
        },
        "legend": {
            "labelColor": palette["ink"],
            "titleColor": palette["quiet"],
            "titleFontWeight": "normal",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "symbolBaseFillColor": palette["quiet"],
            "symbolBaseStrokeColor": palette["quiet"],
            "orient": "top",
            "layout": {"top": {"direction": "vertical", "anchor": "start"}},
            "labelLimit": 220,
        },
        "title": {
            "color": palette["ink"],
            "fontSize": 13,
            "fontWeight": 600,
            "anchor": "start",
            "limit": 240,
            "offset": 10,
        },
        "text": text,
        "style": {
            "quiet-rule": {"color": palette["quiet"], "strokeWidth": 1},
            "accent-rule": {"color": palette["accent"], "strokeWidth": 1.5},
            "quiet-bar": {"color": palette["quiet"], "opacity": 0.5},
            "cell": {"stroke": palette["line"], "strokeWidth": 0.5},
            "on-accent": {"color": palette["on-accent"], "fontSize": 12},
            "on-paper": {"color": palette["ink"], "fontSize": 12},
            "quiet-text": {"color": palette["quiet"], "fontSize": 12},
            "accent-text": {"color": palette["accent"], "fontSize": 12},
        },
    }


def paper_config() -> dict[str, Any]:
    """Return the Vega-Lite configuration of figures for a paper: a serif face at the size of captions, black axes.

    Examples
    --------
    >>> paper_config()["axis"]["labelFontSize"], paper_config()["background"]
    (9, '#ffffff')
    """
    black = {"ink": "#000000", "quiet": "#000000", "line": "#000000"}
    config = vega_config(LIGHT | black)
    small = {"labelFontSize": 9, "titleFontSize": 9}
    config["font"] = SERIF
    config["text"] |= {"font": SERIF}
    config["axis"] |= small | {"grid": False, "titlePadding": 4, "tickSize": 3, "domainWidth": 0.6, "tickWidth": 0.6}
    config["legend"] |= small | {"symbolSize": 40, "rowPadding": 1, "columnPadding": 8}
    config["title"] |= {"fontSize": 9, "fontWeight": "normal", "offset": 4}
    for style in ("on-accent", "on-paper", "quiet-text", "accent-text"):
        config["style"][style]["fontSize"] = 8
    return config


def css_variables(palette: dict[str, Any]) -> str:
    """Return the palette as CSS custom properties.

    Examples
    --------
    >>> css_variables({"ink": "#000", "categories": ["#111"]})
    '--ink: #000; --category-0: #111;'
    """
    plain = {key: value for key, value in palette.items() if key != "categories"}
    numbered = {f"category-{index}": colour for index, colour in enumerate(palette["categories"])}
    return " ".join(f"--{key}: {value};" for key, value in (plain | numbered).items())

"""How groups look in the charts of a study: a colour each, a shape each, and dashes where colours run out."""

from typing import Any

COLOURS = 6  # after the grey of the unpruned network, which stands first everywhere
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [1, 3])


def group_looks(groups: list[str], *, unpruned: str | None = None, lines: bool = False) -> dict[str, Any]:
    """Return the encodings (Vega-Lite) that tell the values of the field ``group`` apart.

    Parameters
    ----------
    groups : list of str
        In the order of their colours.
    unpruned : str, optional
        The group that is grey, if it is drawn.
    lines : bool
        Whether lines are drawn; then they are dashed beyond six.

    Examples
    --------
    >>> looks = group_looks(["l1", "random"], unpruned="unpruned")
    >>> looks["color"]["scale"]["domain"], looks["shape"]["scale"]["range"]
    (['unpruned', 'l1', 'random'], ['diamond', 'circle', 'square'])
    """
    chunks = [groups[start : start + COLOURS] for start in range(0, len(groups), COLOURS)]
    greys = [f" {number}" if unpruned is None or number else unpruned for number in range(len(chunks))]
    domain = [name for grey, chunk in zip(greys, chunks, strict=True) for name in (grey, *chunk)]
    shown = [name for name in domain if name in groups or name == unpruned]
    shapes = [
        shape
        for turn, chunk in enumerate(chunks)  # the colours come again, with other shapes
        for shape in ("diamond", *(_SHAPES * 2)[turn % COLOURS :][: len(chunk)])
    ]
    legend: dict[str, Any] = {
        "columns": {"expr": "width < 440 ? 1 : 2"} if max(map(len, groups)) > 14 else 2,
        "columnPadding": 24,
        "values": shown,
        "symbolOpacity": 1,
    }
    field = {"field": "group", "type": "nominal", "title": None, "legend": legend}
    looks = {
        "color": field | {"scale": {"domain": domain}},
        "shape": field | {"scale": {"domain": domain, "range": shapes}},
    }
    if lines and len(chunks) > 1:
        dashes = [_DASHES[number % len(_DASHES)] for number, chunk in enumerate(chunks) for _ in (None, *chunk)]
        looks["strokeDash"] = field | {"scale": {"domain": domain, "range": dashes}, "legend": None}
    return looks

"""The axis of a cost, in whichever chart it stands."""

from typing import Any

from coppice.reports.study_measures import Cost

_FAR = 30  # times the least: then a logarithmic axis shows both ends


def cost_axis(cost: Cost, least: float, most: float) -> dict[str, Any]:
    """Return the encoding (Vega-Lite) of a cost along x: logarithmic where it spans far.

    Parameters
    ----------
    cost : Cost
    least, most : float
        Of what is drawn.

    Examples
    --------
    >>> macs = Cost("macs", "MACs", "MACs per clip")
    >>> cost_axis(macs, 1.0, 40.0)["title"], cost_axis(macs, 1.0, 3.0)["scale"]["zero"]
    ('MACs per clip, logarithmic', True)
    """
    wide = bool(least > 0 and most > _FAR * least)
    # Without a zero the least would stand on the frame, half of its mark cut off.
    scale = {"zero": True, "nice": True} if least < most / 2 else {"zero": False, "nice": False, "padding": 12}
    return {
        "field": cost.field,
        "type": "quantitative",
        "title": cost.title + (", logarithmic" if wide else ""),
        "scale": {"type": "log", "nice": False, "padding": 12} if wide else scale,
        "axis": {"format": "~g" if cost.field == "energy_kwh" else "~s", "tickCount": 5, "grid": False},
    }

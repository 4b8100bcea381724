"""The carbon footprint that the pruning papers quote: 48 h on one graphics card."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from coppice.energy.co2 import co2
from coppice.reproduction.claim import RECOMPUTED, Claim, Paper

PAPER = Paper(
    "co2",
    "Carbon footprint of 48 hours of training",
    "ML CO2 Impact calculator, repository mlco2/impact (Lacoste et al., arXiv 1910.09700)",
)

_ROWS = (
    ("energy", "energy", "energy_kwh", 12.0, "kWh", "power of the card × hours, rounded to 0.01"),
    ("co2", "CO2 equivalent", "co2_kg", 5.18, "kg", "energy × 0.432 kg/kWh, rounded to 0.01"),
    ("km", "the same by car", "car_km", 20.9, "km", "EPA: 0.398 kg a mile"),
    ("miles", "the same by car", "car_miles", 13.0, "miles", "EPA: 0.398 kg a mile"),
)


_QUOTED = {"km": '; the group quotes it as "20 Km" on a poster', "miles": '; the group quotes it as "13 miles"'}


def claims() -> Iterator[Claim]:
    """Yield energy, CO2 and distance of 48 h on a card of 250 W."""
    for name, words, measure, published, unit, how in _ROWS:
        yield Claim(
            PAPER,
            name,
            f"48 h on an RTX 2080 Ti (250 W): {words}",
            published,
            partial(_footprint, measure=measure),
            f"{RECOMPUTED} with the calculator's formulas{_QUOTED.get(name, '')}",
            how,
            unit=unit,
            tolerance=0.05 if name in ("km", "miles") else 0.005,
        )


def _footprint(data: Path, *, measure: str) -> float:
    return float(getattr(co2("RTX 2080 Ti", hours=48), measure))

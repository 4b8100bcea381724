"""CO2 of a computation from power and hours, as the ML CO2 Impact calculator counts, and in general."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.energy.tables import intensity_g, power_w

# The calculator's "Private Infrastructure", kg of CO2 equivalent for each kWh.
DEFAULT_INTENSITY = 0.432
# US Environmental Protection Agency, greenhouse gas equivalencies: 3.98e-4 t for each mile of an average car.
KG_PER_MILE = 0.398
KG_PER_KM = KG_PER_MILE / 1.609344


@dataclass(frozen=True)
class Footprint:
    """Energy and CO2 of a computation, and how each number was counted.

    Attributes
    ----------
    hardware : str or None
        The table's name of the processor; None when its power was given.
    power_w, hours : float
        Watts and hours.
    utilisation : float in (0, 1]
        Share of that power that was drawn on average.
    pue : float >= 1
        Power usage effectiveness: energy of the whole building / energy of its computers.
    intensity_kg_per_kwh : float
        CO2 equivalent of the electricity.
    energy_kwh, co2_kg : float
        The result.
    car_km, car_miles : float
        How far an average car of the United States goes for the same CO2.
    counted : dict
        Name of a number -> how it was counted.
    """

    hardware: str | None
    power_w: float
    hours: float
    utilisation: float
    pue: float
    intensity_kg_per_kwh: float
    energy_kwh: float
    co2_kg: float
    car_km: float
    car_miles: float
    counted: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data."""
        return asdict(self)


def co2(
    hardware: str | None = None,
    *,
    hours: float,
    power_w: float | None = None,
    intensity: float | None = None,
    region: str | None = None,
    pue: float | None = None,
    utilisation: float | None = None,
) -> Footprint:
    """Estimate the CO2 of a computation.

    With neither ``pue`` nor ``utilisation``, the numbers are those of the ML CO2 Impact calculator (Lacoste et al.,
    arXiv 1910.09700): full thermal design power all the time, energy rounded to 0.01 kWh, then CO2 to 0.01 kg. With
    either, the general form P × utilisation × t × PUE × intensity is taken and nothing is rounded. It is an estimate
    from a data sheet, not a measurement.

    Parameters
    ----------
    hardware : str, optional
        A processor of :data:`coppice.energy.tables.POWER_W`.
    hours : float > 0
        How long it ran.
    power_w : float > 0, optional
        Watts, measured or from a data sheet, in place of ``hardware``.
    intensity : float >= 0, optional
        Kilograms of CO2 equivalent for each kWh; 0.432 without it and without a region.
    region : str, optional
        A region of :data:`coppice.energy.tables.INTENSITY_G_PER_KWH`, in place of ``intensity``.
    pue : float >= 1, optional
        Power usage effectiveness of the building.
    utilisation : float in (0, 1], optional
        Share of the power that was drawn on average.

    Returns
    -------
    Footprint

    Raises
    ------
    CoppiceError
        If a number is out of its range or not a number, a name is unknown, or two things contradict each other.

    Examples
    --------
    >>> found = co2("RTX 2080 Ti", hours=48)
    >>> found.energy_kwh, found.co2_kg, round(found.car_km, 1), round(found.car_miles, 1)
    (12.0, 5.18, 20.9, 13.0)
    >>> co2(power_w=100, hours=10, pue=1.5, utilisation=0.5, intensity=0.5).co2_kg
    0.375
    """
    if (hardware is None) == (power_w is None):
        raise CoppiceError("give either the hardware, such as 'RTX 2080 Ti', or its power in watts.")
    if intensity is not None and region is not None:
        raise CoppiceError("give either a region or an intensity, not both.")
    _check("hours", hours, above=0)
    general = pue is not None or utilisation is not None
    watts, power_from, name = _power(hardware, power_w)
    kg_per_kwh, intensity_from = _intensity(intensity, region, rounded=not general)
    share, overhead = 1.0 if utilisation is None else utilisation, 1.0 if pue is None else pue
    _check("utilisation", share, above=0, most=1)
    _check("pue", overhead, least=1)
    if general:
        energy = watts * share * hours * overhead / 1000
        kilograms = energy * kg_per_kwh
        energy_from = f"power × utilisation ({share:g}) × hours × PUE ({overhead:g}) / 1000"
        kilograms_from = "energy × intensity"
    else:
        energy = _round2(watts * hours / 1000)
        kilograms = _round2(energy * kg_per_kwh)
        energy_from = "power × hours / 1000, rounded to 0.01 kWh (ML CO2 Impact: no utilisation, no PUE)"
        kilograms_from = "energy × intensity, rounded to 0.01 kg (ML CO2 Impact)"
    return Footprint(
        hardware=name,
        power_w=watts,
        hours=hours,
        utilisation=share,
        pue=overhead,
        intensity_kg_per_kwh=kg_per_kwh,
        energy_kwh=energy,
        co2_kg=kilograms,
        car_km=kilograms / KG_PER_KM,
        car_miles=kilograms / KG_PER_MILE,
        counted={
            "power_w": power_from,
            "intensity_kg_per_kwh": intensity_from,
            "energy_kwh": energy_from,
            "co2_kg": kilograms_from,
            "car_km": f"CO2 / {KG_PER_KM:.5f} kg per km (US EPA, average car)",
            "car_miles": f"CO2 / {KG_PER_MILE} kg per mile (US EPA, average car)",
        },
    )


def _power(hardware: str | None, given: float | None) -> tuple[float, str, str | None]:
    if hardware is not None:
        name, watts = power_w(hardware)
        return float(watts), f"thermal design power of {name}, ML CO2 Impact's table", name
    _check("power_w", given, above=0)
    return float(given or 0), "given", None


def _intensity(given: float | None, region: str | None, *, rounded: bool) -> tuple[float, str]:
    if region is not None:
        name, grams = intensity_g(region)
        kilograms = _round2(grams / 1000) if rounded else grams / 1000
        return kilograms, f"{name}: {grams:g} g/kWh in ML CO2 Impact's table of 2019" + (", rounded" if rounded else "")
    if given is None:
        return DEFAULT_INTENSITY, "ML CO2 Impact's default for private infrastructure"
    _check("intensity", given, least=0)
    return float(given), "given"


def _check(
    name: str, value: Any, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> None:
    limits = [
        f"above {above:g}" if above is not None else "",
        f"from {least:g} upwards" if least is not None else "",
        f"up to {most:g}" if most is not None else "",
    ]
    text = " and ".join(limit for limit in limits if limit)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if (
        not number
        or (above is not None and not value > above)
        or (least is not None and not value >= least)
        or (most is not None and not value <= most)
    ):
        raise CoppiceError(f"{name} is {value!r}; give a number {text}.")


def _round2(value: float) -> float:
    # Half upwards, as JavaScript's Math.round on the calculator's page.
    return math.floor(100 * value + 0.5) / 100

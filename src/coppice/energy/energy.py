"""The energy of a piece of work: a number that means nothing without the way in which it was measured."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from coppice.core.errors import CoppiceError

# What listening takes, in the folder of a run's stage.
INFERENCE = "inference_energy.json"


@dataclass(frozen=True)
class Energy:
    """What a piece of work took.

    Attributes
    ----------
    energy_kwh : float >= 0
        Kilowatt hours.
    co2_kg : float >= 0
        Kilograms of CO2 equivalent.
    seconds : float >= 0
        How long it took.
    mode : str
        How it was measured. Numbers of different modes are neither added up nor compared.
    assumptions : tuple of str
        What the numbers rest on, a sentence each.
    missing : tuple of str
        What was spent and is not in the numbers, a sentence each.
    """

    energy_kwh: float
    co2_kg: float
    seconds: float
    mode: str
    assumptions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data."""
        return {**asdict(self), "assumptions": list(self.assumptions), "missing": list(self.missing)}

    def __str__(self) -> str:
        return f"{kwh_text(self.energy_kwh)}, {co2_text(self.co2_kg)}; {self.mode}"


def energy_of(value: object) -> Energy | None:
    """Return the energy that a record holds; None where it holds none, or something else.

    Examples
    --------
    >>> spent = Energy(0.5, 0.2, 60.0, "estimate")
    >>> energy_of(spent.to_dict()) == spent, energy_of(None), energy_of({"energy_kwh": -1})
    (True, None, None)
    """
    if not isinstance(value, Mapping):
        return None
    numbers = [value.get(name) for name in ("energy_kwh", "co2_kg", "seconds")]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < math.inf for n in numbers):
        return None
    if not isinstance(value.get("mode"), str):
        return None
    kwh, co2, seconds = (float(n) for n in numbers if n is not None)
    return Energy(kwh, co2, seconds, value["mode"], _texts(value.get("assumptions")), _texts(value.get("missing")))


def add_up(parts: Sequence[Energy]) -> Energy:
    """Return the sum of energies of one mode; each sentence about them stands in it once.

    Raises
    ------
    CoppiceError
        If there are none, or their modes differ.

    Examples
    --------
    >>> add_up([Energy(1.0, 0.4, 60.0, "counter"), Energy(2.0, 0.8, 30.0, "counter")]).energy_kwh
    3.0
    >>> add_up([Energy(1.0, 0.4, 60.0, "counter"), Energy(2.0, 0.8, 30.0, "estimate")])
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: energies that were measured in different ways cannot be added up or compared: ...
    """
    if not parts:
        raise CoppiceError("there is no energy to add up.")
    mode = one_mode(parts)
    return Energy(
        energy_kwh=math.fsum(part.energy_kwh for part in parts),
        co2_kg=math.fsum(part.co2_kg for part in parts),
        seconds=math.fsum(part.seconds for part in parts),
        mode=mode,
        assumptions=tuple(dict.fromkeys(text for part in parts for text in part.assumptions)),
        missing=tuple(dict.fromkeys(text for part in parts for text in part.missing)),
    )


def one_mode(parts: Iterable[Energy]) -> str:
    """Return the mode that all the energies have.

    Raises
    ------
    CoppiceError
        If they differ.
    """
    modes = list(dict.fromkeys(part.mode for part in parts))
    if len(modes) != 1:
        raise CoppiceError(
            "energies that were measured in different ways cannot be added up or compared: "
            f"{' / '.join(modes)}. Measure all of them again in one way."
        )
    return modes[0]


def sums_by_mode(parts: Mapping[str, Energy | None]) -> tuple[Energy, ...]:
    """Return one sum for each mode, in the order in which the modes come; parts without a record are named.

    Parameters
    ----------
    parts : mapping of str to Energy or None
        By the name of what they were spent on.

    Examples
    --------
    >>> one, other = Energy(1.0, 0.4, 60.0, "counter"), Energy(1.0, 0.4, 60.0, "estimate")
    >>> found = sums_by_mode({"a": one, "b": other, "c": one, "d": None})
    >>> [(sum.mode, sum.energy_kwh) for sum in found], found[0].missing
    ([('counter', 2.0), ('estimate', 1.0)], ('there is no record of the energy of d',))
    """
    known = [part for part in parts.values() if part is not None]
    unknown = [name for name, part in parts.items() if part is None]
    sums = [add_up([part for part in known if part.mode == mode]) for mode in dict.fromkeys(p.mode for p in known)]
    if unknown and sums:
        named = (
            ", ".join(unknown) if len(unknown) < 4 else f"{len(unknown)} of {len(parts)} parts, such as {unknown[0]}"
        )
        sentence = f"there is no record of the energy of {named}"
        sums[0] = replace(sums[0], missing=(*sums[0].missing, sentence))
    return tuple(sums)


def kwh_text(kwh: float) -> str:
    """Write kilowatt hours with three significant digits.

    Examples
    --------
    >>> kwh_text(0.21), kwh_text(0.0000123), kwh_text(0)
    ('0.21 kWh', '1.23e-05 kWh', '0 kWh')
    """
    return f"{kwh:.3g} kWh"


def co2_text(kilograms: float) -> str:
    """Write CO2 equivalent in kilograms, small ones in grams or milligrams.

    Examples
    --------
    >>> co2_text(5.184), co2_text(0.0123), co2_text(0.00000531)
    ('5.18 kg CO2e', '12.3 g CO2e', '5.31 mg CO2e')
    """
    if kilograms >= 0.1:
        return f"{kilograms:.3g} kg CO2e"
    if kilograms >= 0.0001:
        return f"{1000 * kilograms:.3g} g CO2e"
    return f"{1e6 * kilograms:.3g} mg CO2e"


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(text) for text in value) if isinstance(value, list | tuple) else ()

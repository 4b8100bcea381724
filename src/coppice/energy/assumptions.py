"""What an energy rests on that no counter says: powers and carbon intensity, given by the user or assumed."""

import os
from dataclasses import dataclass

from coppice.core.errors import CoppiceError
from coppice.core.processor import processor
from coppice.energy.co2 import DEFAULT_INTENSITY
from coppice.energy.tables import find_power_w, intensity_g

# What CodeCarbon takes for a processor that it does not know.
PROCESSOR_W = 85.0
# The larger cards of the table of ML CO2 Impact have 250 to 300 W; newer ones more.
GPU_W = 300.0


@dataclass(frozen=True)
class Assumed:
    """A number and where it is from.

    Attributes
    ----------
    value : float
    why : str
        A part of a sentence.
    given : bool
        Whether the user said it.
    """

    value: float
    why: str
    given: bool


def processor_power() -> Assumed:
    """Return the watts of the whole processor: ``COPPICE_POWER_W``, else its data sheet's, else 85 W.

    Raises
    ------
    CoppiceError
        If the variable is no number above 0.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, COPPICE_POWER_W="65"):
    ...     processor_power()
    Assumed(value=65.0, why='65 W, given as COPPICE_POWER_W', given=True)
    """
    given = _number("COPPICE_POWER_W", "65")
    if given is not None:
        return Assumed(given, f"{given:g} W, given as COPPICE_POWER_W", True)
    return _power(processor(), PROCESSOR_W)


def gpu_power(name: str) -> Assumed:
    """Return the watts of a GPU: ``COPPICE_GPU_POWER_W``, else its data sheet's, else 300 W.

    Raises
    ------
    CoppiceError
        If the variable is no number above 0.

    Examples
    --------
    >>> gpu_power("Tesla T4").why
    '70 W, the thermal design power of T4'
    """
    given = _number("COPPICE_GPU_POWER_W", "350")
    if given is not None:
        return Assumed(given, f"{given:g} W, given as COPPICE_GPU_POWER_W", True)
    return _power(name, GPU_W)


def intensity() -> Assumed:
    """Return kilograms of CO2 equivalent per kWh: ``COPPICE_INTENSITY``, a number or a region, else 0.432.

    Raises
    ------
    CoppiceError
        If the variable is neither a number from 0 upwards nor a region of the table.

    Examples
    --------
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, COPPICE_INTENSITY="London"):
    ...     intensity().value
    0.623
    """
    text = os.environ.get("COPPICE_INTENSITY", "").strip()
    if not text:
        return Assumed(DEFAULT_INTENSITY, "ML CO2 Impact's default for private infrastructure", False)
    try:
        value = _number("COPPICE_INTENSITY", "0.2", least=True)
        assert value is not None
    except CoppiceError:
        if any(character.isdigit() for character in text):
            raise
        name, grams = intensity_g(text)
        return Assumed(grams / 1000, f"{name} in ML CO2 Impact's table of 2019, given as COPPICE_INTENSITY", True)
    return Assumed(value, "given as COPPICE_INTENSITY", True)


def _power(name: str, default: float) -> Assumed:
    found = find_power_w(name)
    if found is None:
        return Assumed(default, f"{default:g} W, assumed, as no power of {name!r} is on record", False)
    return Assumed(found[1], f"{found[1]:g} W, the thermal design power of {found[0]}", False)


def _number(variable: str, example: str, *, least: bool = False) -> float | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (0 < value < float("inf") or (least and value == 0)):
        wanted = "a number from 0 upwards, or a region such as London" if least else "a number above 0"
        raise CoppiceError(f"the environment variable {variable} is {text!r}; give {wanted}, such as {example}.")
    return value

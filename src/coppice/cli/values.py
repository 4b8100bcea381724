"""NAME=VALUE options as dictionaries."""

from collections.abc import Sequence

from coppice.core.errors import CoppiceError


def pairs(given: Sequence[str] | None, option: str, example: str) -> dict[str, str]:
    """Split ``NAME=VALUE`` texts.

    Examples
    --------
    >>> pairs(["conv2=11"], "--keep", "conv2=11")
    {'conv2': '11'}
    """
    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise CoppiceError(f"{option} {text!r} is not NAME=VALUE; write for example {option} {example}.")
        found[name] = value
    return found


def numbers(given: Sequence[str] | None, option: str, example: str) -> dict[str, float]:
    """Split ``NAME=NUMBER`` texts; whole numbers become int.

    Examples
    --------
    >>> numbers(["conv2=11", "conv3=0.5"], "--keep", "conv2=11")
    {'conv2': 11, 'conv3': 0.5}
    """
    found: dict[str, float] = {}
    for name, value in pairs(given, option, example).items():
        try:
            found[name] = float(value) if "." in value or "e" in value.lower() else int(value)
        except ValueError:
            raise CoppiceError(
                f"{option} {name}={value}: {value!r} is not a number; write for example {option} {example}."
            ) from None
    return found


def number_or_numbers(given: Sequence[str] | None, option: str, example: str) -> float | dict[str, float] | None:
    """Read one number for everything, or ``NAME=NUMBER`` texts; None where nothing is given.

    Examples
    --------
    >>> number_or_numbers(["0.5"], "--ratio", "conv2=0.5"), number_or_numbers(["conv2=0.5"], "--ratio", "conv2=0.5")
    (0.5, {'conv2': 0.5})
    """
    if given and len(given) == 1 and "=" not in given[0]:
        try:
            return float(given[0])
        except ValueError:
            pass
    return numbers(given, option, example) or None

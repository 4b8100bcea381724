"""What may stand behind the name of a criterion: its options, as in ``nystrom(m=4)``."""

from typing import Any

from coppice.core.errors import CoppiceError


def name_and_options(text: str) -> tuple[str, dict[str, Any]]:
    """Take apart a criterion as a recipe or the command line names it.

    Parameters
    ----------
    text : str
        A name, or a name with options in brackets: whole numbers, numbers or words.

    Raises
    ------
    CoppiceError
        If the brackets hold something else.

    Examples
    --------
    >>> name_and_options("l1"), name_and_options("nystrom(m=4, columns=spread)")
    (('l1', {}), ('nystrom', {'m': 4, 'columns': 'spread'}))
    """
    name, bracket, rest = text.partition("(")
    if not bracket:
        return text, {}
    options: dict[str, Any] = {}
    inside, closed, behind = rest.partition(")")
    for part in inside.split(","):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name.strip() and option and equals and value and closed) or behind.strip():
            raise CoppiceError(f"criterion {text!r} cannot be read; write options like nystrom(m=4, columns=spread).")
        if option in options:
            raise CoppiceError(f"criterion {text!r} gives {option!r} twice; give each option once.")
        options[option] = _value(value)
    return name.strip(), options


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")

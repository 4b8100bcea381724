"""The one error class for users, and the hint that goes with a misspelt name."""

import difflib
from collections.abc import Iterable


class CoppiceError(Exception):
    """Something the user gave cannot be used.

    The message names the thing, shows the value and says what would work, in one plain sentence or two.
    The command line prints it without a traceback and ends with exit code 2.

    Examples
    --------
    >>> raise CoppiceError("ratio for 'conv2' is 1.5; give a number between 0 and 1, such as 0.25.")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: ratio for 'conv2' is 1.5; give a number between 0 and 1, such as 0.25.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which known names come closest to a name that was not found.

    Parameters
    ----------
    name : str
        What the user wrote.
    known : iterable of str
        What would have worked.

    Returns
    -------
    str
        ``"Did you mean 'conv2'?"`` when something is close, else the list of all known names.

    Examples
    --------
    >>> did_you_mean("con2", ["conv1", "conv2", "dense1"])
    "Did you mean 'conv2'?"
    >>> did_you_mean("xyz", ["conv1", "conv2"])
    "Known: 'conv1', 'conv2'."
    """
    names = list(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)  # a user may have given a number
    if close:
        return f"Did you mean {close[0]!r}?"
    if not names:
        return "There is nothing to choose from."
    return "Known: " + ", ".join(repr(n) for n in names) + "."

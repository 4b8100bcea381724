"""Checks of an architecture's sizes: what cannot be is refused by name, before anything is allocated."""

import math
from collections.abc import Sequence

from coppice.core.errors import CoppiceError

MOST_UNITS = 65_536
MOST_FRAMES = 10**9


def is_whole(value: object, low: int, high: int) -> bool:
    """Say whether a value is a whole number in a range; ``True`` is not one.

    Examples
    --------
    >>> is_whole(3, 1, 4), is_whole(3.0, 1, 4), is_whole(True, 1, 4)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def check_units(network: str, layer: str, units: object) -> None:
    """Refuse an impossible number of units or filters in one layer.

    Raises
    ------
    CoppiceError
        If it is not a whole number from 1 to 65,536.

    Examples
    --------
    >>> check_units("surrey2022", "conv2", 0)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: surrey2022 cannot have 0 units in conv2; give 1 to 65536.
    """
    if not is_whole(units, 1, MOST_UNITS):
        raise CoppiceError(f"{network} cannot have {units!r} units in {layer}; give 1 to {MOST_UNITS}.")


def check_list(network: str, argument: str, sizes: object, layers: Sequence[str], standard: Sequence[int]) -> None:
    """Refuse a list of widths that does not name one possible size for each of the layers.

    Parameters
    ----------
    network, argument : str
        For the message.
    sizes : object
        What the user gave.
    layers : sequence of str
        The layers that it is about.
    standard : sequence of int
        An example of what works.

    Raises
    ------
    CoppiceError
        If the length or one of the sizes is wrong.

    Examples
    --------
    >>> check_list("vggish_net", "dense", [128], ("dense1", "dense2"), (4096, 128))
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: vggish_net takes 2 numbers in dense but got [128]; give such as [4096, 128].
    """
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or len(sizes) != len(layers):
        raise CoppiceError(
            f"{network} takes {len(layers)} numbers in {argument} but got {sizes!r}; give such as {list(standard)}."
        )
    for layer, size in zip(layers, sizes, strict=True):
        check_units(network, layer, size)


def check_classes(network: str, classes: object) -> None:
    """Refuse an impossible number of classes.

    Raises
    ------
    CoppiceError
        If it is not a whole number from 2 to 65,536.
    """
    if not is_whole(classes, 2, MOST_UNITS):
        raise CoppiceError(f"{network} cannot tell {classes!r} classes apart; give 2 to {MOST_UNITS}.")


def check_log_mel(network: str, bands: object, frames: object, *, least: tuple[int, int]) -> None:
    """Refuse a log-mel that is too small for an architecture's pools.

    Parameters
    ----------
    network : str
        For the message.
    bands, frames : object
        What the user gave.
    least : tuple of int
        The fewest bands and frames that work.

    Raises
    ------
    CoppiceError
        If one of them is too small, too large or no whole number.

    Examples
    --------
    >>> check_log_mel("vggish_net", 64, 12, least=(16, 16))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: vggish_net cannot take a 64×12 log-mel (bands × frames): it needs at least...
    """
    if not is_whole(bands, least[0], MOST_UNITS) or not is_whole(frames, least[1], MOST_FRAMES):
        raise CoppiceError(
            f"{network} cannot take a {bands}×{frames} log-mel (bands × frames): it needs at least {least[0]} bands "
            f"and {least[1]} frames; use a longer clip or a smaller hop."
        )


def check_dropout(dropout: object) -> None:
    """Refuse an impossible dropout.

    Raises
    ------
    CoppiceError
        If it is not a number from 0 to below 1.
    """
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout < 1:
        raise CoppiceError(f"dropout is {dropout!r}; give a number from 0 to below 1, such as 0.3.")


def check_factor(network: str, argument: str, factor: object, *, most: float) -> None:
    """Refuse an impossible factor by which widths grow.

    Raises
    ------
    CoppiceError
        If it is not a number above 0 and up to ``most``.
    """
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not math.isfinite(factor):
        raise CoppiceError(f"{network} takes a number as {argument} but got {factor!r}; give such as 1.8.")
    if not 0 < factor <= most:
        raise CoppiceError(f"{network} cannot have {argument} {factor!r}; give more than 0 and at most {most:g}.")

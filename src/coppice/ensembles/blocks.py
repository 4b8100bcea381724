"""Blocks of clips: what is chosen on some is scored on the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int

from coppice.core.errors import CoppiceError


@dataclass(frozen=True, eq=False)
class Blocks:
    """A division of clips into blocks.

    Attributes
    ----------
    of : ndarray of int, shape (clips,)
        The block of each clip, from 0.
    count : int
    how : str
        How they were made, in words.
    """

    of: Int[np.ndarray, " clips"]
    count: int
    how: str

    def sides(self) -> Iterator[tuple[Bool[np.ndarray, " clips"], Bool[np.ndarray, " clips"]]]:
        """Yield for each block the clips to choose on and those to score, as masks."""
        for block in range(self.count):
            held = self.of == block
            yield ~held, held


def make_blocks(
    targets: Int[np.ndarray, " clips"], *, count: int = 5, recordings: Sequence[str] | None = None
) -> Blocks:
    """Divide clips into blocks of neighbours, each class by itself.

    Pieces of one recording are alike, so that a choice made on one of them is not tested on the other. Where the
    recordings are known, none stands in two blocks. Where they are not, the rows of each class are cut into ``count``
    runs of neighbours, which keeps recordings together if the file has their pieces one after another;
    :func:`neighbours_alike` tells whether it has.

    Parameters
    ----------
    targets : ndarray of int, shape (clips,)
        The right classes.
    count : int >= 2
        How many blocks.
    recordings : sequence of str, optional
        The recording of each clip.

    Raises
    ------
    CoppiceError
        If a class has fewer clips, or recordings, than there are blocks.

    Examples
    --------
    >>> make_blocks(np.array([0, 0, 0, 0, 1, 1]), count=2).of.tolist()
    [0, 0, 1, 1, 0, 1]
    """
    if not isinstance(count, int) or count < 2:
        raise CoppiceError(f"the number of blocks is {count!r}; give a whole number from 2 upwards, such as 5.")
    if recordings is not None and len(recordings) != len(targets):
        raise CoppiceError(f"there are {len(recordings)} recordings for {len(targets)} clips; give one for each.")
    of = np.empty(len(targets), dtype=int)
    units = np.arange(len(targets)) if recordings is None else np.unique(recordings, return_inverse=True)[1]
    owner: dict[int, int] = {}
    for label in np.unique(targets):
        rows = np.flatnonzero(targets == label)
        runs = list(dict.fromkeys(units[rows].tolist()))
        if len(runs) < count:
            what = "clips" if recordings is None else "recordings"
            raise CoppiceError(
                f"{count} blocks need {count} {what} of each class, and one has {len(runs)}; give more, or fewer "
                "blocks."
            )
        for place, unit in enumerate(runs):
            owner.setdefault(unit, place * count // len(runs))
        of[rows] = [owner[unit] for unit in units[rows].tolist()]
    what = "neighbouring rows of a class" if recordings is None else "whole recordings"
    return Blocks(of, count, f"{count} blocks of {what}")


def neighbours_alike(losses: Float64[np.ndarray, " clips"], targets: Int[np.ndarray, " clips"]) -> float:
    """Return the correlation of the log-losses of neighbouring rows of a class.

    Near 0, the rows do not stand in the order of their recordings: blocks of rows are then no better than clips drawn
    at random, and scores across them are a little too good.

    Examples
    --------
    >>> round(neighbours_alike(np.array([0.0, 0.0, 1.0, 1.0]), np.zeros(4, dtype=int)), 2)
    0.33
    """
    products = squares = 0.0
    pairs = clips = 0
    for label in np.unique(targets):
        of_class = losses[targets == label]
        off = of_class - of_class.mean()
        products, pairs = products + float(off[1:] @ off[:-1]), pairs + max(len(off) - 1, 0)
        squares, clips = squares + float(off @ off), clips + len(off)
    return products / pairs / (squares / clips) if pairs and squares else 0.0

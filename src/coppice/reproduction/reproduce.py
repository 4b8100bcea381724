"""Compute published numbers again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.progress import progress_bar
from coppice.reproduction import (
    baselines,
    co2,
    dcase2021_report,
    dcase2022,
    dcase2022_scores,
    epanns,
    icassp2023,
    interspeech2022,
    soundnet,
)
from coppice.reproduction.claim import Claim, Row

_MODULES = (
    dcase2021_report,
    interspeech2022,
    dcase2022,
    dcase2022_scores,
    icassp2023,
    epanns,
    soundnet,
    baselines,
    co2,
)


def all_claims() -> tuple[Claim, ...]:
    """Return every published number that is reproduced, grouped by paper.

    Examples
    --------
    >>> len({claim.key for claim in all_claims()}) == len(all_claims())
    True
    """
    return tuple(claim for module in _MODULES for claim in module.claims())


def choose(claims: Sequence[Claim], only: Sequence[str]) -> tuple[Claim, ...]:
    """Return the claims whose key is, or begins with, one of some names.

    Parameters
    ----------
    claims : sequence of Claim
    only : sequence of str
        Such as ``"interspeech2022"`` or ``"interspeech2022.C2"``; all claims when empty.

    Raises
    ------
    CoppiceError
        If a name chooses nothing.
    """
    chosen = set()
    for name in only:
        found = {claim.key for claim in claims if claim.key == name or claim.key.startswith(f"{name}.")}
        if not found:
            names = sorted({claim.paper.key for claim in claims} | {claim.key for claim in claims})
            raise CoppiceError(f"no published number is called {name!r}. {did_you_mean(name, names)}")
        chosen |= found
    return tuple(claim for claim in claims if not only or claim.key in chosen)


def reproduce(data: str | Path, *, only: Sequence[str] = ()) -> tuple[Row, ...]:
    """Compute published numbers again, from released files and from the code.

    Parameters
    ----------
    data : str or Path
        Folder of released files (see docs/reproduced.md for their origin); where one is absent, its rows say so.
    only : sequence of str
        Papers or single numbers; all when empty.

    Returns
    -------
    tuple of Row
        In the order of :func:`all_claims`.

    Raises
    ------
    CoppiceError
        If a name in ``only`` chooses nothing.

    Examples
    --------
    >>> [row.status for row in reproduce("nowhere", only=["co2"])]
    ['agrees', 'agrees', 'agrees', 'agrees']
    """
    return tuple(_rows(choose(all_claims(), only), Path(data)))


def _rows(claims: Sequence[Claim], data: Path) -> Iterator[Row]:
    with progress_bar("reproducing", len(claims)) as advance:
        for claim in claims:
            yield _row(claim, data)
            advance(1, claim.key)


def _row(claim: Claim, data: Path) -> Row:
    absent = [name for name in claim.needs if not (data / name).exists()]
    if absent:
        return Row(claim, None, f"needs {', '.join(absent)}, which {data} does not have")
    try:
        return Row(claim, claim.compute(data))
    except CoppiceError as error:
        return Row(claim, None, str(error))

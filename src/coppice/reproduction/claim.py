"""One published number, and how it is computed here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Value = float | int | str
Compute = Callable[[Path], Value]

PRINTED = "printed"
RECOMPUTED = "recomputed"


@dataclass(frozen=True)
class Paper:
    """Where numbers come from.

    Attributes
    ----------
    key : str
        Short name, such as ``"interspeech2022"``; what ``--only`` takes.
    title : str
        For people.
    reference : str
        Where to read it.
    """

    key: str
    title: str
    reference: str


@dataclass(frozen=True)
class Claim:
    """A number from a paper, a repository or released files, beside the way to get it here.

    Attributes
    ----------
    paper : Paper
        Where it is from.
    name : str
        Unique within the paper: letters, digits, dots and hyphens.
    what : str
        What is counted or measured, in words.
    published : float, int or str
        The number, or a list of filters written with blanks.
    compute : callable
        Takes the folder of released files (which it may ignore) and returns our value.
    source : str
        Where exactly the published value stands; for values that no paper prints, that they were recomputed from
        released files by other means.
    convention : str
        How it is counted.
    unit : str
        Such as ``"%"``, ``"KB"``, ``"nats"``; empty for counts.
    tolerance : float
        Largest difference that still agrees: half a unit of the last printed digit, 0 for counts.
    needs : tuple of str
        Files or folders below the folder of released files.
    """

    paper: Paper
    name: str
    what: str
    published: Value
    compute: Compute
    source: str
    convention: str
    unit: str = ""
    tolerance: float = 0.0
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """``paper.name``: what ``--only`` takes."""
        return f"{self.paper.key}.{self.name}"


@dataclass(frozen=True)
class Row:
    """A claim after it was computed.

    Attributes
    ----------
    claim : Claim
    ours : float, int, str or None
        None when it could not be computed.
    note : str
        Why not.
    """

    claim: Claim
    ours: Value | None
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus published; None for lists and for what was not computed."""
        if isinstance(self.ours, str) or isinstance(self.claim.published, str) or self.ours is None:
            return None
        return self.ours - self.claim.published

    @property
    def status(self) -> str:
        """``agrees``, ``differs`` or ``absent`` (the files it needs are not there)."""
        if self.ours is None:
            return "absent" if self.note.startswith("needs ") else "differs"
        if self.difference is None:
            return "agrees" if self.ours == self.claim.published else "differs"
        # A difference of exactly half a digit must not fail for the last bit of a binary fraction.
        return "agrees" if abs(self.difference) <= self.claim.tolerance * (1 + 1e-9) else "differs"

"""What a counting convention is called, what it counts and who counts so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Convention:
    """A way of counting.

    Attributes
    ----------
    name : str
        By which it is chosen.
    counts : str
        What is counted, in one line.
    source : str
        Who counts so.
    """

    name: str
    counts: str
    source: str

"""Where sound comes from while it is heard."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32

BLOCK_S = 0.1


@dataclass(frozen=True, eq=False)
class Block:
    """A short piece of sound.

    Attributes
    ----------
    samples : ndarray of float32, shape (frames, channels)
        Full scale [-1, 1].
    arrived_at : float
        When its last sample was there, on the clock ``time.perf_counter``.
    """

    samples: Float32[np.ndarray, "frames channels"]
    arrived_at: float


class Source(Protocol):
    """A microphone, or a file that is played through.

    Attributes
    ----------
    name : str
        For people.
    sample_rate : int
        In Hz.
    dropped : int
        Blocks that were lost so far because nobody took them in time.
    """

    name: str
    sample_rate: int
    dropped: int

    def blocks(self) -> Generator[Block]:
        """Yield the sound as it arrives."""

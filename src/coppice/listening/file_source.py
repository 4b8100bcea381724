"""A sound file, played through as if it were heard now."""

import time
from collections.abc import Generator
from pathlib import Path

from coppice.audio.decode import decode_blocks, probe
from coppice.listening.source import BLOCK_S, Block


class FileSource:
    """The sound of a file, in real time or as fast as it can be heard.

    Parameters
    ----------
    path : str or Path
        WAV, FLAC, OGG or MP3 of any rate and length.
    fast : bool
        Do not wait: every block is there at once.

    Attributes
    ----------
    name, sample_rate, dropped
        See :class:`coppice.listening.source.Source`; a file waits, so that nothing is dropped.

    Raises
    ------
    CoppiceError
        If the file cannot be read.

    Examples
    --------
    >>> import numpy as np, soundfile, tempfile
    >>> file = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile.write(file, np.full(8000, 0.1), 16000)
    >>> [len(block.samples) for block in FileSource(file, fast=True).blocks()]
    [1600, 1600, 1600, 1600, 1600]
    """

    def __init__(self, path: str | Path, *, fast: bool = False) -> None:
        info = probe(path)
        self.name = Path(path).name
        self.sample_rate = info.sample_rate
        self.dropped = 0
        self._path = path
        self._fast = fast

    def blocks(self) -> Generator[Block]:
        """Yield blocks of 0.1 s, each when its last sample would have been heard."""
        size = round(self.sample_rate * BLOCK_S)
        frames, begun = 0, time.perf_counter()
        for part in decode_blocks(self._path):
            for first in range(0, len(part), size):
                samples = part[first : first + size]
                frames += len(samples)
                due = begun + frames / self.sample_rate
                if self._fast:
                    due = time.perf_counter()
                else:
                    time.sleep(max(0.0, due - time.perf_counter()))
                yield Block(samples, due)

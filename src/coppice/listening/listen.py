"""Listening until the sound ends or somebody stops it, and what it cost."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from coppice.listening.listener import Heard, Listener
from coppice.listening.source import Source


@dataclass(frozen=True)
class Summary:
    """What a listener heard, and what that cost.

    Attributes
    ----------
    heard_s : float
        Seconds of sound.
    windows : int
        How many windows were heard.
    clip_s, hop_s : float
        Length of a window, and from one to the next.
    real_time_factor : float or None
        Seconds of computing for a second of sound: below 1, the network keeps up. None where there was no sound.
    latency_ms_p50, latency_ms_p95 : float or None
        From the arrival of a window's last block to the result: median and 95th percentile; None without a window.
    dropped : int
        Blocks of 0.1 s that were lost.
    remarks : tuple of str
        What was done to the sound, and what was wrong with it.
    """

    heard_s: float
    windows: int
    clip_s: float
    hop_s: float
    real_time_factor: float | None
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    dropped: int
    remarks: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """Return the summary for people, with advice where the network does not keep up."""
        lines = [
            f"heard {self.heard_s:.1f} s in {self.windows} window{'' if self.windows == 1 else 's'} of "
            f"{self.clip_s:g} s, one every {self.hop_s:g} s; {self.dropped} blocks dropped"
        ]
        if self.real_time_factor is not None:
            lines.append(f"real-time factor {self.real_time_factor:.3f}: seconds of computing for a second of sound")
        if self.latency_ms_p50 is not None:
            lines.append(f"latency {self.latency_ms_p50:.1f} ms median, {self.latency_ms_p95:.1f} ms 95th percentile")
        if self.dropped or (self.real_time_factor or 0) >= 1:
            lines.append("the network does not keep up with the sound; give a larger --hop, or a smaller network")
        return (*lines, *self.remarks)


def summary(listener: Listener, source: Source) -> Summary:
    """Say what a listener heard by now, and what that cost."""
    p50, p95 = np.percentile(listener.latencies_ms, (50, 95)).tolist() if listener.windows else (None, None)
    return Summary(
        heard_s=listener.heard_s,
        windows=listener.windows,
        clip_s=listener.clip_s,
        hop_s=listener.hop_s,
        real_time_factor=listener.computing_s / listener.heard_s if listener.heard_s else None,
        latency_ms_p50=p50,
        latency_ms_p95=p95,
        dropped=source.dropped,
        remarks=listener.remarks() if listener.heard_s else (),
    )


def listen(listener: Listener, source: Source, show: Callable[[list[Heard]], None]) -> bool:
    """Hear a source until it ends, or until Ctrl-C.

    Parameters
    ----------
    listener : Listener
        For sound of the source's rate.
    source : Source
        Microphone or file.
    show : callable
        Is told after each block what was heard in the windows that it completed, perhaps in none.

    Returns
    -------
    bool
        Whether the sound ended by itself.

    Examples
    --------
    >>> import soundfile, tempfile, torch
    >>> from pathlib import Path
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.listening.file_source import FileSource
    >>> from coppice.networks.classifier import Classifier
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear, bands = front_end("dcase2021", duration_s=1.0), (torch.zeros(40), torch.ones(40))
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), *bands)
    >>> file = Path(tempfile.mkdtemp()) / "tone.wav"
    >>> soundfile.write(file, np.linspace(-0.1, 0.1, 66150), 44100)
    >>> source, shown = FileSource(file, fast=True), []
    >>> listener = Listener(one, sample_rate=source.sample_rate)
    >>> listen(listener, source, shown.extend), [heard.end_s for heard in shown]
    (True, [1.0, 1.5])
    >>> summary(listener, source).windows
    2
    """
    try:
        with closing(source.blocks()) as blocks:
            for block in blocks:
                show(listener.push(block.samples, arrived_at=block.arrived_at))
        show(listener.finish())
    except KeyboardInterrupt:
        return False
    return True

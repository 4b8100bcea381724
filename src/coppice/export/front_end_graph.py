"""The front end as a module of plain tensor operators, which can go into a file: no feature code on the device."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coppice.audio.front_end import FrontEnd
from coppice.export.fourier import FourierTables, fourier_tables

_INT16 = 32767.0
_MOST_SLICES = 16


class FrontEndGraph(nn.Module):
    """Waveform to log-mel, as :func:`coppice.audio.log_mel.log_mel`, for a batch of clips of the front end's length.

    Framing, window, Fourier transform (:mod:`coppice.export.fourier`), mel filterbank and logarithm are slices,
    products and sums. Against ``log_mel`` in float64 it is as exact as ``log_mel`` in float32.

    Parameters
    ----------
    front_end : FrontEnd
        All constants; resampling is not part of the graph.

    Raises
    ------
    CoppiceError
        If the transform's tables would be too large for a file.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> FrontEndGraph(front_end("dcase2021", duration_s=1.0))(torch.zeros(2, 44100)).shape
    torch.Size([2, 40, 50])
    """

    window: Tensor
    first: Tensor
    real: Tensor
    imaginary: Tensor
    bank: Tensor
    waveform_offset: Tensor
    log_offset: Tensor
    log_floor: Tensor

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        tables = fourier_tables(front_end.n_fft, front_end.win_length)
        shape = np.pad(front_end.shaping_window(), (0, tables.samples - front_end.win_length))
        constants = {
            "window": shape.reshape(-1, tables.columns),
            "first": tables.first,
            "real": tables.real,
            "imaginary": tables.imaginary,
            "bank": _bank(front_end, tables),
        }
        for name in ("waveform_offset", "log_offset", "log_floor"):
            # With an axis: optimisers take a scalar as small as 2.2e-16 for zero, and silence would become -infinity.
            constants[name] = np.array([getattr(front_end, name)])
        for name, constant in constants.items():
            self.register_buffer(name, torch.from_numpy(constant).float())

    def forward(self, waveform: Float[Tensor, "clips samples"]) -> Float[Tensor, "clips mels frames"]:
        """Return log-mel in the unit of the front end."""
        front_end = self.front_end
        frames = self._frames(self._continued(waveform)).unflatten(2, tuple(self.window.shape)) * self.window
        halves, columns = len(self.real), self.window.shape[1]
        partial = (self.first @ frames).reshape(-1, halves, 2 * columns).transpose(0, 1)
        real, imaginary = partial @ self.real, partial @ self.imaginary
        energy = real * real + imaginary * imaginary
        energy = energy.transpose(0, 1).reshape(-1, front_end.frames, halves * columns)
        bands = (energy.sqrt() if front_end.power == 1.0 else energy) @ self.bank
        return self._logarithm(bands).transpose(1, 2)

    def _continued(self, waveform: Float[Tensor, "clips samples"]) -> Float[Tensor, "clips continued"]:
        """Return whole hops from the first sample of the first window on, beyond the waveform's ends."""
        front_end = self.front_end
        signal = waveform
        if front_end.waveform_offset:
            signal = signal + self.waveform_offset
        if front_end.preemphasis:
            signal = signal[:, 1:] - front_end.preemphasis * signal[:, :-1]
        half = front_end.n_fft // 2
        before = half - (front_end.n_fft - front_end.win_length) // 2
        width = self._width()
        needed = (front_end.frames - 1) * front_end.hop_length + -(-self.window.numel() // width) * width
        missing = needed - before - (front_end.samples - (front_end.preemphasis > 0))
        if front_end.pad_mode == "constant":
            return F.pad(signal, (before, missing))
        mirrored = min(max(missing, 0), half)
        parts = [signal[:, 1 : before + 1].flip(1), signal, signal[:, -mirrored - 1 : -1].flip(1)]
        signal = torch.cat([part for part, samples in zip(parts, (before, 1, mirrored), strict=True) if samples], dim=1)
        # What is still missing lies beyond the last window, and what is too much is cut.
        return F.pad(signal, (0, missing - mirrored)) if missing != mirrored else signal

    def _frames(self, signal: Float[Tensor, "clips continued"]) -> Float[Tensor, "clips frames samples"]:
        """Lay each frame's hops side by side."""
        hop, count, samples = self.front_end.hop_length, self.front_end.frames, self.window.numel()
        laid = signal.unflatten(1, (-1, hop))
        while laid.shape[2] < self._width():
            apart = laid.shape[2] // hop
            laid = torch.cat((laid[:, :-apart], laid[:, apart:]), dim=2)
        starts = range(0, samples, laid.shape[2])
        slices = [laid[:, start // hop : start // hop + count, : samples - start] for start in starts]
        return torch.cat(slices, dim=2)

    def _width(self) -> int:
        """Return how much of a frame one slice holds: a hop, doubled where there would be too many slices."""
        width = self.front_end.hop_length
        while -(-self.window.numel() // width) > _MOST_SLICES:
            width *= 2
        return width

    def _logarithm(self, bands: Float[Tensor, "clips frames mels"]) -> Float[Tensor, "clips frames mels"]:
        front_end = self.front_end
        if front_end.log_offset:
            bands = bands + self.log_offset
        if front_end.log_floor:
            bands = torch.maximum(bands, self.log_floor)
        bands = bands.log() if front_end.log == "natural" else bands.log10() * (20.0 / front_end.power)
        if (front_end.log_shift, front_end.log_divisor) != (0.0, 1.0):
            bands = (bands + front_end.log_shift) / front_end.log_divisor
        if front_end.clip_scaling == "peak_int16":
            peak = bands.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1.0)
            bands = (bands / peak * _INT16).trunc() / _INT16
        return bands


def _bank(front_end: FrontEnd, tables: FourierTables) -> np.ndarray:
    """Return the filterbank in the order of the spectrum's values, zeros where a bin stands a second time."""
    order = tables.bins.ravel()
    bank = front_end.filterbank().T[order]
    _, once = np.unique(order, return_index=True)
    bank[np.setdiff1d(np.arange(len(order)), once)] = 0.0
    return bank

"""A classifier from an ONNX file of ours, run by the runtime that a device would use, not by PyTorch."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from coppice.audio.front_end import FrontEnd
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.export.onnx_file import OnnxFile, read_onnx
from coppice.export.posterior_graph import FEATURES, LOG_MEL, WAVEFORM
from coppice.export.runtimes import c_posteriors, first_line, onnxruntime_posteriors, openvino_posteriors
from coppice.networks.classifier import SCORES

RUNS = {"onnxruntime": onnxruntime_posteriors, "openvino": openvino_posteriors, "c": c_posteriors}

_Run = Callable[[Float32[np.ndarray, "clips *shape"]], Float[np.ndarray, "clips classes"]]


@dataclass(frozen=True, eq=False)
class OnnxClassifier:
    """What an exported file needs to hear as the classifier did that it was made from.

    Where posteriors are wanted, it stands in for :class:`coppice.networks.classifier.Classifier`.

    Attributes
    ----------
    file : OnnxFile
        The model, with what it says of itself.
    runtime : str
        ``onnxruntime``, ``openvino`` or ``c``.
    front_end : FrontEnd or None
        How a waveform becomes log-mel; None where the file does not say.
    labels : tuple of str
        The classes, in the order of the posteriors.
    band_mean, band_std : Tensor [shape=(mels,)] or None
        Per-band normalisation, in the front end's unit; None where the file does not say.
    score : {"softmax", "sigmoid"}
        One class of several, or each class for itself.
    takes : {"waveform", "normalised_log_mel", "features"}
        The input of the graph: with the front end inside, it is the waveform.
    """

    file: OnnxFile
    runtime: str
    front_end: FrontEnd | None
    labels: tuple[str, ...]
    band_mean: Float[Tensor, " mels"] | None
    band_std: Float[Tensor, " mels"] | None
    score: str
    takes: str
    _run: _Run

    def known_front_end(self) -> FrontEnd:
        """Return the front end.

        Raises
        ------
        CoppiceError
            If the file does not say it.
        """
        if self.front_end is None:
            raise CoppiceError(
                f"{self.file.name} does not say its front end, because the network that it was exported from had "
                'none; load that with one, coppice.load(path, front_end="dcase2021"), and export again.'
            )
        return self.front_end

    def posteriors(
        self, log_mel: Float[Tensor, "clips mels frames"], *, batch_size: int = 64
    ) -> Float[Tensor, "clips classes"]:
        """Return the runtime's class probabilities of log-mel clips, as float64.

        Parameters
        ----------
        log_mel : Tensor [shape=(clips, mels, frames)], in the front end's unit
            Not normalised.
        batch_size : int
            Clips computed at a time.

        Raises
        ------
        CoppiceError
            If the front end is inside the file, which then takes waveforms; if the normalisation is not known; or if
            the shape is not that of the front end.
        """
        if self.takes == WAVEFORM:
            raise CoppiceError(
                f"{self.file.name} has its front end inside and takes waveforms, not log-mel; "
                "use posteriors_of_waveforms."
            )
        expected = self.file.clip_shape[-2:]
        if log_mel.ndim != 3 or tuple(log_mel.shape[1:]) != expected:
            raise CoppiceError(
                f"log-mel of shape {tuple(log_mel.shape)} does not fit: {self.file.name} takes (clips, "
                + ", ".join(map(str, expected))
                + ")."
            )
        if self.band_mean is None or self.band_std is None:
            raise CoppiceError(
                f"{self.file.name} does not say its normalisation, because the network that it was exported from had "
                "none; fine-tune that, which measures the bands of the training clips, and export again."
            )
        normalised = ((log_mel - self.band_mean[:, None]) / self.band_std[:, None]).unsqueeze(1)
        return self._batches(normalised.float(), batch_size)

    def posteriors_of_waveforms(
        self, waveforms: Float[Tensor, "clips samples"], *, batch_size: int = 64
    ) -> Float[Tensor, "clips classes"]:
        """Return the runtime's class probabilities of waveforms, as float64, wherever the front end is.

        Parameters
        ----------
        waveforms : Tensor [shape=(clips, samples)], -1 to 1
            At the front end's sample rate and of its length.
        batch_size : int
            Clips computed at a time.

        Raises
        ------
        CoppiceError
            If front end or normalisation are not known, or the length is not the front end's.
        """
        front_end = self.known_front_end()
        if waveforms.ndim != 2 or waveforms.shape[1] != front_end.samples:
            raise CoppiceError(
                f"waveforms of shape {tuple(waveforms.shape)} do not fit: {self.file.name} takes (clips, "
                f"{front_end.samples} samples), {front_end.duration_s:g} s at {front_end.sample_rate} Hz."
            )
        if self.takes == WAVEFORM:
            return self._batches(waveforms.float(), batch_size)
        parts = [
            self.posteriors(torch.stack([log_mel(waveform, front_end) for waveform in part]), batch_size=batch_size)
            for part in (waveforms.split(batch_size) if len(waveforms) else ())
        ]
        return torch.cat(parts) if parts else torch.empty(0, len(self.labels), dtype=torch.float64)

    def _batches(self, inputs: Float32[Tensor, "clips *shape"], batch_size: int) -> Float[Tensor, "clips classes"]:
        parts = [self._run(part.numpy()) for part in inputs.split(batch_size)] if len(inputs) else []
        found = np.concatenate(parts) if parts else np.empty((0, len(self.labels)))
        return torch.from_numpy(found.astype(np.float64))


def load_onnx(path: str | Path, *, runtime: str = "onnxruntime", threads: int = 1) -> OnnxClassifier:
    """Read an ONNX file that Coppice wrote as a classifier that a runtime runs.

    Parameters
    ----------
    path : str or Path
        What :func:`coppice.export.onnx.export_onnx` or :func:`coppice.quantization.int8.quantize_int8` wrote.
    runtime : {"onnxruntime", "openvino", "c"}
        Who runs it.
    threads : int >= 1
        Of the runtime.

    Returns
    -------
    OnnxClassifier

    Raises
    ------
    CoppiceError
        If the file is missing, cut off or damaged, does not say labels, score and input as our files do, or has an
        operator that the runtime lacks; or if the runtime is unknown or not installed.

    Examples
    --------
    >>> import tempfile
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.export.onnx import export_onnx
    >>> from coppice.networks.classifier import Classifier
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> ear, bands = front_end("dcase2021", duration_s=1.0), (torch.zeros(40), torch.ones(40))
    >>> one = Classifier(DCASE2021(widths=(2, 2, 2), frames=50), ear, tuple("abcdefghij"), *bands)
    >>> file = export_onnx(one, Path(tempfile.mkdtemp()) / "one.onnx").path
    >>> load_onnx(file).posteriors_of_waveforms(torch.zeros(3, 44100)).shape
    torch.Size([3, 10])
    """
    return heard_by(runtime, read_onnx(path), threads=threads)


def heard_by(runtime: str, file: OnnxFile, *, threads: int = 1) -> OnnxClassifier:
    """Let a runtime run a model that Coppice made, from a file or in memory; see :func:`load_onnx`.

    Raises
    ------
    CoppiceError
        As :func:`load_onnx`.
    """
    if runtime not in RUNS:
        raise CoppiceError(f"{runtime!r} does not run ONNX files. {did_you_mean(runtime, RUNS)}")
    if threads < 1:
        raise CoppiceError(f"threads is {threads}; give at least 1.")
    said = _said(file)
    classifier = OnnxClassifier(
        file=file, runtime=runtime, _run=RUNS[runtime](file, threads=threads), **_checked(said, file)
    )
    _try(classifier)
    return classifier


def _said(file: OnnxFile) -> dict[str, Any]:
    """Return the metadata as values; which file may hold what is not known here."""
    missing = [key for key in ("coppice_version", "labels", "score", "input") if key not in file.metadata]
    if missing:
        raise CoppiceError(
            f"{file.name} does not say its {missing[0]}, as ONNX files that Coppice wrote do; export the network "
            "with coppice.export_onnx, or only time this file: coppice profile."
        )
    said: dict[str, Any] = {key: file.metadata[key] for key in ("score", "input")}
    for key in ("labels", "front_end", "band_mean", "band_std"):
        try:
            said[key] = json.loads(file.metadata[key]) if key in file.metadata else None
        except (ValueError, RecursionError) as error:
            raise CoppiceError(f"{file.name} has damaged metadata: its {key} is not JSON; export it again.") from error
    return said


def _checked(said: dict[str, Any], file: OnnxFile) -> dict[str, Any]:
    labels, score, takes = said["labels"], said["score"], said["input"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise CoppiceError(f"{file.name} says that its labels are {str(labels)[:60]!r}, which is not a list of names.")
    if len(set(labels)) < len(labels):
        raise CoppiceError(f"{file.name} has one label twice.")
    if score not in SCORES:
        raise CoppiceError(f"{file.name} says that its logits become scores by {score[:60]!r}.")
    if takes not in (WAVEFORM, LOG_MEL, FEATURES):
        raise CoppiceError(f"{file.name} says that it takes {takes[:60]!r}, which is not known.")
    try:
        front_end = None if said["front_end"] is None else FrontEnd.from_dict(said["front_end"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CoppiceError(f"{file.name} has damaged metadata: its front end is none ({error}).") from error
    if takes != FEATURES:
        shape = None if front_end is None else (front_end.samples,) if takes == WAVEFORM else (1, *front_end.shape)
        if file.clip_shape != shape:
            raise CoppiceError(f"{file.name} takes clips of shape {file.clip_shape}, and its front end gives {shape}.")
    bands = {name: _bands(said[name], name, front_end, file) for name in ("band_mean", "band_std")}
    return {"front_end": front_end, "labels": tuple(labels), "score": score, "takes": takes, **bands}


def _bands(values: Any, name: str, front_end: FrontEnd | None, file: OnnxFile) -> Tensor | None:
    if values is None or front_end is None:
        return None
    try:
        bands = torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        bands = torch.empty(0)
    if (
        bands.shape != (front_end.n_mels,)
        or not torch.isfinite(bands).all()
        or (name == "band_std" and bands.min() <= 0)
    ):
        raise CoppiceError(f"{file.name} has damaged metadata: its {name} is not one number for each band.")
    return bands


def _try(classifier: OnnxClassifier) -> None:
    """Run one clip of zeros: what does not fit shows here, not in the middle of somebody's work."""
    try:
        found = classifier._run(np.zeros((1, *classifier.file.clip_shape), np.float32))
    except Exception as error:  # the runtimes' exceptions have no common class
        raise CoppiceError(f"{classifier.runtime} cannot run {classifier.file.name}: {first_line(error)}.") from error
    if found.shape != (1, len(classifier.labels)):
        raise CoppiceError(
            f"{classifier.file.name} says that it has {len(classifier.labels)} classes but gives posteriors of shape "
            f"{found.shape}."
        )

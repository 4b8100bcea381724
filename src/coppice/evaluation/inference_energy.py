"""What classifying a stated number of clips takes: sound files read, features computed, the network run."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.core.progress import progress_bar
from coppice.datasets.features import clip_waveform
from coppice.datasets.sources import open_dataset
from coppice.energy.energy import Energy, one_mode
from coppice.energy.meter import metered
from coppice.evaluation.hears import Hears
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2022 import DCASE2022

AT_ONCE = 16
BASELINE = "DCASE Task 1 2022/2023 baseline"
BASELINE_IS = "its architecture and front end, with random weights, in float32 in PyTorch"


@dataclass(frozen=True)
class InferenceEnergy:
    """Energy of classifying clips.

    Attributes
    ----------
    clips : int
        How many clips the energy is for.
    heard_s : float
        Seconds of each clip that the network hears.
    passes : int
        How many times they were classified; the energy is the mean of the passes.
    energy : Energy
        Of one pass over the clips.
    how : str
        What was done in a pass.
    """

    clips: int
    heard_s: float
    passes: int
    energy: Energy
    how: str

    @property
    def joule_per_clip(self) -> float:
        """Joule for one clip."""
        return 3.6e6 * self.energy.energy_kwh / self.clips

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data."""
        return {**asdict(self), "joule_per_clip": self.joule_per_clip, "energy": self.energy.to_dict()}


def inference_energy(classifier: Hears, clips: pd.DataFrame, *, at_least_s: float = 10.0) -> InferenceEnergy:
    """Measure the energy of classifying clips from their sound files.

    After one batch for warming up, all clips are decoded, turned into features and classified, in batches of 16, again
    and again until ``at_least_s`` have passed: counters are read every second or so. Loading the model is not counted.

    Parameters
    ----------
    classifier : Classifier or OnnxClassifier
        Left as it is.
    clips : DataFrame
        One row per clip with ``file``, ``start_s`` and ``duration_s``.
    at_least_s : float > 0
        For how long to measure.

    Returns
    -------
    InferenceEnergy

    Raises
    ------
    CoppiceError
        If there are no clips, one cannot be read, the front end is not known or the time is not above 0.

    Examples
    --------
    >>> from coppice.datasets.sources import open_dataset
    >>> sounds = open_dataset("synthetic", clips_per_class=5, duration_s=0.5)
    >>> found = inference_energy(dcase2022_baseline(), sounds.clips.head(3), at_least_s=0.01)
    >>> found.clips, found.heard_s, found.energy.energy_kwh > 0
    (3, 1.0, True)
    """
    if not len(clips):
        raise CoppiceError("there are no clips to classify.")
    if not 0 < at_least_s < float("inf"):
        raise CoppiceError(f"at_least_s is {at_least_s}; give seconds above 0, such as 10.")
    rows, ear, passes = clips.to_dict("records"), classifier.known_front_end(), 0
    _listen(classifier, rows[:AT_ONCE])
    with metered() as meter, progress_bar("measuring", round(at_least_s), after_s=1.0) as advance:
        begun, shown = time.monotonic(), 0
        while not passes or time.monotonic() - begun < at_least_s:
            for start in range(0, len(rows), AT_ONCE):
                _listen(classifier, rows[start : start + AT_ONCE])
                now = min(int(time.monotonic() - begun), round(at_least_s))
                advance(now - shown, "s")
                shown = now
            passes += 1
    whole = meter.energy
    energy = replace(
        whole,
        energy_kwh=whole.energy_kwh / passes,
        co2_kg=whole.co2_kg / passes,
        seconds=whole.seconds / passes,
    )
    threads = "1 thread" if torch.get_num_threads() == 1 else f"{torch.get_num_threads()} threads"
    how = (
        f"sound files decoded, features computed, network run, {AT_ONCE} clips at a time, {threads} "
        f"of PyTorch; mean of {passes} passes after a warm-up; loading the model is not counted"
    )
    return InferenceEnergy(len(rows), ear.duration_s, passes, energy, how)


def clips_to_measure(source: str | Path, *, root: str | Path | None = None, count: int = 200) -> pd.DataFrame:
    """Return up to ``count`` clips of a dataset, spread evenly over its table.

    Raises
    ------
    CoppiceError
        If the dataset cannot be opened, or the count is below 1.
    """
    if count < 1:
        raise CoppiceError(f"the number of clips is {count}; give a whole number from 1 upwards.")
    clips = open_dataset(source, root=root).clips
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int))
    return clips.iloc[chosen].reset_index(drop=True)


def dcase2022_baseline() -> Classifier:
    """Return the official baseline of DCASE Task 1, 2022 and 2023, with random weights: energy does not depend on them.

    Examples
    --------
    >>> sum(parameter.numel() for parameter in dcase2022_baseline().network.parameters())
    46118
    """
    ear = front_end("dcase2022")
    bands = torch.zeros(ear.n_mels)
    network = DCASE2022(frames=ear.frames, bands=ear.n_mels).eval()
    return Classifier(network, ear, tuple(f"scene {number}" for number in range(10)), bands, bands + 1)


def inference_record(measured: InferenceEnergy, baseline: InferenceEnergy | None) -> dict[str, Any]:
    """Return what was measured, and of the baseline on the same clips, as one JSON-able record.

    Raises
    ------
    CoppiceError
        If the two were measured on other numbers of clips, or in different ways.
    """
    record: dict[str, Any] = {"version": 1, **measured.to_dict(), "baseline": None}
    if baseline is not None:
        if baseline.clips != measured.clips:
            raise CoppiceError(
                f"the network was measured on {measured.clips} clips and the baseline on {baseline.clips}; give both "
                "the same."
            )
        one_mode([measured.energy, baseline.energy])
        record["baseline"] = {"network": BASELINE, "network_is": BASELINE_IS, **baseline.to_dict()}
    return record


def _listen(classifier: Hears, rows: Sequence[Mapping[Any, Any]]) -> None:
    ear = classifier.known_front_end()
    waveforms = np.stack([clip_waveform(row, ear)[0] for row in rows])
    classifier.posteriors_of_waveforms(torch.from_numpy(waveforms), batch_size=AT_ONCE)

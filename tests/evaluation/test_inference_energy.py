import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.energy.energy import Energy
from coppice.evaluation import inference_energy as file
from coppice.evaluation.inference_energy import (
    InferenceEnergy,
    clips_to_measure,
    dcase2022_baseline,
    inference_energy,
    inference_record,
)


class Ear:
    """Listens, and remembers to how many clips at a time."""

    labels = ("a", "b")

    def __init__(self):
        self.heard = []

    def known_front_end(self):
        return front_end("dcase2022")

    def posteriors_of_waveforms(self, waveforms, *, batch_size=64):
        self.heard.append(tuple(waveforms.shape))
        return torch.full((len(waveforms), 2), 0.5, dtype=torch.float64)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Twenty clips of a folder of two classes, 0.2 s each."""
    root = tmp_path_factory.mktemp("clips")
    for label in ("a", "b"):
        (root / label).mkdir()
        for number in range(10):
            wave = 0.1 * np.random.default_rng(number).standard_normal(8820)
            soundfile.write(root / label / f"{number}.wav", wave, 44_100)
    return root


def test_all_clips_are_heard_in_each_pass_and_the_energy_is_that_of_one(clips, monkeypatch):
    class Meter:
        def __init__(self, jobs=1):
            self.energy = Energy(0.6, 0.3, 30.0, "RAPL", ("x",))

        def stop(self):
            return self.energy

    ticks = iter(range(1000))
    monkeypatch.setattr("coppice.energy.meter.Meter", Meter)
    monkeypatch.setattr(file.time, "monotonic", lambda: 0.25 * next(ticks))
    ear = Ear()
    found = inference_energy(ear, clips_to_measure(clips), at_least_s=5.0)
    # Warming up, then passes of 16 and 4 clips; the clock moves on by 0.25 s whenever it is looked at.
    assert ear.heard == [(16, 44_100), *[(16, 44_100), (4, 44_100)] * found.passes]
    assert found.passes > 1
    assert found.clips == 20
    assert found.energy.energy_kwh == pytest.approx(0.6 / found.passes)
    assert found.energy.seconds == pytest.approx(30.0 / found.passes)
    assert found.joule_per_clip == pytest.approx(0.6 / found.passes * 3.6e6 / 20)
    assert f"mean of {found.passes} passes" in found.how
    assert found.to_dict()["joule_per_clip"] == found.joule_per_clip


def test_clips_are_spread_evenly_over_the_table(clips):
    assert len(clips_to_measure(clips, count=1000)) == 20
    chosen = clips_to_measure(clips, count=4)
    assert list(chosen["label"]) == ["a", "a", "b", "b"]
    with pytest.raises(CoppiceError, match="number of clips is 0; give a whole number from 1"):
        clips_to_measure(clips, count=0)


def test_the_baseline_is_the_official_architecture_with_its_front_end():
    made = dcase2022_baseline()
    assert sum(parameter.numel() for parameter in made.network.parameters()) == 46_118
    assert made.front_end == front_end("dcase2022")
    assert made.posteriors_of_waveforms(torch.zeros(2, 44_100) + 0.01).shape == (2, 10)


def test_no_clips_or_no_time_are_refused(clips):
    with pytest.raises(CoppiceError, match="no clips to classify"):
        inference_energy(Ear(), pd.DataFrame())
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(CoppiceError, match="at_least_s is"):
            inference_energy(Ear(), clips_to_measure(clips), at_least_s=seconds)


def test_the_baseline_is_not_compared_across_modes_or_numbers_of_clips():
    def measured(mode="RAPL", clips=10):
        return InferenceEnergy(clips, 1.0, 3, Energy(1.0, 0.5, 1.0, mode), "so")

    record = inference_record(measured(), measured())
    assert record["baseline"]["energy"] == record["energy"] == Energy(1.0, 0.5, 1.0, "RAPL").to_dict()
    assert inference_record(measured(), None)["baseline"] is None
    with pytest.raises(CoppiceError, match="measured in different ways cannot be added up or compared"):
        inference_record(measured(), measured("estimate"))
    with pytest.raises(CoppiceError, match="on 10 clips and the baseline on 20"):
        inference_record(measured(), measured(clips=20))

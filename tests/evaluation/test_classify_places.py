import csv

import numpy as np
import pytest
import soundfile
import torch

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.evaluation.classify import Classification, Window, classify
from coppice.evaluation.classify_places import classify_places, write_csv
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021

RATE = 8000


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    ears = front_end("logmel", sample_rate=RATE, n_fft=512, win_length=320, hop_length=160, n_mels=20, duration_s=0.5)
    network = DCASE2021(widths=(4, 4, 4), dense=5, classes=3, bands=20, frames=25)
    return Classifier(network, ears, ("bus", "park", "tram"), torch.full((20,), -3.0), torch.ones(20))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for number, name in enumerate(("b.wav", "a.flac", "below/c.ogg")):
        sound = np.random.default_rng(number).uniform(-0.5, 0.5, 4000 + 2000 * number)
        soundfile.write(tmp_path / name, sound, RATE)
    (tmp_path / "broken.wav").write_text("these are words")
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_folders_are_heard_in_order_and_a_bad_file_does_not_end_the_others(classifier, folder):
    (folder / "empty").mkdir()
    heard, problems = classify_places(classifier, [folder / "nowhere.wav", folder, folder / "b.wav", folder / "empty"])
    files = [folder / name for name in ("a.flac", "b.wav", "below/c.ogg", "b.wav")]
    assert [one.file for one in heard] == [str(file) for file in files]
    assert heard == [classify(classifier, file) for file in files]
    assert len(problems) == 3
    assert problems[0].endswith("nowhere.wav: no such file or folder.")
    assert "empty holds no sound files" in problems[1]
    assert "broken.wav is not a sound file that can be read" in problems[2]


def test_what_no_file_can_help_is_refused_before_any_is_read(classifier, folder):
    with pytest.raises(CoppiceError, match=r"the hop is 1 s; give more than 0 and at most 0\.5"):
        classify_places(classifier, [folder / "nowhere.wav"], hop_s=1)
    deaf = Classifier(classifier.network, classifier.front_end, classifier.labels, None, None)
    with pytest.raises(CoppiceError, match="normalisation is not known"):
        classify_places(deaf, [folder / "nowhere.wav"])
    with pytest.raises(CoppiceError, match="has no front end"):
        classify_places(Classifier(classifier.network, None, classifier.labels, None, None), [folder / "nowhere.wav"])


def test_csv_has_one_row_per_file_or_per_window(tmp_path):
    windows = (
        Window(0.0, 0.5, "x", {"x": 2 / 3, 'a,"b': 1 / 3}),
        Window(0.25, 0.75, 'a,"b', {"x": 0.25, 'a,"b': 0.75}),
    )
    heard = [Classification("d/ü.wav", "x", {"x": 0.1, 'a,"b': 1e-20}, 2, False, 0.75, ("one", "two"), windows)]
    write_csv(heard, tmp_path / "files.csv")
    write_csv(heard, tmp_path / "windows.csv", per_window=True)
    with (tmp_path / "files.csv").open(encoding="utf-8", newline="") as handle:
        (row,) = csv.DictReader(handle)
    assert row == {
        "file": "d/ü.wav",
        "predicted": "x",
        "seconds": "0.75",
        "windows": "2",
        "padded": "False",
        "remarks": "one; two",
        "p_x": "0.10000000000000001",
        'p_a,"b': "9.9999999999999995e-21",
    }
    with (tmp_path / "windows.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["start_s"], row["end_s"], row["predicted"]) for row in rows] == [
        ("0", "0.5", "x"),
        ("0.25", "0.75", 'a,"b'),
    ]
    assert [float(row["p_x"]) for row in rows] == [2 / 3, 0.25]

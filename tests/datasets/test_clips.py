import numpy as np
import pandas as pd
import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.clips import COLUMNS, check_files, make_dataset
from coppice.datasets.folder import open_folder


def test_what_a_table_lacks_is_filled_in(table):
    dataset = table(label=["dog", "rain", "dog"])
    assert tuple(dataset.clips.columns) == COLUMNS
    assert dataset.clips["clip_id"].tolist() == ["0.wav", "1.wav", "2.wav"]
    assert dataset.clips["recording"].tolist() == ["0", "1", "2"]
    assert dataset.clips["start_s"].eq(0).all() and dataset.clips["duration_s"].isna().all()
    assert dataset.clips[["fold", "device", "split"]].isna().all().all()
    assert dataset.labels == ("dog", "rain") and dataset.targets.tolist() == [0, 1, 0]


def test_stretches_of_one_file_are_pieces_of_one_recording(tmp_path):
    rows = pd.DataFrame({"file": ["/s/a.wav"] * 2, "label": ["dog", "rain"], "start_s": [0, 2.5]})
    dataset = make_dataset("mine", rows, root=tmp_path)
    assert dataset.clips["recording"].nunique() == 1
    assert dataset.clips["clip_id"].tolist() == ["/s/a.wav@0", "/s/a.wav@2.5"]


@pytest.mark.parametrize(
    ("columns", "saying"),
    [
        ({"label": ["dog", "dog"]}, "one class only, 'dog'"),
        ({"label": []}, "holds no clips"),
        ({"label": ["dog", " "]}, "clip 2 has no label"),
        ({"label": ["dog", None]}, "clip 2 has no label"),
        ({"label": ["dog", "rain"], "clip_id": ["a", "a"]}, "'a' is listed twice"),
        ({"label": ["dog", "rain"], "start_s": [0, -1]}, "start_s of clip 2"),
        ({"label": ["dog", "rain"], "duration_s": ["1", "long"]}, "duration_s of clip 2 is 'long'"),
        ({"label": ["dog", "rain"], "duration_s": [0, 1]}, "duration_s of clip 1"),
        ({"label": ["dog", "rain"], "fold": ["1", "two"]}, "fold of clip 2 is 'two'"),
        ({"label": ["dog", "rain"], "fold": [1, 2.5]}, "fold of clip 2"),
        ({"label": ["dog", "rain"], "split": ["train", "eval"]}, "split is 'eval'"),
    ],
)
def test_a_table_that_cannot_be_is_refused(table, columns, saying):
    with pytest.raises(CoppiceError, match=saying):
        table(**columns)


def test_an_unknown_label_is_refused_with_the_nearest_one(tmp_path):
    rows = pd.DataFrame({"file": ["/s/a.wav", "/s/b.wav"], "label": ["dog", "rian"]})
    with pytest.raises(CoppiceError, match=r"'rian' is unknown. Did you mean 'rain'"):
        make_dataset("mine", rows, root=tmp_path, labels=["dog", "rain"])


def test_folds_may_be_text_numbers_or_missing(table):
    folds = table(label=["dog", "rain", "dog"], fold=["1", "", "3"]).clips["fold"]
    assert folds.dtype == "Int64" and folds.isna().tolist() == [False, True, False]


def test_unreadable_files_are_listed_with_their_sentence(sounds):
    (sounds / "dog" / "0.wav").write_text("not a sound")
    dataset = open_folder(sounds)
    checked = check_files(dataset)
    assert dataset.problems == ()
    assert [file for file, _ in checked.problems] == [str(sounds / "dog" / "0.wav")]
    assert "not a sound file" in checked.problems[0][1]


def test_targets_are_positions_in_the_sorted_labels(table):
    dataset = table(label=["zebra", "ant", "ant", "mole"])
    assert np.array(dataset.labels)[dataset.targets].tolist() == ["zebra", "ant", "ant", "mole"]

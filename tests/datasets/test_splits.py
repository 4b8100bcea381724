from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.datasets.clips import make_dataset
from coppice.datasets.esc import open_esc
from coppice.datasets.splits import PARTS, split_dataset, subset


def labels(number):
    return ["dog", "rain"] * number


def held(dataset, split):
    """What every split promises: no clip twice, no recording on two sides, every class everywhere."""
    rows = [getattr(split, part) for part in PARTS]
    together = np.concatenate(rows)
    assert len(set(together.tolist())) == len(together) == len(dataset) - split.unused
    recordings = [set(dataset.clips["recording"].iloc[part]) for part in rows]
    assert not (recordings[0] & recordings[1] or recordings[0] & recordings[2] or recordings[1] & recordings[2])
    for part in rows:
        assert set(dataset.clips["label"].iloc[part]) == set(dataset.labels)
        assert part.tolist() == sorted(part.tolist())


def test_esc10_by_folds_validates_on_the_fold_before_the_test(shared_data):
    dataset = open_esc("esc10", root=shared_data / "esc10")
    folds = dataset.clips["fold"].to_numpy(int)
    for test, validation in ((5, 4), (1, 5), (3, 2)):
        split = split_dataset(dataset, test_fold=test)
        held(dataset, split)
        assert set(folds[split.test]) == {test} and set(folds[split.validation]) == {validation}
        assert [len(getattr(split, part)) for part in PARTS] == [240, 80, 80]


def test_esc10_drawn_is_stratified_by_recording(shared_data):
    dataset = open_esc("esc10", root=shared_data / "esc10")
    split = split_dataset(dataset, strategy="drawn", seed=3)
    held(dataset, split)
    counts = dataset.clips["label"].iloc[split.test].value_counts()
    assert counts.between(6, 10).all()
    again = split_dataset(dataset, strategy="drawn", seed=3)
    other = split_dataset(dataset, strategy="drawn", seed=4)
    assert np.array_equal(split.test, again.test) and not np.array_equal(split.test, other.test)


def test_the_last_fold_tests_where_none_is_chosen(table):
    dataset = table(label=labels(10), fold=[n // 4 + 1 for n in range(20)])
    split = split_dataset(dataset)
    assert split.describe() == "12 train, 4 validation, 4 test clips; fold 5 tests, fold 4 validates"


def test_the_validation_fold_can_be_chosen(table):
    dataset = table(label=labels(10), fold=[n // 4 + 1 for n in range(20)])
    assert split_dataset(dataset, test_fold=2, validation_fold=5).validation.tolist() == [16, 17, 18, 19]


def test_clips_without_a_fold_are_said_to_be_unused(table):
    dataset = table(label=labels(4), fold=[1, 1, 2, 2, 3, 3, None, None])
    split = split_dataset(dataset, strategy="folds")
    held(dataset, split)
    assert split.unused == 2 and "2 unused" in split.describe()


def test_the_official_test_part_is_kept_and_validation_comes_from_train(table):
    official = ["train"] * 12 + ["test"] * 4 + [None] * 4
    dataset = table(label=labels(10), split=official, recording=[str(n // 2) for n in range(20)])
    split = split_dataset(dataset)
    held(dataset, split)
    assert split.test.tolist() == [12, 13, 14, 15] and split.unused == 4
    assert set(split.train) | set(split.validation) == set(range(12))


def test_a_user_fold_that_tears_a_recording_apart_is_refused_by_name(table):
    fold = [1, 1, 2, 2, 3, 3]
    dataset = table(label=labels(3), fold=fold, recording=["a", "b", "kitchen", "d", "kitchen", "f"])
    with pytest.raises(CoppiceError, match=r"recording 'kitchen' stands in both .* same fold"):
        split_dataset(dataset)


def test_an_official_split_that_tears_a_recording_apart_is_refused(table):
    dataset = table(
        label=labels(4),
        split=["train"] * 6 + ["test"] * 2,
        recording=["a", "b", "c", "d", "e", "f", "a", "g"],
    )
    with pytest.raises(CoppiceError, match="recording 'a' stands in both"):
        split_dataset(dataset)


def test_a_class_with_one_clip_is_refused_by_name(table):
    dataset = table(label=["dog"] * 5 + ["rain"])
    with pytest.raises(CoppiceError, match=r"class 'rain' has 1 recording \(1 clip\).* at least 3"):
        split_dataset(dataset)


def test_a_class_of_one_recording_is_refused_by_name(table):
    dataset = table(label=["dog"] * 5 + ["rain"] * 5, recording=["a", "b", "c", "d", "e"] + ["one"] * 5)
    with pytest.raises(CoppiceError, match=r"class 'rain' has 1 recording \(5 clips\)"):
        split_dataset(dataset)


def test_a_fold_without_one_of_the_classes_is_refused(table):
    dataset = table(label=["dog", "rain", "dog", "rain", "dog", "dog"], fold=[1, 1, 2, 2, 3, 3])
    with pytest.raises(CoppiceError, match=r"class 'rain' \(2 clips in all\) has none in test"):
        split_dataset(dataset, test_fold=3)


@pytest.mark.parametrize(
    ("setting", "saying"),
    [
        ({"test_fold": 9}, "test_fold is 9; the folds of 'mine' are 1, 2, 3"),
        ({"test_fold": 3, "validation_fold": 3}, "other than the test fold 3"),
        ({"test_fold": 3, "validation_fold": 7}, "validation_fold is 7"),
        ({"strategy": "fold"}, "split strategy is 'fold'"),
        ({"strategy": "drawn", "test_fold": 1}, "uses no folds"),
        ({"strategy": "official"}, "0 clips of split 'train'"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0"),
        ({"validation_fraction": 1}, "validation_fraction is 1; give a number .* or 0 to train on all"),
        ({"validation_fraction": 0, "validation_fold": 2}, "validation_fraction is 0 but validation_fold is 2"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(table, setting, saying):
    dataset = table(label=labels(3), fold=[1, 1, 2, 2, 3, 3])
    with pytest.raises(CoppiceError, match=saying):
        split_dataset(dataset, **setting)


def test_two_folds_are_too_few(table):
    with pytest.raises(CoppiceError, match="has 2 folds"):
        split_dataset(table(label=labels(2), fold=[1, 1, 2, 2]))


def test_without_validation_all_clips_but_those_of_the_test_train(table):
    rows = {"label": labels(10), "recording": [str(n // 2) for n in range(20)]}
    by_folds = split_dataset(table(**rows, fold=[n // 4 + 1 for n in range(20)]), test_fold=2, validation_fraction=0)
    assert by_folds.describe() == "16 train, 0 validation, 4 test clips; fold 2 tests, none validates"
    assert by_folds.test.tolist() == [4, 5, 6, 7]
    official = split_dataset(table(**rows, split=["train"] * 12 + ["test"] * 4 + [None] * 4), validation_fraction=0)
    assert (official.train.tolist(), official.unused) == ([*range(12)], 4)
    drawn = split_dataset(table(**rows), validation_fraction=0)
    with_validation = split_dataset(table(**rows))
    assert np.array_equal(drawn.test, with_validation.test)
    assert np.array_equal(drawn.train, np.sort([*with_validation.train, *with_validation.validation]))


def test_without_validation_two_folds_suffice_but_the_test_still_has_every_class(table):
    split = split_dataset(table(label=labels(2), fold=[1, 1, 2, 2]), validation_fraction=0)
    assert (split.train.tolist(), split.test.tolist()) == ([0, 1], [2, 3])
    with pytest.raises(CoppiceError, match=r"class 'rain' .* has none in test"):
        split_dataset(table(label=["dog", "rain", "dog", "dog"], fold=[1, 1, 2, 2]), validation_fraction=0)


RECORDINGS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), min_size=9, max_size=30)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(recordings=RECORDINGS, seed=st.integers(0, 5))
def test_drawn_splits_keep_their_promises(recordings, seed):

    label = [f"class {kind}" for kind, clips in recordings for _ in range(clips)]
    recording = [str(number) for number, (_, clips) in enumerate(recordings) for _ in range(clips)]
    assume(len(set(label)) == 3 and all([kind for kind, _ in recordings].count(k) >= 3 for k in range(3)))
    rows = pd.DataFrame({"file": [f"/s/{n}" for n in range(len(label))], "label": label, "recording": recording})
    dataset = make_dataset("any", rows, root=Path("/s"))
    held(dataset, split_dataset(dataset, seed=seed))


def test_a_subset_is_stratified_nested_and_keeps_recordings_whole(shared_data):
    dataset = open_esc("esc10", root=shared_data / "esc10")
    train = split_dataset(dataset, test_fold=5).train
    last = set()
    for fraction in (0.01, 0.1, 0.25, 0.5, 1.0):
        kept = subset(train, dataset, fraction=fraction, seed=1)
        rest = np.setdiff1d(train, kept)
        assert last <= set(kept.tolist()) <= set(train.tolist())
        assert not set(dataset.clips["recording"].iloc[kept]) & set(dataset.clips["recording"].iloc[rest])
        assert set(dataset.clips["label"].iloc[kept]) == set(dataset.labels)
        assert abs(len(kept) - fraction * len(train)) <= 20
        last = set(kept.tolist())
    assert len(last) == len(train)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan")])
def test_a_fraction_outside_its_range_is_refused(table, fraction):
    with pytest.raises(CoppiceError, match="fraction is"):
        subset([0, 1], table(label=labels(2)), fraction=fraction, seed=0)

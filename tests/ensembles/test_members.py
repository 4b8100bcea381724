import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.ensembles.members import gather
from coppice.ensembles.stored import StoredPosteriors, read_stored, write_stored

LABELS = ("bus", "park", "tram")


def stored(seed=0, rows=4, **known):
    return StoredPosteriors(np.random.default_rng(seed).dirichlet(np.ones(3), rows), **known)


@given(st.permutations(LABELS), st.permutations(["a", "b", "c", "d"]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_classes_and_clips_are_matched_by_name(labels, clips):
    one = stored(labels=LABELS, clips=tuple("abcd"), truth=("bus", "park", "tram", "bus"))
    columns, rows = [LABELS.index(label) for label in labels], ["abcd".index(clip) for clip in clips]
    other = StoredPosteriors(one.values[rows][:, columns], tuple(labels), tuple(clips))
    found = gather({"one": one, "other": other})
    np.testing.assert_array_equal(found.posteriors[0], found.posteriors[1])
    assert found.labels == LABELS and found.known_targets().tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".tsv"])
def test_posteriors_are_read_as_they_were_written(suffix, tmp_path):
    one = stored(labels=LABELS, clips=tuple("abcd"), truth=("bus", "park", "tram", "bus"))
    found = read_stored(write_stored(tmp_path / f"p{suffix}", one.values, one))
    np.testing.assert_array_equal(found.values, one.values)
    if suffix != ".npy":
        assert (found.labels, found.clips, found.truth) == (one.labels, one.clips, one.truth)


def test_a_plain_table_has_a_column_for_each_class(tmp_path):
    (tmp_path / "p.csv").write_text("bus,tram\n0.25,0.75\n")
    assert read_stored(tmp_path / "p.csv").labels == ("bus", "tram")


def test_an_output_file_of_the_challenge_is_read_and_its_decisions_are_not_taken_for_labels(tmp_path):
    (tmp_path / "p.csv").write_text("filename\tscene_label\tbus\ttram\n0.wav\ttram\t0.25\t0.75\n")
    found = read_stored(tmp_path / "p.csv")
    assert (found.labels, found.clips, found.truth) == (("bus", "tram"), ("0.wav",), None)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([[2.0, -1.0, 0.5]], "row 1 looks like logits"),
        ([[0.2, 0.3, 0.5], [0.4, 0.4, 0.4]], "row 2 sums to 1.2"),
        ([[0.2, 0.3, 0.5], [0.2, np.nan, 0.5]], "row 2 holds a value that is not a number"),
        ([[np.inf, 0.0, 0.0]], "row 1 holds a value that is not a number"),
        ([0.5, 0.5], "shape .2,."),
        ([[1.0], [1.0]], "two classes or more"),
        (np.empty((0, 3)), "shape .0, 3."),
        ([["a", "b"]], "are numbers of shape"),
    ],
)
def test_what_is_no_posterior_is_refused(values, sentence, tmp_path):
    np.save(tmp_path / "p.npy", np.array(values))
    with pytest.raises(CoppiceError, match=sentence):
        read_stored(tmp_path / "p.npy")


def test_a_pickle_is_not_read(tmp_path):
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CoppiceError, match=r"is not a whole array of numbers"):
        read_stored(tmp_path / "p.npy")


@given(st.binary(max_size=200))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_damaged_arrays_are_refused_in_a_sentence(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    np.save(folder / "p.npy", stored().values)
    whole = (folder / "p.npy").read_bytes()
    for damaged in (data, whole[: len(whole) - 1 - len(data)], whole[:6] + data):
        (folder / "p.npy").write_bytes(damaged)
        with pytest.raises(CoppiceError):
            read_stored(folder / "p.npy")


def test_a_word_among_posteriors_is_named_with_its_line(tmp_path):
    (tmp_path / "p.csv").write_text("bus,tram\n0.25,0.75\nfoo,1\n")
    with pytest.raises(CoppiceError, match="'foo' on line 3 is no posterior of 'bus'"):
        read_stored(tmp_path / "p.csv")


def test_other_suffixes_and_missing_files_are_refused(tmp_path):
    for name, sentence in (("p.txt", "no file of posteriors"), ("p.npy", "no such file"), ("p.csv", "no such file")):
        with pytest.raises(CoppiceError, match=sentence):
            read_stored(tmp_path / name)
    with pytest.raises(CoppiceError, match="cannot be written"):
        write_stored(tmp_path / "p.txt", stored().values, stored())


@pytest.mark.parametrize(
    ("sources", "options", "sentence"),
    [
        ({"a": stored()}, {}, "two members or more, and this one has 1"),
        ({}, {}, "two members or more, and this one has 0"),
        ({"a": stored(labels=LABELS), "b": stored(labels=("bus", "park", "car"))}, {}, "'car' is not known to both"),
        ({"a": stored(labels=LABELS), "b": stored()}, {}, "b does not say the order of its classes"),
        ({"a": stored(), "b": stored(rows=5)}, {}, "b has posteriors of 5 clips and a of 4"),
        ({"a": stored(), "b": np.full((4, 2), 0.5)}, {}, "b tells 2 classes apart and there are 3"),
        ({"a": stored(), "b": stored()}, {"labels": ("x", "x", "y")}, "each may come once"),
        ({"a": stored(), "b": stored()}, {"truth": ["0", "1"]}, "2 labels for 4 clips"),
        ({"a": stored(), "b": stored()}, {"labels": LABELS, "truth": ["bus"] * 3 + ["buss"]}, "Did you mean 'bus'"),
    ],
)
def test_members_that_do_not_go_together_are_refused(sources, options, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        gather(sources, **options)


def test_other_clip_sets_are_refused_by_the_name_of_a_clip():
    one, values = tuple("abcd"), stored().values
    for clips, sentence in ((tuple("abce"), "no posterior of the clip 'd'"), (tuple("abca"), "the clip 'd'")):
        with pytest.raises(CoppiceError, match=sentence):
            gather({"a": StoredPosteriors(values, clips=one), "b": StoredPosteriors(values, clips=clips)})


def test_files_that_contradict_one_another_are_refused():
    one = stored(labels=LABELS, truth=("bus", "park", "tram", "bus"))
    other = stored(labels=LABELS, truth=("bus", "tram", "tram", "bus"))
    with pytest.raises(CoppiceError, match="clip 2 is 'tram' in b and 'park' in a"):
        gather({"a": one, "b": other})


def test_unknown_labels_are_asked_for():
    with pytest.raises(CoppiceError, match="right labels of the clips are not known"):
        gather({"a": stored(), "b": stored()}).known_targets()


def test_numbers_of_columns_are_labels_too():
    found = gather({"a": stored(), "b": stored(1)}, truth=[0, 2, 1, "0"])
    assert found.known_targets().tolist() == [0, 2, 1, 0]
    assert found.only([1]).names == ("b",) and found.index("b") == 1
    with pytest.raises(CoppiceError, match="no member 'c'"):
        found.index("c")


def test_a_table_of_predictions_of_a_run_is_read(tmp_path):
    table = pd.DataFrame({"clip_id": ["a"], "label": ["bus"], "predicted": ["tram"], "p_bus": [0.4], "p_tram": [0.6]})
    table.to_csv(tmp_path / "predictions.csv", index=False)
    found = read_stored(tmp_path / "predictions.csv")
    assert (found.labels, found.truth) == (("bus", "tram"), ("bus",))

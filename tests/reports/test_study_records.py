import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.reports.study_records import read_study
from made_study import made_rows, write_study

AXES = {"criterion": ("random", "l1"), "ratios": ("0.25", "0.5")}


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path, AXES, made_rows(AXES))


def changed(folder, **cells):
    """Write cells of the first row anew."""
    path = folder / "results.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    rows[0] |= cells
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_axes_have_the_order_of_the_study_and_folds_that_of_numbers(tmp_path):
    axes = {"criterion": ("taylor", "l1"), "ratios": ("0.75", "0.25")}
    record = read_study(write_study(tmp_path, axes, made_rows(axes, folds=(10, 2, 1))))
    assert record.axes == axes
    assert record.folds == ("1", "2", "10")
    assert len(record.done) == len(record.rows) == 2 * 2 * 3 * 2
    assert record.notes == ()


def test_a_value_that_only_the_table_knows_is_kept(folder):
    changed(folder, **{"axis.criterion": "own", "point": "own"})
    assert read_study(folder).axes["criterion"] == ("random", "l1", "own")


def test_failed_and_waiting_runs_and_other_versions_are_said(folder):
    changed(folder, status="failed", reason="out of memory", accuracy="", coppice_version="0.0.7")
    record = read_study(folder)
    assert record.failed["reason"].to_list() == ["out of memory"]
    assert "1 of 24 runs failed" in record.notes[0]
    assert "1 run of 24 come from Coppice 0.0.7" in record.notes[1]
    changed(folder, status="waiting")
    assert "1 of 24 runs are waiting" in read_study(folder).notes[0]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"accuracy": "1.5"}, "accuracy of row 1 is '1.5', not a number from 0 to 1"),
        ({"accuracy": "nan"}, "accuracy of row 1 is 'nan'"),
        ({"log_loss": "-0.1"}, "log_loss of row 1 is '-0.1', not a number of at least 0"),
        ({"macs": "many"}, "macs of row 1 is 'many'"),
        ({"macs": "inf"}, "macs of row 1 is 'inf'"),
        ({"log_loss": ""}, "row 1 is done and has no log_loss"),
        ({"status": "finished"}, "the status of row 1 is 'finished'; known are done, failed and waiting"),
        ({"run": "../elsewhere"}, "'../elsewhere', is not inside the study's folder"),
        ({"run": "/etc"}, "'/etc', is not inside"),
        ({"seed": "1"}, "counts a run twice: criterion random, ratios 0.25, fold 1, seed 1"),
        ({"seed": "1", "point": "x"}, "repeats the axes of another row"),
    ],
)
def test_a_damaged_cell_is_refused_with_its_row(folder, cells, sentence):
    with pytest.raises(CoppiceError) as caught:
        read_study(changed(folder, **cells))
    assert sentence in str(caught.value)


def study_json(**other):
    return json.dumps({"version": 1, "kind": "study", "name": "", "title": "", "axes": {}, **other}).encode()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("study.json", b"{", "not valid JSON"),
        ("study.json", b"[]", "is not of a study"),
        ("study.json", study_json(kind="sensitivity"),
         "is of a sensitivity, not of a study"),
        ("study.json", study_json(version=2),
         "is of format 2; this Coppice reads 1"),
        ("study.json", study_json(axes={"kept": ["1"]}),
         "are not of one study: only one of them has the axis 'criterion'"),
        ("study.json", study_json(axes=3),
         "is damaged: axes: input should be a valid dictionary"),
        ("results.csv", b"", "is empty"),
        ("results.csv", b"a,b\n1,2\n", "it has no column 'run'"),
        ("results.csv", b"\xff\xfe\x00", "byte 0 is not UTF-8"),
        ("results.csv", b'run,"poi', "is damaged"),
    ],
)  # fmt: skip
def test_a_foreign_or_damaged_file_is_refused_plainly(folder, name, content, sentence):
    (folder / name).write_bytes(content)
    with pytest.raises(CoppiceError) as caught:
        read_study(folder)
    assert sentence in str(caught.value)


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(CoppiceError, match="no such file"):
        read_study(tmp_path)


def test_a_table_cut_short_is_refused(folder):
    path = folder / "results.csv"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CoppiceError, match="row 24 has"):
        read_study(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 3000), insert=st.binary(max_size=8), length=st.integers(0, 400))
def test_whatever_happens_to_the_table_there_is_a_record_or_one_plain_sentence(folder, place, insert, length):
    path = folder / "results.csv"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:place] + insert + whole[place + length :])
        read_study(folder)
    except CoppiceError as error:
        assert "\n" not in str(error).strip()
    finally:
        path.write_bytes(whole)

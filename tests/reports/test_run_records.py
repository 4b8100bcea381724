import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.reports.run_records import read_run
from coppice.reports.stage_table import stage_table

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def breakable(tmp_path_factory, whole_run):
    import shutil

    return shutil.copytree(whole_run, tmp_path_factory.mktemp("breakable") / "run")


@pytest.mark.parametrize("name", ["train/metrics.json", "latency.json", "data/data.json", "environment.json"])
def test_whatever_json_stands_in_a_record_reading_it_ends_in_notes(breakable, name):
    path = breakable / name
    good = path.read_bytes()
    keys = list(json.loads(good))

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.sampled_from(keys), ANY_JSON, st.booleans())
    def check(key, value, whole):
        content = json.loads(good)
        path.write_text(json.dumps(value if whole else content | {key: value}))
        stage_table(read_run(breakable))

    try:
        check()
    finally:
        path.write_bytes(good)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(value=ANY_JSON)
def test_whatever_json_stands_in_the_summary_the_run_is_read_or_refused(breakable, value):
    path = breakable / "summary.json"
    good = path.read_bytes()
    try:
        path.write_text(json.dumps({"stages": value, "name": "a", "title": "b"}))
        try:
            read_run(breakable)
        except CoppiceError as error:
            assert "\n" not in str(error)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("folder", ["../other", "/etc", "a/../../b", "..\\b"])
def test_a_stage_folder_outside_the_run_is_never_read(make_run, folder):
    run = make_run(systems=[])
    summary = json.loads((run / "summary.json").read_text())
    summary["stages"][0]["folder"] = folder
    (run / "summary.json").write_text(json.dumps(summary))
    record = read_run(run)  # the summary is set aside: only folders that were found are read
    assert all(".." not in stage.entry.folder for stage in record.stages)


def test_not_a_number_in_a_history_is_a_gap(make_run):
    run = make_run(systems=[])
    path = run / "train" / "history.csv"
    path.write_text(path.read_text().replace("\n2,", "\n2,nan#").replace("nan#", "nan,", 1))
    lines = path.read_text().splitlines()
    lines[2] = "2,nan,inf,,0.001,1.5"
    path.write_text("\n".join(lines))
    epoch = read_run(run).unpruned.history[1]
    assert (epoch.train_log_loss, epoch.validation_log_loss, epoch.validation_accuracy) == (None, None, None)


def test_the_headline_system_comes_first(make_run):
    run = make_run()
    summary = json.loads((run / "summary.json").read_text()) | {"headline_system": "l1"}
    (run / "summary.json").write_text(json.dumps(summary))
    assert read_run(run).systems == ("l1", "cosine_similarity", "random")


def test_probabilities_of_the_right_class_are_read_from_the_predictions(whole_run):
    record = read_run(whole_run)
    mean = sum(-math.log(row.probability) for row in record.unpruned.predictions) / 80
    assert mean == pytest.approx(record.unpruned.test.log_loss)

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.datasets.csv_table import open_csv, read_table


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_separator_is_read_from_the_header(sounds, separator, encoding):
    lines = [["filename", "category", "fold"], ["dog/0.wav", "dög", "1"], ["rain/0.wav", "rain", "2"]]
    (sounds / "t.csv").write_text("\r\n".join(separator.join(line) for line in lines), encoding=encoding)
    dataset = open_csv(sounds / "t.csv")
    assert dataset.labels == ("dög", "rain") and dataset.clips["fold"].tolist() == [1, 2]


def test_columns_can_be_mapped(sounds):
    (sounds / "t.csv").write_text("wo,was,von,mit\ndog/0.wav,dog,7,phone\nrain/0.wav,rain,8,\n")
    columns = {"file": "wo", "label": "was", "recording": "von", "device": "mit"}
    clips = open_csv(sounds / "t.csv", columns=columns).clips
    assert clips["recording"].tolist() == ["7", "8"]
    assert clips["device"].fillna("-").tolist() == ["phone", "-"]


def test_sounds_are_found_in_another_folder_or_the_audio_folder(tmp_path, write_noise):
    for name in ("a.wav", "b.wav"):
        write_noise(tmp_path / "set" / "audio" / name)
    text = "filename,label\na.wav,dog\nb.wav,rain\n"
    (tmp_path / "set" / "t.csv").write_text(text)
    (tmp_path / "far.csv").write_text(text)
    assert open_csv(tmp_path / "set" / "t.csv").root.name == "audio"
    assert len(open_csv(tmp_path / "far.csv", root=tmp_path / "set" / "audio")) == 2


def test_stretches_of_a_long_recording_are_clips(tmp_path, write_noise):
    write_noise(tmp_path / "day.wav", seconds=3)
    (tmp_path / "t.csv").write_text("file,label,start_s,duration_s\nday.wav,dog,0,1\nday.wav,rain,1.5,\n")
    clips = open_csv(tmp_path / "t.csv").clips
    assert clips["start_s"].tolist() == [0.0, 1.5] and clips["duration_s"].fillna(-1).tolist() == [1.0, -1.0]


def test_the_published_dcase_table_is_read_as_it_is(shared_data):
    dataset = open_csv(shared_data / "tau2022_sample" / "meta.csv")
    assert len(dataset) == 188 and len(dataset.labels) == 10
    first = dataset.clips.iloc[0]
    assert (first["recording"], first["location"], first["device"]) == ("barcelona-203", "barcelona-203", "a")


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("", "no rows below its header"),
        ("filename,label\n", "no rows below its header"),
        ("name,label\na,b\n", "no column for the file: its columns are 'name', 'label'"),
        ("filename,kind\na,b\n", "no column for the label"),
        ("filename,label\na.wav,dog,1\n", "line 2 has 3 cells, the header 2"),
        ("filename,label,label\na.wav,dog,1\n", "two columns of one name"),
        ("filename,label\n ,dog\n", "line 2 names no file"),
        (
            "filename,label\na.wav,dog\nb.wav,rain\nc.wav,rain\nd.wav,rain\n",
            r"names 4 files that are not there: .*a.wav,",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, saying):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CoppiceError, match=saying):
        open_csv(tmp_path / "t.csv")


def test_a_mapping_that_does_not_fit_is_refused_with_a_hint(sounds):
    (sounds / "t.csv").write_text("filename,category\ndog/0.wav,dog\nrain/0.wav,rain\n")
    with pytest.raises(CoppiceError, match=r"no column 'categroy'. Did you mean 'category'"):
        open_csv(sounds / "t.csv", columns={"label": "categroy"})
    with pytest.raises(CoppiceError, match=r"maps 'labels', which is no clip column. Did you mean 'label'"):
        open_csv(sounds / "t.csv", columns={"labels": "category"})


def test_a_table_that_is_not_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00filename")
    with pytest.raises(CoppiceError, match="not UTF-8"):
        open_csv(tmp_path / "t.csv")
    with pytest.raises(CoppiceError, match="no such file"):
        open_csv(tmp_path / "nowhere.csv")


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6))
def test_whatever_a_csv_writer_writes_is_read_back(tmp_path_factory, rows):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("filename", "label"), *rows])
    file = tmp_path_factory.mktemp("t") / "t.csv"
    file.write_bytes(text.getvalue().encode())
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    try:
        assert read_table(file).to_numpy().tolist() == [list(row) for row in kept]
    except CoppiceError:
        assert not kept

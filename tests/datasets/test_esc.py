import shutil
import zipfile

import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.esc import fetch_esc50, open_esc

ROWS = [
    ("1-1-A-0.wav", 1, 0, "dog", "True", 1, "A"),
    ("2-2-A-10.wav", 2, 10, "rain", "True", 2, "A"),
    ("3-3-A-49.wav", 3, 49, "hand_saw", "False", 3, "A"),
]


@pytest.fixture
def published(tmp_path, write_noise):
    """A small folder laid out as ESC-50 is published."""
    root = tmp_path / "ESC-50-master"
    (root / "meta").mkdir(parents=True)
    header = "filename,fold,target,category,esc10,src_file,take"
    lines = [header, *(",".join(map(str, row)) for row in ROWS)]
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    for row in ROWS:
        write_noise(root / "audio" / row[0])
    return root


def test_the_real_esc10_has_400_clips_of_10_classes_in_5_folds(shared_data):
    dataset = open_esc("esc10", root=shared_data / "esc10")
    assert (len(dataset), len(dataset.labels)) == (400, 10)
    assert dataset.clips["fold"].value_counts().tolist() == [80] * 5
    assert dataset.clips["recording"].iloc[0] == "100032"
    assert not dataset.synthetic and "Attribution 3.0" in dataset.note


def test_the_published_layout_gives_both_datasets(published):
    assert open_esc("esc50", root=published).labels == ("dog", "hand_saw", "rain")
    assert open_esc("esc10", root=published).labels == ("dog", "rain")


def test_a_table_beside_its_sounds_is_read(published, tmp_path):
    flat = tmp_path / "flat"
    shutil.copytree(published / "audio", flat)
    shutil.copy(published / "meta" / "esc50.csv", flat / "esc50.csv")
    assert len(open_esc("esc50", root=flat)) == 3 and len(open_esc("esc10", root=flat)) == 2


def test_another_layout_is_refused_with_the_ones_that_work(tmp_path):
    with pytest.raises(CoppiceError, match=r"does not hold esc10: give a folder with meta/esc50.csv and audio/"):
        open_esc("esc10", root=tmp_path)


def test_missing_sounds_are_named(published):
    (published / "audio" / "2-2-A-10.wav").unlink()
    with pytest.raises(CoppiceError, match=r"names 1 files that are not there: .*2-2-A-10.wav"):
        open_esc("esc50", root=published)


def test_another_table_is_refused(published):
    (published / "meta" / "esc50.csv").write_text("filename,label\na.wav,dog\n")
    with pytest.raises(CoppiceError, match=r"has no column 'fold'; it is not the table of esc50"):
        open_esc("esc50", root=published)


def test_an_archive_with_too_few_clips_leaves_nothing_behind(published, tmp_path, monkeypatch):
    archive = tmp_path / "cache" / "ESC-50-master.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as made:
        for file in published.rglob("*.*"):
            made.write(file, file.relative_to(published.parent))
    place = archive.parent / "ESC-50-master"
    with pytest.raises(CoppiceError, match="3 clips of 3 classes instead of 2000 of 50"):
        fetch_esc50(place)
    assert not place.exists() and not list(archive.parent.glob(".partial*"))
    monkeypatch.setattr("coppice.datasets.esc._FULL", {"esc50": (3, 3)})
    fetch_esc50(place)
    assert len(open_esc("esc50", root=place)) == 3


def test_without_a_network_the_sentence_says_what_to_do_by_hand(tmp_path):
    with pytest.raises(CoppiceError, match=r"fetch .* by hand, unpack it, and give its folder as root"):
        fetch_esc50(tmp_path / "ESC-50-master", url="http://127.0.0.1:1/none.zip")

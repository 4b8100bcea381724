import stat
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.datasets.extract import extract_zip


def make(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def refused(archive, folder, saying, **options):
    with pytest.raises(CoppiceError, match=saying):
        extract_zip(archive, folder, **options)
    assert not folder.exists()
    assert not list(folder.parent.glob(".partial*"))


def test_the_one_top_folder_becomes_the_folder(tmp_path):
    archive = make(tmp_path / "a.zip", **{"top/meta/t.csv": "x", "top/audio/é.wav": "sound"})
    folder = extract_zip(archive, tmp_path / "out")
    assert (folder / "meta" / "t.csv").read_text() == "x" and (folder / "audio" / "é.wav").read_text() == "sound"


def test_several_tops_are_kept(tmp_path):
    folder = extract_zip(make(tmp_path / "a.zip", **{"a.txt": "1", "b/c.txt": "2"}), tmp_path / "out")
    assert sorted(entry.name for entry in folder.iterdir()) == ["a.txt", "b"]


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:/evil", "a/..", "//server/evil"]
)
def test_a_path_outside_the_folder_is_refused_by_name(tmp_path, name):
    refused(make(tmp_path / "a.zip", **{"good": "x", name: "x"}), tmp_path / "out", "outside its folder")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    member = zipfile.ZipInfo("link")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(member, "/etc/passwd")
    refused(tmp_path / "a.zip", tmp_path / "out", "'link', which is a link or device")


def test_more_than_the_bound_is_refused_before_anything_is_written(tmp_path):
    archive = make(tmp_path / "a.zip", big=bytes(10**6))
    refused(archive, tmp_path / "out", "unpacks to 1.00 MB; at most 100.0 kB", max_total_bytes=100_000)


def test_damage_is_refused(tmp_path):
    archive = make(tmp_path / "a.zip", **{"a": bytes(range(256)) * 100})
    content = bytearray(archive.read_bytes())
    content[60:80] = bytes(20)
    archive.write_bytes(content)
    refused(archive, tmp_path / "out", "damaged or no zip file")
    archive.write_bytes(content[:100])
    refused(archive, tmp_path / "out", "damaged or no zip file")


def test_a_check_that_fails_leaves_nothing(tmp_path):
    def check(folder):
        raise CoppiceError("not what was expected.")

    refused(make(tmp_path / "a.zip", a="1"), tmp_path / "out", "not what was expected", check=check)


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(CoppiceError, match="already there"):
        extract_zip(make(tmp_path / "a.zip", a="1"), tmp_path / "out")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(names=st.lists(st.text("ab./\\: ", min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_no_name_gets_out_of_the_folder(tmp_path_factory, names):
    place = tmp_path_factory.mktemp("zip")
    archive = make(place / "a.zip", **dict.fromkeys(names, "x"))
    try:
        extract_zip(archive, place / "in" / "out")
    except CoppiceError as error:
        assert "\n" not in str(error)
    assert {entry.name for entry in place.iterdir()} <= {"a.zip", "in"}
    assert {entry.name for entry in (place / "in").iterdir()} <= {"out"}

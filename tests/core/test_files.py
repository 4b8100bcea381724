import errno
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.core import files
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import digest, file_digest, make_folder, read_json, whole_file, write_json


def test_a_finished_file_appears_whole_with_usual_permissions(tmp_path):
    target = tmp_path / "new folder" / "note.txt"
    with whole_file(target) as temporary:
        temporary.write_text("all of it")
        assert not target.exists() and temporary.parent == target.parent
    assert target.read_text() == "all of it" and list(target.parent.iterdir()) == [target]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
def test_a_failed_block_leaves_the_old_content_and_nothing_else(tmp_path, error):
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises((ValueError, KeyboardInterrupt, CoppiceError)), whole_file(target) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_disk_refuses_is_a_plain_sentence(tmp_path, number, words):
    target = tmp_path / "note.txt"
    with pytest.raises(CoppiceError) as caught, whole_file(target):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"cannot write {target}: ") and words in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError) and not list(tmp_path.iterdir())


def test_a_disk_that_is_full_at_the_last_moment_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(CoppiceError, match="the disk is full"):
        write_json(tmp_path / "note.json", {"a": 1})
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "note.json").mkdir()
    with pytest.raises(CoppiceError, match="it is a folder; give a file"):
        write_json(tmp_path / "note.json", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "sounds").write_text("")
    with pytest.raises(CoppiceError, match="cannot create the folder"):
        make_folder(tmp_path / "sounds" / "park")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=json_values)
def test_json_comes_back_as_it_was(value, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_a_value_that_json_cannot_hold_leaves_nothing(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "note.json", float("nan"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"])
def test_what_is_no_json_is_refused_by_name(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(CoppiceError, match=r"plan\.json is not a plan: it is not valid JSON"):
        read_json(path, "plan")


def test_a_missing_json_file_is_refused_by_name(tmp_path):
    with pytest.raises(CoppiceError, match=r"cannot read the plan .*nowhere\.json: no such file"):
        read_json(tmp_path / "nowhere.json", "plan")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=st.dictionaries(st.text(), json_values, max_size=6), random=st.randoms())
def test_a_digest_does_not_depend_on_the_order_of_keys_and_survives_json(value, random):
    keys = list(value)
    random.shuffle(keys)
    assert digest({key: value[key] for key in keys}) == digest(value) == digest(json.loads(json.dumps(value)))


def test_a_digest_is_the_same_in_every_version():
    # SHA-256 of the text {"a":[1,2.5,null,"ü"],"b":true} with ü escaped, first 16 digits.
    assert digest({"b": True, "a": [1, 2.5, None, "ü"]}) == "8235cc754ac3a09a"
    assert digest([1]) != digest([1.5]) != digest(["1.5"])


def test_a_file_digest_is_that_of_its_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "abc") == known
    assert file_digest(tmp_path / "abc", "md5") == "900150983cd24fb0d6963f7d28e17f72"
    with pytest.raises(CoppiceError, match="no such file"):
        file_digest(Path(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "name, known, hint",
    [
        ("conv22", ["conv1", "conv2"], "Did you mean 'conv2'?"),
        ("xyz", ["conv1", "conv2"], "Known: 'conv1', 'conv2'."),
        ("xyz", [], "There is nothing to choose from."),
        (2021, ["dcase2021"], "Did you mean 'dcase2021'?"),
        ("esc10", iter(["esc10 ", "esc50"]), "Did you mean 'esc10 '?"),
    ],
)
def test_a_hint_names_what_comes_closest_or_everything(name, known, hint):
    assert did_you_mean(name, known) == hint

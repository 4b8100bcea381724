import hashlib
import io
import json
import zipfile

import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets import zenodo
from coppice.datasets.fetch import DOWNLOADS, RECORDS
from coppice.datasets.tau import fetch_tau
from coppice.datasets.tau_archives import collection
from coppice.datasets.zenodo import listed_archives

NAME = "tau2024-evaluation"
FOLDER = "TAU-urban-acoustic-scenes-2024-mobile-evaluation"
CLIPS = [f"audio/{number}.wav" for number in range(20)]


def zipped(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        for name, text in members.items():
            made.writestr(f"{FOLDER}/{name}", text)
    return packed.getvalue()


def said_of(name, data, **other):
    """One file as Zenodo describes it (https://developers.zenodo.org/#records)."""
    return {"key": name, "size": len(data), "checksum": f"md5:{hashlib.md5(data).hexdigest()}", **other}


@pytest.fixture
def record(server, monkeypatch):
    """Record 42 of a Zenodo on this machine: tables, two archives of recordings, and a file that is no archive."""
    monkeypatch.setattr(zenodo, "ZENODO", server.place)
    tables = {
        "meta.csv": "filename\n" + "\n".join(CLIPS),
        "evaluation_setup/fold1_test.csv": "filename\n" + "\n".join(CLIPS),
    }
    archives = {
        f"{FOLDER}.audio.10.zip": zipped({file: f"{file} ten" for file in CLIPS[10:]}),
        f"{FOLDER}.audio.2.zip": zipped({file: f"{file} two" for file in CLIPS[:10]}),
        f"{FOLDER}.meta.zip": zipped(tables),
    }
    server.files = {f"/records/42/files/{name}": data for name, data in archives.items()}
    files = [said_of(name, data) for name, data in archives.items()]
    answer = {"id": 42, "metadata": {"title": "Scenes"}, "files": [*files, said_of("notes.txt", b"notes")]}
    server.files["/api/records/42"] = json.dumps(answer).encode()
    return server


def answers(server, change):
    said = json.loads(server.files["/api/records/42"])
    change(said)
    server.files["/api/records/42"] = json.dumps(said).encode()


def test_tables_come_first_and_recordings_in_the_order_of_their_numbers(record, tmp_path):
    archives = listed_archives(42, FOLDER, tmp_path)
    assert [archive.name.removeprefix(f"{FOLDER}.") for archive in archives] == [
        "meta.zip",
        "audio.2.zip",
        "audio.10.zip",
    ]
    assert all(
        (len(data), hashlib.md5(data).hexdigest()) == (archive.size_bytes, archive.md5)
        for archive in archives
        for data in [record.files[archive.url.removeprefix(record.place)]]
    )
    assert [file for file in tmp_path.iterdir() if file.suffix != ".lock"] == []


def test_a_dataset_is_fetched_from_the_number_of_its_record(record, tmp_path):
    place, clips = fetch_tau(NAME, tmp_path, record=42)
    assert (place, clips) == (tmp_path / FOLDER, 20)
    assert [(place / file).read_text() for file in (CLIPS[0], CLIPS[10])] == ["audio/0.wav two", "audio/10.wav ten"]
    assert [entry.name for entry in tmp_path.iterdir()] == [FOLDER]
    record.asked.clear()
    fetch_tau(NAME, tmp_path, record=42)
    assert [name for name, _ in record.asked] == ["42"]


def test_an_archive_that_is_not_what_zenodo_says_is_not_unpacked(record, tmp_path):
    def other(said):
        for file in said["files"]:
            file["checksum"] = "md5:" + "0" * 32

    answers(record, other)
    with pytest.raises(CoppiceError, match=f"arrived with MD5 .* instead of {'0' * 32}; it was removed"):
        fetch_tau(NAME, tmp_path, record=42)
    assert not (tmp_path / FOLDER / "meta.csv").exists()


def test_a_record_that_is_not_known_is_asked_for(tmp_path):
    with pytest.raises(CoppiceError, match=rf"record of {NAME} is not known here; .*--record NUMBER") as refusal:
        fetch_tau(NAME, tmp_path)
    assert "\n" not in str(refusal.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "folder", "answer", "saying"),
    [
        (42, "TAU-other", None, r"/records/42 is 'Scenes' and holds no TAU-other"),
        (42, FOLDER, b"<html>", "not valid JSON"),
        (42, FOLDER, b"[]", "answers in another form"),
        (42, FOLDER, b'{"files": [{"key": 3}], "metadata": {"title": ""}}', "answers in another form"),
        (43, FOLDER, None, "the server answers 404; look whether .*/records/43 is there"),
    ],
)
def test_a_record_that_does_not_hold_the_dataset_is_refused(record, tmp_path, number, folder, answer, saying):
    if answer is not None:
        record.files["/api/records/42"] = answer
    with pytest.raises(CoppiceError, match=saying) as refusal:
        listed_archives(number, folder, tmp_path)
    assert "\n" not in str(refusal.value)


def test_names_that_lead_elsewhere_are_not_taken_from_a_listing(record, tmp_path):
    def hostile(said):
        for name in (f"../{FOLDER}.audio.3.zip", f"{FOLDER}.audio.3.zip/../../x.zip", f"{FOLDER}.audio.3.zip\n"):
            said["files"].append(said_of(name, b""))

    answers(record, hostile)
    assert len(listed_archives(42, FOLDER, tmp_path)) == 3


def test_what_was_unpacked_before_its_checksum_was_known_is_not_fetched_again(record, tmp_path, monkeypatch):
    place, _ = fetch_tau(NAME, tmp_path, record=42)
    for note in (place / RECORDS).iterdir():
        note.write_text(json.dumps({**json.loads(note.read_text()), "md5": None}))
    record.asked.clear()
    fetch_tau(NAME, tmp_path, record=42)
    assert [name for name, _ in record.asked] == ["42"]


def test_where_zenodo_does_not_answer_the_names_that_are_known_are_fetched(record, tmp_path, monkeypatch, capsys):
    # The set of 2025: names are known, sizes and checksums are not.
    known = collection("tau2025-evaluation")
    fetched = []
    monkeypatch.setattr("coppice.datasets.tau.fetch_collection", lambda published, root: fetched.append(published))
    monkeypatch.setattr("coppice.datasets.tau._listed", lambda place: ["a.wav"])
    monkeypatch.setattr("coppice.datasets.tau._missing", lambda place, files: [])
    fetch_tau("tau2025-evaluation", tmp_path)
    assert fetched == [known] and "going on with what is known of it" in capsys.readouterr().err
    assert not any((tmp_path / DOWNLOADS).glob("*.json"))

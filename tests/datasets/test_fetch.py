import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock

from coppice.core.errors import CoppiceError
from coppice.datasets.archive import Archive, Collection
from coppice.datasets.fetch import DOWNLOADS, RECORDS, absent_archives, fetch_collection, is_unpacked

TOP = "sounds-2022"
NAMES = [f"{TOP}.{part}.zip" for part in ("meta", "audio.1", "audio.2")]


def zipped(members, *, kind=None):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            if kind is not None:
                member.external_attr = (kind | 0o777) << 16
            made.writestr(member, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def sound(seed):
    return np.random.default_rng(seed).bytes(60_000)


CONTENT = {f"audio/{number}.wav": sound(number) for number in range(12)} | {"meta.csv": b"filename\n"}
PARTS = (["meta.csv"], [f"audio/{n}.wav" for n in range(6)], [f"audio/{n}.wav" for n in range(6, 12)])


def collection_of(server, packed, *, known=True, clips=12):
    server.files = {f"/{name}": data for name, data in zip(NAMES, packed, strict=True)}
    archives = tuple(
        Archive(name, f"{server.place}/{name}", len(data), hashlib.md5(data).hexdigest())
        if known
        else Archive(name, f"{server.place}/{name}")
        for name, data in zip(NAMES, packed, strict=True)
    )
    return Collection("sounds", "Sounds", TOP, server.place, archives, clips, 60_000, "Free.")


@pytest.fixture
def packed():
    return [zipped({f"{TOP}/{name}": CONTENT[name] for name in part}) for part in PARTS]


@pytest.fixture
def published(server, packed):
    return collection_of(server, packed)


def is_whole(place):
    lying = {file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()}
    assert {name for name in lying if not name.startswith(RECORDS)} == set(CONTENT)
    return all((place / name).read_bytes() == content for name, content in CONTENT.items())


def test_all_archives_come_into_one_folder_and_nothing_else_is_left(published, tmp_path):
    place = fetch_collection(published, tmp_path)
    assert place == tmp_path / TOP and is_whole(place)
    assert [entry.name for entry in tmp_path.iterdir()] == [TOP]


def test_what_it_takes_is_said_before_anything_is_fetched(published, server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 0, 100_000))
    size = sum(archive.size_bytes for archive in published.archives)
    with pytest.raises(
        CoppiceError, match=r"sounds needs 1.10 MB of disk at .* and 100.0 kB are free; free some space"
    ):
        fetch_collection(published, tmp_path)
    said = capsys.readouterr().err
    assert f"3 of 3 archives, {size / 1000:.1f} kB" in said and "unpacked they take about 737.3 kB" in said
    assert "100.0 kB are free" in said and "Free." in said
    assert server.asked == []


def test_what_is_there_and_verified_is_skipped(published, server, tmp_path):
    fetch_collection(published, tmp_path)
    server.asked.clear()
    assert is_whole(fetch_collection(published, tmp_path)) and server.asked == []


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_an_archive_is_fetched_again_when_a_file_of_it_is(published, server, tmp_path, damage):
    place = fetch_collection(published, tmp_path)
    (place / "audio" / "7.wav").unlink() if damage == "gone" else os.truncate(place / "audio" / "7.wav", 100)
    server.asked.clear()
    assert is_whole(fetch_collection(published, tmp_path))
    assert server.asked == [(NAMES[2], None)]


def test_a_connection_that_drops_in_every_archive_and_a_stall_are_survived(published, server, tmp_path):
    server.deaths, server.stalls, server.dies_after = 2, 1, 300_000
    assert is_whole(fetch_collection(published, tmp_path, timeout_s=0.3))
    assert [wanted for _, wanted in server.asked].count(None) == 3 and len(server.asked) > 3


def test_a_wrong_checksum_leaves_the_archive_out_and_keeps_the_others(published, server, tmp_path):
    right = server.files[f"/{NAMES[2]}"]
    server.files[f"/{NAMES[2]}"] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(CoppiceError, match=f"{NAMES[2]} arrived with MD5 .* instead of .*; it was removed"):
        fetch_collection(published, tmp_path)
    assert absent_archives(published, tmp_path / TOP) == [NAMES[2]]
    server.files[f"/{NAMES[2]}"] = right
    server.asked.clear()
    assert is_whole(fetch_collection(published, tmp_path))
    assert server.asked == [(NAMES[2], None)]


def test_a_truncated_archive_on_the_server_is_refused(published, server, tmp_path):
    server.files[f"/{NAMES[1]}"] = server.files[f"/{NAMES[1]}"][:1000]
    with pytest.raises(CoppiceError, match="has 1000 bytes on the server instead of"):
        fetch_collection(published, tmp_path)


def test_without_published_sizes_the_server_is_asked_and_the_members_are_checked(server, packed, tmp_path, capsys):
    published = collection_of(server, packed, known=False, clips=None)
    assert is_whole(fetch_collection(published, tmp_path))
    said = capsys.readouterr().err
    assert f"{sum(map(len, packed)) / 1000:.1f} kB" in said and "no MD5 of it is known" in said
    shutil.rmtree(tmp_path / TOP)
    damaged = bytearray(packed[1])
    damaged[5000:5010] = bytes(10)
    collection_of(server, [packed[0], bytes(damaged), packed[2]], known=False)
    with pytest.raises(CoppiceError, match="damaged or no zip file"):
        fetch_collection(published, tmp_path)


def test_an_archive_that_somebody_fetched_by_hand_is_taken_and_left(published, server, packed, tmp_path):
    (tmp_path / NAMES[1]).write_bytes(packed[1])
    assert is_whole(fetch_collection(published, tmp_path))
    assert [name for name, _ in server.asked] == [NAMES[0], NAMES[2]]
    assert (tmp_path / NAMES[1]).read_bytes() == packed[1]


def test_another_file_of_that_name_is_refused_and_left(published, packed, tmp_path):
    (tmp_path / NAMES[1]).write_bytes(packed[1][:-1])
    with pytest.raises(CoppiceError, match=f"{NAMES[1]} is not the published archive: it has .* bytes instead"):
        fetch_collection(published, tmp_path)
    assert (tmp_path / NAMES[1]).exists()


def test_a_second_process_is_kept_out(published, tmp_path):
    with FileLock(tmp_path / f".{TOP}.lock"), pytest.raises(CoppiceError, match="another process is fetching sounds"):
        fetch_collection(published, tmp_path)


@pytest.mark.parametrize(
    ("members", "kind", "saying"),
    [
        ({"../evil": b"x"}, None, "outside its folder"),
        ({f"{TOP}/../../evil": b"x"}, None, "outside its folder"),
        ({"/evil": b"x"}, None, "outside its folder"),
        ({f"{TOP}/audio/link": b"/etc/passwd"}, stat.S_IFLNK, "is a link or device"),
        ({f"{TOP}/a.wav": b"x", "a.wav": b"y"}, None, "holds 'a.wav' twice"),
    ],
)
def test_a_hostile_archive_writes_nothing(server, packed, tmp_path, members, kind, saying):
    published = collection_of(server, [packed[0], zipped(members, kind=kind), packed[2]])
    with pytest.raises(CoppiceError, match=saying):
        fetch_collection(published, tmp_path / "in")
    assert not list(tmp_path.rglob("*evil*")) and not list(tmp_path.rglob("link"))
    assert not is_unpacked(tmp_path / "in" / TOP, published.archives[1])


def test_a_zip_bomb_is_refused_by_what_it_declares(server, packed, tmp_path, monkeypatch):
    monkeypatch.setattr("coppice.datasets.fetch._LEAST_BOUND_BYTES", 10**6)
    published = collection_of(server, [packed[0], zipped({f"{TOP}/big.wav": bytes(10**8)}), packed[2]])
    with pytest.raises(CoppiceError, match=r"unpacks to 100.00 MB; at most 1.00 MB are allowed"):
        fetch_collection(published, tmp_path)
    assert not (tmp_path / TOP / "big.wav").exists()


def test_an_archive_that_unpacks_to_more_than_the_disk_has_is_refused(server, packed, tmp_path, monkeypatch):
    published = collection_of(server, [packed[0], zipped({f"{TOP}/big.wav": bytes(10**7)}), packed[2]], clips=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 0, 9_000_000))
    with pytest.raises(CoppiceError, match=r"unpacks to 10.00 MB and 9.00 MB are free"):
        fetch_collection(published, tmp_path)
    assert not (tmp_path / TOP / "big.wav").exists()


CHILD = """
import json, os, signal, sys
from pathlib import Path
from coppice.datasets import extract, fetch
from coppice.datasets.archive import Archive, Collection
given = json.loads(sys.argv[1])
archives = tuple(Archive(**one) for one in given.pop("archives"))
if sys.argv[3]:
    copy, files = extract._copy, []
    def dying(source, written, *more):
        files.append(written.name)
        if len(files) == int(sys.argv[3]):
            written.write(source.read(1000))
            written.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return copy(source, written, *more)
    extract._copy = dying
fetch.fetch_collection(Collection(archives=archives, **given), Path(sys.argv[2]))
"""


def child(published, root, dies_at_file=""):
    given = json.dumps({**vars(published), "archives": [vars(archive) for archive in published.archives]})
    return subprocess.Popen([sys.executable, "-c", CHILD, given, str(root), str(dies_at_file)], stderr=subprocess.PIPE)


def test_a_process_killed_in_the_middle_of_a_file_is_gone_on_from_there(published, server, tmp_path):
    server.stalls, server.dies_after = 1, 300_000
    part = tmp_path / DOWNLOADS / f"{NAMES[1]}.part"
    with child(published, tmp_path) as process:
        until = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size >= 262_144) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and not (tmp_path / TOP / "audio").exists()
    lying = part.stat().st_size
    server.asked.clear()
    assert is_whole(fetch_collection(published, tmp_path))
    assert server.asked == [(NAMES[1], f"bytes={lying}-"), (NAMES[2], None)]
    assert [entry.name for entry in tmp_path.iterdir()] == [TOP]


def test_a_process_killed_while_it_unpacks_is_gone_on_without_fetching_again(published, server, tmp_path):
    with child(published, tmp_path, dies_at_file=5) as process:
        process.wait(30)
    assert process.returncode == -signal.SIGKILL
    complete = [file for file in (tmp_path / TOP / "audio").iterdir() if not file.name.startswith(".")]
    assert len(complete) == 3 and all(file.stat().st_size == 60_000 for file in complete)
    times = {file: file.stat().st_mtime_ns for file in complete}
    server.asked.clear()
    assert is_whole(fetch_collection(published, tmp_path))
    assert server.asked == [(NAMES[2], None)]
    assert {file: file.stat().st_mtime_ns for file in complete} == times


def test_the_disk_that_a_rest_needs_counts_what_is_there(published, tmp_path, capsys):
    fetch_collection(replace(published, archives=published.archives[:2]), tmp_path)
    capsys.readouterr()
    fetch_collection(published, tmp_path)
    last = published.archives[2].size_bytes
    assert f"1 of 3 archives, {last / 1000:.1f} kB" in capsys.readouterr().err

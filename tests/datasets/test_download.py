import hashlib
import time

import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.download import download, remote_size

CONTENT = bytes(range(256)) * 4000  # as the server's
MD5 = hashlib.md5(CONTENT).hexdigest()


def test_a_file_arrives_whole(server, tmp_path):
    target = download(server.url, tmp_path / "new" / "file.zip", md5=MD5)
    assert target.read_bytes() == CONTENT
    assert [file.name for file in target.parent.iterdir() if file.suffix != ".lock"] == ["file.zip"]


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    download(server.url, tmp_path / "file.zip")
    download(server.url, tmp_path / "file.zip")
    assert len(server.ranges) == 1


def test_a_broken_connection_is_taken_up_where_it_stopped(server, tmp_path):
    server.deaths = 2
    target = download(server.url, tmp_path / "file.zip", md5=MD5)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-"]
    assert server.sent == len(CONTENT)


def test_a_download_that_gave_up_is_taken_up_by_the_next(server, tmp_path):
    server.deaths = 1
    with pytest.raises(CoppiceError, match="300000 of 1024000 bytes arrived"):
        download(server.url, tmp_path / "file.zip", attempts=1)
    assert not (tmp_path / "file.zip").exists()
    download(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.ranges == [None, "bytes=300000-"]


def test_a_file_that_changed_on_the_server_is_fetched_from_its_start(server, tmp_path):
    server.deaths = 1
    with pytest.raises(CoppiceError):
        download(server.url, tmp_path / "file.zip", attempts=1)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert download(server.url, tmp_path / "file.zip").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_a_server_that_names_no_version_is_never_continued(server, tmp_path, etag):
    server.etag, server.deaths = etag, 1
    assert download(server.url, tmp_path / "file.zip").read_bytes() == CONTENT
    assert server.ranges == [None, None]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_with_a_checksum_a_server_that_names_no_version_is_continued(server, tmp_path, etag):
    server.etag, server.deaths = etag, 1
    assert download(server.url, tmp_path / "file.zip", md5=MD5).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_a_part_of_another_file_under_the_same_name_is_told_by_the_checksum(server, tmp_path):
    server.etag, server.deaths = "", 1
    with pytest.raises(CoppiceError):
        download(server.url, tmp_path / "file.zip", md5=MD5, attempts=1)
    part = tmp_path / "file.zip.part"
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(CoppiceError, match="it was removed, so try again"):
        download(server.url, tmp_path / "file.zip", md5=MD5)
    assert download(server.url, tmp_path / "file.zip", md5=MD5).read_bytes() == CONTENT


def test_a_server_that_falls_silent_is_left_after_the_timeout_and_asked_again(server, tmp_path):
    server.stalls = 1
    begun = time.monotonic()
    assert download(server.url, tmp_path / "file.zip", md5=MD5, timeout_s=0.3).read_bytes() == CONTENT
    # What it sent before is kept, as far as it came in whole blocks.
    assert server.ranges[0] is None and int(server.ranges[1].removeprefix("bytes=").rstrip("-")) >= 262_144
    assert 0.3 <= time.monotonic() - begun < 5


def test_a_server_that_stays_silent_is_one_sentence(server, tmp_path):
    server.stalls = 9
    with pytest.raises(CoppiceError, match=r"cannot be downloaded \(.*timed out\)"):
        download(server.url, tmp_path / "file.zip", md5=MD5, timeout_s=0.2, attempts=2)


def test_tries_that_bring_much_do_not_count(server, tmp_path, monkeypatch):
    monkeypatch.setattr("coppice.datasets.download._ENOUGH_BYTES", 100_000)
    server.deaths, server.dies_after = 8, 110_000
    assert download(server.url, tmp_path / "file.zip", md5=MD5, attempts=2).read_bytes() == CONTENT
    assert len(server.ranges) == 9


def test_a_server_that_is_asked_too_often_is_asked_later(server, tmp_path):
    server.busy = 2
    assert download(server.url, tmp_path / "file.zip").read_bytes() == CONTENT


def test_another_size_than_was_published_is_refused_before_anything_is_fetched(server, tmp_path):
    with pytest.raises(CoppiceError, match="has 1024000 bytes on the server instead of the 5000 that were published"):
        download(server.url, tmp_path / "file.zip", size_bytes=5000)
    assert not (tmp_path / "file.zip.part").exists()


def test_a_part_that_is_whole_is_not_fetched_again(server, tmp_path):
    server.deaths = 1
    with pytest.raises(CoppiceError):
        download(server.url, tmp_path / "file.zip", attempts=1)
    (tmp_path / "file.zip.part").write_bytes(CONTENT)  # as a kill before the name appears leaves it
    assert download(server.url, tmp_path / "file.zip", md5=MD5, size_bytes=len(CONTENT)).read_bytes() == CONTENT
    assert server.ranges == [None]


def test_the_size_is_asked_without_fetching(server):
    server.files["/a.zip"] = CONTENT
    assert remote_size(f"{server.place}/a.zip") == len(CONTENT) and server.ranges == []
    with pytest.raises(CoppiceError, match="cannot be reached"):
        remote_size("http://127.0.0.1:1/a.zip")


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.knows_ranges, server.deaths = False, 1
    assert download(server.url, tmp_path / "file.zip", md5=MD5).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_fetched_anew(server, tmp_path):
    server.deaths = 1
    with pytest.raises(CoppiceError):
        download(server.url, tmp_path / "file.zip", attempts=1)
    (tmp_path / "file.zip.part").write_bytes(CONTENT + b"more")
    assert download(server.url, tmp_path / "file.zip", md5=MD5).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_the_file_removed(server, tmp_path):
    with pytest.raises(CoppiceError, match=f"arrived with MD5 {MD5} instead of 0000"):
        download(server.url, tmp_path / "file.zip", md5="0000")
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".lock"] == []


def test_a_checksum_that_is_a_hint_is_said_not_enforced(server, tmp_path, capsys):
    assert download(server.url, tmp_path / "file.zip", md5_hint="0000").exists()
    assert "not 0000 as once published" in " ".join(capsys.readouterr().err.split())


def test_what_the_server_refuses_is_said_with_what_to_do_by_hand(server, tmp_path):
    with pytest.raises(CoppiceError, match=r"the server answers 404; fetch it by hand and put it at .*file.zip"):
        download(server.url.replace("file.zip", "gone"), tmp_path / "file.zip")


def test_a_server_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(CoppiceError, match=r"cannot be downloaded .*; look elsewhere"):
        download("http://127.0.0.1:1/a.zip", tmp_path / "a.zip", by_hand="look elsewhere", attempts=2)


def test_other_schemes_are_refused(tmp_path):
    with pytest.raises(CoppiceError, match="begins with http"):
        download("file:///etc/passwd", tmp_path / "a")

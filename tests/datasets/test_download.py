import hashlib
import http.server
import re
import threading

import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.download import download

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; hangs up after ``dies_after`` bytes as often as told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.deaths, self.dies_after = CONTENT, '"one"', 0, 300_000
        self.ranges, self.sent, self.knows_ranges = [], 0, True
        self.url = f"http://127.0.0.1:{self.server_port}/file.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        if self.path == "/gone":
            return self.send_error(404)
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        start = 0
        if wanted and server.knows_ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(server.content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        if server.deaths > 0:
            server.deaths -= 1
            body = body[: server.dies_after]
        server.sent += len(body)
        self.wfile.write(body)


@pytest.fixture
def server():
    serving = Server()
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


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

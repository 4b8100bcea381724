import http.server
import re
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from coppice.datasets.clips import make_dataset

RATE = 8000


class Server(http.server.ThreadingHTTPServer):
    """Serves files; hangs up after ``dies_after`` bytes, or falls silent there, as often as told."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.dies_after = bytes(range(256)) * 4000, '"one"', 300_000
        self.deaths = self.stalls = self.busy = 0
        self.ranges, self.sent, self.asked, self.knows_ranges = [], 0, [], True
        self.files, self.closing = {}, threading.Event()
        self.place = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.place}/file.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.files[self.path])))
        self.end_headers()

    def do_GET(self):
        server = self.server
        if self.path == "/gone" or (server.files and self.path not in server.files):
            return self.send_error(404)
        if server.busy > 0:
            server.busy -= 1
            return self.send_error(429)
        content = server.files.get(self.path, server.content)
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        server.asked.append((self.path.rsplit("/", 1)[-1], wanted))
        start = 0
        if wanted and server.knows_ranges and self.headers.get("If-Range") in (None, server.etag):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        dies, stalls = server.deaths > 0, server.stalls > 0 and len(body) > server.dies_after
        if dies or stalls:
            body = body[: server.dies_after]
        server.deaths -= dies
        server.stalls -= stalls
        server.sent += len(body)
        self.wfile.write(body)
        self.wfile.flush()
        if stalls:
            server.closing.wait(20)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("coppice.datasets.download._FIRST_WAIT_S", 0.01)
    serving = Server()
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield serving
    serving.closing.set()
    serving.shutdown()
    serving.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write_noise():
    """Write a short noise file; return its path."""

    def write(file: Path, *, seconds: float = 0.5, seed: int = 0) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * 0.1
        soundfile.write(file, noise, RATE, subtype="PCM_24")
        return file

    return write


@pytest.fixture
def sounds(tmp_path, write_noise):
    """A folder of two classes with six half-second files each."""
    root = tmp_path / "sounds"
    for label in ("dog", "rain"):
        for number in range(6):
            write_noise(root / label / f"{number}.wav", seed=number + 10 * (label == "dog"))
    return root


@pytest.fixture
def table():
    """Make a dataset from columns, without files."""

    def make(**columns):
        rows = len(columns["label"])
        return make_dataset(
            "mine", pd.DataFrame({"file": [f"/s/{n}.wav" for n in range(rows)], **columns}), root=Path("/s")
        )

    return make

"""What the browser looks at."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.cache import cache_folder
from coppice.export.web.runtime_files import runtime_files

CACHE = cache_folder()  # of this machine's user, before another test chooses its own


@pytest.fixture(scope="session")
def runtime(tmp_path_factory) -> Path:
    """A folder with the files of ONNX Runtime Web, fetched once into this user's cache."""
    folder = tmp_path_factory.mktemp("runtime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(CACHE))
        try:
            found = runtime_files()
        except CoppiceError as error:
            pytest.skip(str(error))
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def served() -> Callable[..., Any]:
    """Serve a folder on this machine, as a context that gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    @contextmanager
    def serve(folder: Path) -> Iterator[str]:
        handler = functools.partial(Quiet, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()

    return serve

"""Reading in a process of its own: where a library may crash or never end, only that process does."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors

CPU_SECONDS = 10  # a thousand times what the published networks take
WALL_SECONDS = 120
MEMORY_BYTES = 2 * 2**30

_REFUSED = 3


def read_apart(reader: str, path: Path) -> bytes:
    """Call a function that reads a file, in a process with little time and memory; return the bytes it returns.

    Parameters
    ----------
    reader : str
        ``"module:function"`` of Coppice; takes the path, returns bytes.
    path : Path
        The file. Time and memory grow with its size: 10 s of computing and 2 GiB, and 1 s and 200 MB for each 20 MB.

    Raises
    ------
    CoppiceError
        What the function raises; or when the process crashes or comes to its limits, as on damaged files.

    Examples
    --------
    >>> read_apart("coppice.networks.foreign.keras_file:packed_file", Path("nowhere.h5"))
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: cannot read the model nowhere.h5: no such file or folder.
    """
    with plain_os_errors("read the model", path):
        size = path.stat().st_size
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve(*sys.argv[1:])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, reader, str(path.absolute()), str(path), str(size)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WALL_SECONDS + size / 10e6,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CoppiceError(f"{path} cannot be read within {error.timeout:.0f} s; it is probably damaged.") from error
    except OSError as error:
        raise CoppiceError(f"cannot start a process to read {path}: {error}.") from error
    if done.returncode == _REFUSED:
        raise CoppiceError(json.loads(done.stdout))
    if done.returncode:
        raise CoppiceError(
            f"{path} is damaged: the library that reads it crashed or did not come to an end. Copy or save it again."
        )
    return done.stdout


def serve(reader: str, path: str, shown: str, size: str) -> None:
    """Answer :func:`read_apart`, in the other process; ends it."""
    module, _, function = reader.partition(":")
    read: Callable[[Path], bytes] = getattr(import_module(module), function)
    _limit(CPU_SECONDS + int(size) // 20_000_000, MEMORY_BYTES + 10 * int(size))
    try:
        answer = read(Path(path))
    except CoppiceError as error:
        sys.stdout.write(json.dumps(str(error).replace(path, shown)))
        sys.stdout.flush()
        sys.exit(_REFUSED)
    sys.stdout.buffer.write(answer)


def _limit(cpu_seconds: int, memory_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):  # not every system has these limits; the clock is everywhere
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

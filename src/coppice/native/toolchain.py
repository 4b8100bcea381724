"""The C compiler of this machine, and shared libraries made with it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import digest, make_folder, plain_os_errors
from coppice.core.processor import processor
from coppice.datasets.cache import cache_folder

_NAMES = ("gcc", "clang", "cc")
# With `fast`, x * y + z is one instruction, rounded once.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=fast")
EXACT_FLAGS = ("-std=c99", "-O3", "-ffp-contract=off")  # the same numbers from every compiler
_HERE = "-march=native"
_SECONDS = 300


@dataclass(frozen=True)
class Compiler:
    """A C compiler.

    Attributes
    ----------
    command : str
        How it is called.
    version : str
        Its first words about itself.
    """

    command: str
    version: str


def compiler() -> Compiler:
    """Return the compiler that ``CC`` names, or the first of gcc, clang and cc.

    Raises
    ------
    CoppiceError
        If there is none.
    """
    return _found(os.environ.get("CC", ""))


@lru_cache(maxsize=8)
def _found(wanted: str) -> Compiler:
    for name in (wanted,) if wanted else _NAMES:
        command = shutil.which(name)
        if command is None:
            continue
        said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=False)
        if said.returncode == 0:
            return Compiler(command, said.stdout.splitlines()[0])
    what = f"CC is {wanted!r}, which is not" if wanted else f"none of {', '.join(_NAMES)} is"
    raise CoppiceError(
        f"there is no C compiler: {what} installed; install gcc or clang, or use another runtime, such as onnxruntime."
    )


def shared_library(sources: Mapping[str, str], *, flags: Sequence[str] = FLAGS, key: str = "") -> Path:
    """Compile C into a shared library for this processor, or return the one made before of the same.

    Parameters
    ----------
    sources : mapping of str to str
        Files by name; those that end in ``.c`` are compiled.
    flags : sequence of str
    key : str
        Libraries of other keys are other files, even if they are the same.

    Returns
    -------
    Path
        In Coppice's cache folder.

    Raises
    ------
    CoppiceError
        If there is no compiler, or it refuses.
    """
    one = compiler()
    name = digest({"sources": dict(sources), "flags": list(flags), "with": one.version, "for": processor(), "key": key})
    library = cache_folder() / "compiled" / f"{name}{'.dll' if sys.platform == 'win32' else '.so'}"
    if library.is_file():
        return library
    make_folder(library.parent)
    with plain_os_errors("compile in", library.parent), tempfile.TemporaryDirectory(dir=library.parent) as folder:
        for file, text in sources.items():
            (Path(folder) / file).write_text(text, encoding="utf-8")
        given = [file for file in sources if file.endswith(".c")]
        made = Path(folder) / "library"
        call = [one.command, *flags, "-fPIC", "-shared", "-o", str(made), *given, "-lm"]
        error = _error([*call, _HERE], folder)
        if error and "march" in error:  # compilers for some processors have no such option
            error = _error(call, folder)
        if error:
            raise CoppiceError(f"{one.version} refuses the C of this network: {error}")
        made.replace(library)
    return library


def _error(call: Sequence[str], folder: str) -> str:
    """Run a compiler; return its first complaint, empty where it has none."""
    try:
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"it takes more than {_SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no reason"]
    return lines[0][:300]

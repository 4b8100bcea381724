"""The two files of ONNX Runtime Web that a page needs: fetched once from npm, checked, kept in the cache folder."""

import base64
import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest, plain_os_errors, whole_file
from coppice.datasets.cache import cache_folder
from coppice.datasets.download import download

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
REGISTRY = "https://registry.npmjs.org"


@dataclass(frozen=True)
class RuntimeFile:
    """One file of the package, and what it must be.

    Attributes
    ----------
    member : str
        Where it stands in the package.
    name : str
        Its name beside the page: ``.js``, as not every server knows what ``.mjs`` is.
    size_bytes : int
        Its size.
    sha256 : str
        Its digest.
    """

    member: str
    name: str
    size_bytes: int
    sha256: str


# The build for the processor alone; one thread, so that no headers are asked of the server.
FILES = (
    RuntimeFile(
        "dist/ort.wasm.bundle.min.mjs",
        "ort.wasm.bundle.min.js",
        73_054,
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    RuntimeFile(
        "dist/ort-wasm-simd-threaded.wasm",
        "ort-wasm-simd-threaded.wasm",
        14_239_897,
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
)
# What the registry calls "integrity": the SHA-512 of the package.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_BY_HAND = f"run 'npm pack {PACKAGE}' where there is a network, and give the file it leaves as --runtime-files"


def runtime_files(source: str | Path | None = None) -> dict[str, bytes]:
    """Return the files of ONNX Runtime Web that stand beside a page, each checked against its known digest.

    Parameters
    ----------
    source : str or Path, optional
        The package as ``npm pack`` leaves it, or a folder that holds it unpacked, or the two files. Without it they
        come from the cache folder, and the first time from the npm registry: the public one, or that of the
        environment's ``npm_config_registry``.

    Returns
    -------
    dict of str to bytes
        Name beside the page -> content.

    Raises
    ------
    CoppiceError
        If the registry cannot be reached, or a file is missing or another than it must be.

    Examples
    --------
    >>> runtime_files("nowhere")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: cannot read nowhere: no such file or folder.
    """
    if source is not None:
        return _given(Path(source))
    kept = cache_folder() / "onnxruntime-web" / VERSION
    if not all((kept / file.name).is_file() for file in FILES):
        package = _fetched(kept)
        for name, content in _unpacked(package).items():
            with whole_file(kept / name) as temporary:
                temporary.write_bytes(content)
        package.unlink(missing_ok=True)  # 33 MB, of which 14 are needed
    return {file.name: _checked(file, _read(kept / file.name, file), kept) for file in FILES}


def _given(source: Path) -> dict[str, bytes]:
    with plain_os_errors("read", source):
        source.stat()
    if source.is_file():
        return _unpacked(source)
    found = {}
    for file in FILES:
        base = file.member.rpartition("/")[2]
        places = [source / place for place in (file.member, f"package/{file.member}", base, file.name)]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise CoppiceError(f"{source} holds no {base}, as the package {PACKAGE} does; {_BY_HAND}.")
        found[file.name] = _checked(file, _read(place, file), source)
    return found


def _read(path: Path, file: RuntimeFile) -> bytes:
    """Read no more than the file must have: what is longer is another."""
    with plain_os_errors("read", path), path.open("rb") as handle:
        return handle.read(file.size_bytes + 1)


def _checked(file: RuntimeFile, content: bytes, source: Path) -> bytes:
    if hashlib.sha256(content).hexdigest() != file.sha256:
        name = file.member.rpartition("/")[2]
        raise CoppiceError(f"{name} in {source} is not that of {PACKAGE}; remove it there, or {_BY_HAND}.")
    return content


def _unpacked(package: Path) -> dict[str, bytes]:
    """Read the files out of the package; nothing is unpacked to the disk."""
    found = {}
    with _plain_damage(package), tarfile.open(package) as archive:
        wanted = {f"package/{file.member}": file for file in FILES}
        for member in archive:
            file = wanted.get(member.name)
            handle = archive.extractfile(member) if file is not None else None
            if file is not None and handle is not None:
                found[file.name] = _checked(file, handle.read(file.size_bytes + 1), package)
    for file in FILES:
        if file.name not in found:
            raise CoppiceError(f"{package} holds no {file.member}, so it is not {PACKAGE}; {_BY_HAND}.")
    return found


@contextmanager
def _plain_damage(package: Path) -> Iterator[None]:
    with plain_os_errors("read", package):
        try:
            yield
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise CoppiceError(f"{package} is not a whole package: it cannot be unpacked; {_BY_HAND}.") from error


def _fetched(kept: Path) -> Path:
    """Fetch the package and compare it with what the registry has had."""
    # npm itself writes the name of this variable in small letters, and reads it in any.
    small, large = "npm_config_registry", "NPM_CONFIG_REGISTRY"
    given = os.environ.get(small) or os.environ.get(large) or REGISTRY
    url = f"{given.rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    package = download(url, kept / "package.tgz", by_hand=_BY_HAND)
    found = base64.b64encode(bytes.fromhex(file_digest(package, "sha512"))).decode()
    if found != INTEGRITY:
        package.unlink(missing_ok=True)
        raise CoppiceError(f"{url} arrived with SHA-512 {found} instead of {INTEGRITY}; it was removed. Try again.")
    return package

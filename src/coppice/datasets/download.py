"""Download a large file: resumable, checked, whole or not there."""

import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest, make_folder, plain_os_errors, write_json
from coppice.core.progress import progress_bar, say

_BLOCK_BYTES = 1 << 18
_ATTEMPTS = 4
_TIMEOUT_S = 30.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
# A try that brought so much does not count: a line that breaks now and then still brings a large file.
_ENOUGH_BYTES = 8 << 20
_TRY_LATER = (408, 429)  # the server was too slow, or asked too often
_HEADERS = {"User-Agent": "coppice", "Accept-Encoding": "identity"}
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


def download(
    url: str,
    target: Path,
    *,
    md5: str | None = None,
    md5_hint: str | None = None,
    size_bytes: int | None = None,
    by_hand: str | None = None,
    attempts: int = _ATTEMPTS,
    timeout_s: float = _TIMEOUT_S,
) -> Path:
    """Fetch a file, going on where an earlier attempt stopped.

    Parameters
    ----------
    url : str
        http or https.
    target : Path
        Where the finished file is to stand. A part of it is kept as ``<name>.part``; where the server names
        a version of the file (ETag or date), the part is only continued when the version is still the same.
        Where it names none, the part is continued if ``md5`` will tell whether it all fits.
    md5 : str or None
        Checksum the file must have.
    md5_hint : str or None
        Checksum the file had once; another one is said, not refused.
    size_bytes : int or None
        Size the file must have; the server's word is looked at before anything is fetched.
    by_hand : str or None
        What the user can do without a network, as the end of a sentence.
    attempts : int >= 1
        Tries in a row that bring less than 8 MiB, before giving up; each goes on where the last one stopped,
        after a wait that doubles from one second to a minute.
    timeout_s : float
        How long the server may be silent before the try counts as failed.

    Returns
    -------
    Path
        ``target``; fetched only where it was not there.

    Raises
    ------
    CoppiceError
        If the server cannot be reached or refuses, size or checksum differ, or the disk refuses.
    """
    if not url.startswith(("http://", "https://")):
        raise CoppiceError(f"cannot download {url!r}; give an address that begins with http:// or https://.")
    make_folder(target.parent)
    part = target.with_name(target.name + ".part")
    hint = by_hand or f"fetch it by hand and put it at {target}"
    with plain_os_errors("write", target), FileLock(target.with_name(target.name + ".lock")):
        if target.exists():
            return target
        if not _lies_whole(part, url, size_bytes):
            wanted = _Wanted(url, size_bytes, checked=md5 is not None, timeout_s=timeout_s)
            _fetch_patiently(wanted, part, hint, attempts)
        _check(part, url, md5, md5_hint)
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.replace(target)
        _version_file(part).unlink(missing_ok=True)
    return target


def remote_size(url: str, *, timeout_s: float = _TIMEOUT_S) -> int | None:
    """Ask the server how large a file is; None where it does not say.

    Raises
    ------
    CoppiceError
        If the server cannot be reached or refuses.
    """
    request = urllib.request.Request(url, headers=_HEADERS, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return _length(answer)
    except _NETWORK_ERRORS as error:
        raise CoppiceError(f"{url} cannot be reached ({getattr(error, 'reason', None) or error}).") from error


@dataclass(frozen=True)
class _Wanted:
    url: str
    size_bytes: int | None
    checked: bool
    timeout_s: float


def _fetch_patiently(wanted: _Wanted, part: Path, hint: str, attempts: int) -> None:
    url, failures = wanted.url, 0
    while True:
        before = _size(part)
        try:
            return _fetch(wanted, part)
        except _NETWORK_ERRORS as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else None
            if status == 416:  # the part does not fit what the server has: begin again
                part.unlink(missing_ok=True)
            elif status is not None and status < 500 and status not in _TRY_LATER:
                raise CoppiceError(f"{url} cannot be downloaded: the server answers {status}; {hint}.") from error
            reason = getattr(error, "reason", None) or error
            failures = 0 if _size(part) - before >= _ENOUGH_BYTES else failures + 1
            if failures >= attempts:
                raise CoppiceError(f"{url} cannot be downloaded ({reason}); {hint}.") from error
            say(f"the download was interrupted ({reason}); going on, attempt {failures + 1} of {attempts}")
            if failures > 1:  # most lines are back at once
                time.sleep(min(_FIRST_WAIT_S * 2 ** (failures - 2), _LONGEST_WAIT_S))


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _stored(part: Path, url: str) -> dict[str, Any] | None:
    """Return what is known of the part that lies there, if it is one of this address."""
    try:
        stored = json.loads(_version_file(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) and stored.get("url") == url and part.exists() else None


def _lies_whole(part: Path, url: str, size_bytes: int | None) -> bool:
    """Say whether only the check and the name are missing, as after a kill in between; a part too long is removed."""
    if size_bytes is None or _stored(part, url) is None:
        return False
    if _size(part) > size_bytes:
        part.unlink()
    return _size(part) == size_bytes


def _length(answer: http.client.HTTPResponse) -> int | None:
    length = answer.headers.get("Content-Length")
    return int(length) if length and length.isdigit() else None


def _fetch(wanted: _Wanted, part: Path) -> None:
    url = wanted.url
    stored = _stored(part, url)
    version = stored.get("version") if stored else None
    have = _size(part) if stored and (version or wanted.checked) else 0
    request = urllib.request.Request(url, headers=_HEADERS)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if version:
            request.add_header("If-Range", version)
    with urllib.request.urlopen(request, timeout=wanted.timeout_s) as answer:
        continued = answer.status == 206
        if continued and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            raise http.client.HTTPException("the server sent another part than was asked for")
        have = have if continued else 0
        length = _length(answer)
        total = wanted.size_bytes if length is None else have + length
        if wanted.size_bytes is not None and total != wanted.size_bytes:
            raise CoppiceError(
                f"{url} has {total} bytes on the server instead of the {wanted.size_bytes} that were published."
            )
        etag = answer.headers.get("ETag", "")
        # A weak ETag promises a like file, not the same bytes.
        new_version = etag if etag.startswith('"') else answer.headers.get("Last-Modified")
        if new_version or wanted.checked:
            write_json(_version_file(part), {"url": url, "version": new_version})
        else:
            _version_file(part).unlink(missing_ok=True)
        bar = progress_bar(part.stem, total or 0, done=have, unit="bytes")
        with part.open("ab" if continued else "wb") as handle, bar as advance:
            while block := answer.read(_BLOCK_BYTES):
                handle.write(block)
                have += len(block)
                if total is not None and have > total:
                    raise CoppiceError(f"{url} sends more than the {total} bytes that it has.")
                advance(len(block), "")
    if total is not None and have != total:
        raise ConnectionError(f"{have} of {total} bytes arrived")


def _check(part: Path, url: str, md5: str | None, md5_hint: str | None) -> None:
    expected = md5 or md5_hint
    if expected is None:
        return
    found = file_digest(part, "md5")
    if found == expected:
        return
    if md5 is not None:
        part.unlink()
        _version_file(part).unlink(missing_ok=True)
        raise CoppiceError(f"{url} arrived with MD5 {found} instead of {md5}; it was removed, so try again.")
    say(f"{url} has MD5 {found}, not {md5_hint} as once published; its content is checked instead")

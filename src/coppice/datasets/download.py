"""Download a large file: resumable, checked, whole or not there."""

import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest, make_folder, plain_os_errors, write_json
from coppice.core.progress import progress_bar, say

_BLOCK_BYTES = 1 << 18
_ATTEMPTS = 4
_TIMEOUT_S = 30.0
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
    by_hand: str | None = None,
    attempts: int = _ATTEMPTS,
) -> Path:
    """Fetch a file, going on where an earlier attempt stopped.

    Parameters
    ----------
    url : str
        http or https.
    target : Path
        Where the finished file is to stand. A part of it is kept as ``<name>.part``; where the server names
        a version of the file (ETag or date), the part is only continued when the version is still the same.
    md5 : str or None
        Checksum the file must have.
    md5_hint : str or None
        Checksum the file had once; another one is said, not refused.
    by_hand : str or None
        What the user can do without a network, as the end of a sentence.
    attempts : int >= 1
        Tries before giving up; each goes on where the last one stopped.

    Returns
    -------
    Path
        ``target``; fetched only where it was not there.

    Raises
    ------
    CoppiceError
        If the server cannot be reached or refuses, the checksum differs, or the disk refuses.
    """
    if not url.startswith(("http://", "https://")):
        raise CoppiceError(f"cannot download {url!r}; give an address that begins with http:// or https://.")
    make_folder(target.parent)
    part = target.with_name(target.name + ".part")
    hint = by_hand or f"fetch it by hand and put it at {target}"
    with plain_os_errors("write", target), FileLock(target.with_name(target.name + ".lock")):
        if target.exists():
            return target
        _fetch_patiently(url, part, hint, attempts)
        _check(part, url, md5, md5_hint)
        with part.open("rb") as handle:
            os.fsync(handle.fileno())
        part.replace(target)
        _version_file(part).unlink(missing_ok=True)
    return target


def _fetch_patiently(url: str, part: Path, hint: str, attempts: int) -> None:
    for attempt in range(1, attempts + 1):
        try:
            return _fetch(url, part)
        except _NETWORK_ERRORS as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else None
            if status == 416:  # the part does not fit what the server has: begin again
                part.unlink(missing_ok=True)
            elif status is not None and status < 500:
                raise CoppiceError(f"{url} cannot be downloaded: the server answers {status}; {hint}.") from error
            reason = getattr(error, "reason", None) or error
            if attempt == attempts:
                raise CoppiceError(f"{url} cannot be downloaded ({reason}); {hint}.") from error
            say(f"the download was interrupted ({reason}); going on, attempt {attempt + 1} of {attempts}")


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _known_version(part: Path, url: str) -> str | None:
    """Return the version of the part that lies there, if it can be continued."""
    try:
        stored = json.loads(_version_file(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored["version"] if isinstance(stored, dict) and stored.get("url") == url and part.exists() else None


def _fetch(url: str, part: Path) -> None:
    version = _known_version(part, url)
    have = part.stat().st_size if version else 0
    request = urllib.request.Request(url, headers={"User-Agent": "coppice", "Accept-Encoding": "identity"})
    if have and version:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        continued = answer.status == 206
        if continued and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            raise http.client.HTTPException("the server sent another part than was asked for")
        have = have if continued else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        etag = answer.headers.get("ETag", "")
        # A weak ETag promises a like file, not the same bytes.
        new_version = etag if etag.startswith('"') else answer.headers.get("Last-Modified")
        if new_version:
            write_json(_version_file(part), {"url": url, "version": new_version})
        else:
            _version_file(part).unlink(missing_ok=True)
        with part.open("ab" if continued else "wb") as handle, progress_bar(part.stem, total or 0) as advance:
            advance(have, "bytes")
            while block := answer.read(_BLOCK_BYTES):
                handle.write(block)
                have += len(block)
                advance(len(block), "bytes")
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

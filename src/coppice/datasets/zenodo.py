"""What a Zenodo record says of its files: names, sizes, MD5 (https://developers.zenodo.org/#records)."""

import re
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import read_json
from coppice.datasets.archive import Archive
from coppice.datasets.download import download

ZENODO = "https://zenodo.org"
_ATTEMPTS = 3
_PARTS = {"doc": 0, "meta": 1, "audio": 2}  # small ones first


def listed_archives(record: int, folder: str, downloads: Path, *, timeout_s: float = 30.0) -> tuple[Archive, ...]:
    """Ask Zenodo which archives of a dataset a record holds.

    Parameters
    ----------
    record : int >= 1
        The number at the end of the record's address.
    folder : str
        The dataset's folder; its archives are called ``<folder>.meta.zip``, ``<folder>.audio.1.zip`` and so on, and
        whatever else the record holds is left out.
    downloads : Path
        Where the answer lies while it is read; created.
    timeout_s : float
        How long the server may be silent.

    Returns
    -------
    tuple of Archive
        Documents and tables first, then the recordings in the order of their numbers, each with size and MD5.

    Raises
    ------
    CoppiceError
        If Zenodo cannot be reached, has no such record, or the record holds other files.
    """
    page = f"{ZENODO}/records/{record}"
    answer = downloads / f"zenodo-{record}.json"
    answer.unlink(missing_ok=True)  # a record may have changed since
    download(
        f"{ZENODO}/api/records/{record}",
        answer,
        by_hand=f"look whether {page} is there",
        attempts=_ATTEMPTS,
        timeout_s=timeout_s,
    )
    try:
        said = read_json(answer)
    finally:
        answer.unlink(missing_ok=True)
    wanted = re.compile(re.escape(folder) + r"\.(doc|meta|audio)(?:\.(\d+))?\.zip")
    try:
        found = []
        for file in said["files"]:
            if match := wanted.fullmatch(file["key"]):
                kind, _, checksum = file["checksum"].partition(":")
                archive = Archive(
                    name=file["key"],
                    url=f"{page}/files/{file['key']}",
                    size_bytes=int(file["size"]),
                    md5=checksum if kind == "md5" else None,
                )
                found.append((_PARTS[match[1]], int(match[2] or 0), archive))
        title = str(said["metadata"]["title"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CoppiceError(f"{page} answers in another form than Zenodo's ({error!r}).") from error
    if not found:
        raise CoppiceError(f"{page} is {title!r} and holds no {folder}.*.zip; look up the number of the right record.")
    return tuple(archive for *_, archive in sorted(found, key=lambda each: each[:2]))

"""What the container of a sound file promises, against what the file holds.

The decoding library returns what it finds and stays silent about what is missing, so the promise is read
here.
"""

import io
import struct
from pathlib import Path
from typing import BinaryIO

# Sizes that a program writes when it streams and does not know the length yet (0x7FFFF000: SoX).
_STREAMING = {0, 0xFFFFFFFF, 0x7FFFF000}
_RIFF_MARKS = {b"RIFF", b"RIFX", b"RF64", b"BW64"}
_OGG_TAIL_BYTES = 1 << 17  # the largest page has 65,307 bytes
_OGG_LAST_PAGE = 0x04


def missing_part(path: Path) -> str | None:
    """Say what is missing from a WAV or Ogg file that was cut short.

    Parameters
    ----------
    path : Path
        A readable file of any kind.

    Returns
    -------
    str or None
        A clause such as ``"its header promises 441044 bytes of sound, the file holds 1000"``; None where
        nothing is missing or the container is another. WAV: the size of the data chunk (Microsoft,
        "Multimedia Programming Interface", 1991; RF64: EBU Tech 3306). Ogg: the end-of-stream mark of the
        last page (RFC 3533, section 6).

    Examples
    --------
    >>> import tempfile
    >>> short = Path(tempfile.mkdtemp()) / "short.wav"
    >>> header = b"RIFF" + (1036).to_bytes(4, "little") + b"WAVEdata" + (1000).to_bytes(4, "little")
    >>> _ = short.write_bytes(header + bytes(10))
    >>> missing_part(short)
    'its header promises 1000 bytes of sound, the file holds 10'
    """
    with path.open("rb") as handle:
        mark = handle.read(12)
        if mark[:4] in _RIFF_MARKS and mark[8:12] == b"WAVE":
            return _missing_of_wav(handle, path.stat().st_size, big_endian=mark[:4] == b"RIFX")
        if mark[:4] == b"OggS":
            return _missing_of_ogg(handle, path.stat().st_size)
    return None


def streamed_wav(path: Path) -> io.BytesIO | None:
    r"""Return a WAV stream whose sizes were left at 0 as a file in memory whose sizes are right.

    Parameters
    ----------
    path : Path
        A readable file of any kind.

    Returns
    -------
    BytesIO or None
        None unless both the RIFF size and the size of the data chunk are 0: the decoding library takes the
        latter by its word, and finds no sound.

    Examples
    --------
    >>> import tempfile
    >>> streamed = Path(tempfile.mkdtemp()) / "streamed.wav"
    >>> _ = streamed.write_bytes(b"RIFF" + bytes(4) + b"WAVEdata" + bytes(4) + b"sound.")
    >>> streamed_wav(streamed).getvalue()[16:]
    b'\x06\x00\x00\x00sound.'
    """
    with path.open("rb") as handle:
        mark = handle.read(12)
        if mark[:8] != b"RIFF" + bytes(4) or mark[8:] != b"WAVE":
            return None
        while len(header := handle.read(8)) == 8:
            name, length = header[:4], struct.unpack("<I", header[4:])[0]
            if name == b"data":
                break
            handle.seek(length + length % 2, 1)
        else:
            return None
        start = handle.tell()
        size = path.stat().st_size
        if length != 0 or not 0 < size - start < 1 << 31:
            return None
        handle.seek(0)
        content = bytearray(handle.read())
    content[4:8] = struct.pack("<I", size - 8)
    content[start - 4 : start] = struct.pack("<I", size - start)
    return io.BytesIO(content)


def _missing_of_wav(handle: BinaryIO, size: int, *, big_endian: bool) -> str | None:
    order = ">" if big_endian else "<"
    wide_size = None
    while len(header := handle.read(8)) == 8:
        name, length = header[:4], struct.unpack(order + "I", header[4:])[0]
        if name == b"data":
            held = size - handle.tell()
            if wide_size is not None and length == 0xFFFFFFFF:
                length = wide_size
            elif length in _STREAMING:
                return None
            if length > held:
                return f"its header promises {length} bytes of sound, the file holds {held}"
            return None
        if name == b"ds64" and length >= 24:
            content = handle.read(24)
            if len(content) == 24:
                wide_size = struct.unpack(order + "Q", content[8:16])[0]
            length -= 24
        handle.seek(length + length % 2, 1)  # chunks are padded to even lengths
    return "it has no data chunk"


def _missing_of_ogg(handle: BinaryIO, size: int) -> str | None:
    handle.seek(max(0, size - _OGG_TAIL_BYTES))
    tail = handle.read(_OGG_TAIL_BYTES)
    start = tail.rfind(b"OggS\x00")
    page = tail[start:]
    if start >= 0 and len(page) >= 27:
        lacing = page[27 : 27 + page[26]]
        whole = len(lacing) == page[26] and 27 + len(lacing) + sum(lacing) <= len(page)
        if whole and page[5] & _OGG_LAST_PAGE:
            return None
    return "its last page is not marked as the end of the stream"

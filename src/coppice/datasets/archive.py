"""What is published for download: archives with their sizes and checksums, and the dataset they make."""

from dataclasses import dataclass

_BLOCK_BYTES = 4096  # what a file takes at least on usual file systems, and what it is rounded up to
# Recordings hardly shrink when they are zipped: 27.50 GB of archives hold 30.49 GB of clips (TAU 2022 Mobile).
_UNPACKED_RATIO = 1.15


@dataclass(frozen=True)
class Archive:
    """One published zip file.

    Parameters
    ----------
    name : str
        File name.
    url : str
        http or https.
    size_bytes : int or None
        As published; None where that is not known.
    md5 : str or None
        As published; None where that is not known.
    """

    name: str
    url: str
    size_bytes: int | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Collection:
    """A dataset that comes in several archives, all of which unpack into one folder.

    Parameters
    ----------
    name : str
        How Coppice calls it, such as ``"tau2022-mobile"``.
    title : str
        How its makers call it.
    folder : str
        The top folder of its archives.
    page : str
        Where it is published.
    archives : tuple of Archive
        Small ones first.
    clips : int or None
        Sound files in it; None where that is not known.
    clip_bytes : int
        Size of one of them.
    note : str
        Licence.
    """

    name: str
    title: str
    folder: str
    page: str
    archives: tuple[Archive, ...]
    clips: int | None
    clip_bytes: int
    note: str

    def unpacked_bytes(self, sizes: dict[str, int], names: set[str]) -> int:
        """Estimate the disk that some archives take unpacked, from their share of all archives' bytes.

        Parameters
        ----------
        sizes : dict
            Archive name → bytes, of all archives.
        names : set of str
            The archives that count.

        Examples
        --------
        >>> two = (Archive("a.zip", ""), Archive("b.zip", ""))
        >>> Collection("x", "X", "x", "", two, clips=10, clip_bytes=4000, note="").unpacked_bytes(
        ...     {"a.zip": 300, "b.zip": 100}, {"a.zip"}
        ... )
        30720
        """
        packed = sum(sizes.values())
        if self.clips is None:
            whole = round(packed * _UNPACKED_RATIO)
        else:
            whole = self.clips * -(-self.clip_bytes // _BLOCK_BYTES) * _BLOCK_BYTES
        return round(whole * sum(sizes[name] for name in names) / packed) if packed else 0

"""TAU Urban Acoustic Scenes on Zenodo: which archives there are, with sizes and checksums.

The table lies in ``tau_archives.tsv``: bytes and MD5 as dcase_util and soundata publish them; an empty cell means that
neither says it. Of the evaluation set of 2023 the sizes are not known, of that of 2025 neither sizes nor checksums (the
names of its archives are from the record's listing), of that of 2024 not even the record. What is not known beforehand
is asked of Zenodo, and the checksum that a zip file holds of each of its members is checked for all of them.
"""

from functools import cache
from pathlib import Path

from coppice.datasets.archive import Archive, Collection

SCENES = (
    "airport",
    "bus",
    "metro",
    "metro_station",
    "park",
    "public_square",
    "shopping_mall",
    "street_pedestrian",
    "street_traffic",
    "tram",
)
SUBSETS = (5, 10, 25, 50, 100)  # per cent of the training clips, DCASE 2024 and 2025
SUBSETS_URL = "https://github.com/CPJKU/dcase2024_task1_baseline/releases/download/files"
LICENCE = "Tampere University, for non-commercial academic use only"

_HEADER_BYTES, _SECOND_BYTES = 44, 44_100 * 3  # mono, 24 bit
# Name: year and kind in titles, Zenodo record, clips, seconds of a clip.
_PUBLISHED: dict[str, tuple[str, str, int | None, int | None, int]] = {
    "tau2020-mobile": ("2020", "development", 3819968, 23_035, 10),
    "tau2022-mobile": ("2022", "development", 6337421, 230_350, 1),
    "tau2021-evaluation": ("2021", "evaluation", 4767109, 7_920, 10),
    "tau2022-evaluation": ("2022", "evaluation", 6591203, 118_800, 1),
    "tau2023-evaluation": ("2023", "evaluation", 7870258, 118_800, 1),
    "tau2024-evaluation": ("2024", "evaluation", None, 135_730, 1),
    "tau2025-evaluation": ("2025", "evaluation", 15517945, None, 1),
}
DEVELOPMENT = ("tau2020-mobile", "tau2022-mobile")
NAMES = tuple(_PUBLISHED)


@cache
def collection(name: str) -> Collection:
    """Return what is published under a name.

    Parameters
    ----------
    name : str
        One of ``NAMES``.

    Returns
    -------
    Collection
        Without archives where the record that holds them is not known.

    Examples
    --------
    >>> found = collection("tau2022-mobile")
    >>> found.folder, len(found.archives), sum(archive.size_bytes for archive in found.archives)
    ('TAU-urban-acoustic-scenes-2022-mobile-development', 18, 27503592469)
    """
    year, kind, record, clips, seconds = _PUBLISHED[name]
    folder = f"TAU-urban-acoustic-scenes-{year}-mobile-{kind}"
    archives = []
    for line in Path(__file__).with_name("tau_archives.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        of, part, size, md5 = line.split("\t")
        if of == name:
            file = f"{folder}.{part}.zip"
            url = f"https://zenodo.org/record/{record}/files/{file}"
            archives.append(Archive(file, url, int(size) if size else None, md5 or None))
    return Collection(
        name=name,
        title=f"TAU Urban Acoustic Scenes {year} Mobile, {kind} dataset",
        folder=folder,
        page=f"https://zenodo.org/record/{record}" if record else f"https://dcase.community/challenge{year}",
        archives=tuple(archives),
        clips=clips,
        clip_bytes=_HEADER_BYTES + seconds * _SECOND_BYTES,
        note=f"TAU Urban Acoustic Scenes {year} Mobile: {LICENCE}.",
    )


def record_of(name: str) -> int | None:
    """Return the number of the Zenodo record of a name; None where it is not known.

    Examples
    --------
    >>> record_of("tau2022-mobile")
    6337421
    """
    return _PUBLISHED[name][2]

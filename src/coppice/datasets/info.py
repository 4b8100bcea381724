"""What is in a dataset: counts, lengths, rates, and the files that cannot be used."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from coppice.audio.decode import AudioInfo, probe
from coppice.core.errors import CoppiceError
from coppice.core.progress import progress_bar
from coppice.datasets.clips import Dataset


def describe(dataset: Dataset, *, threads: int = 8) -> dict[str, Any]:
    """Look at every file of a dataset and count.

    Parameters
    ----------
    dataset : Dataset
        What to look at.
    threads : int
        Files looked at at the same time.

    Returns
    -------
    dict
        JSON-able: ``name``, ``root``, ``note``, ``synthetic``, ``clips``, ``files``, ``recordings``,
        ``ignored``; ``classes`` (label → clips and recordings), ``folds``, ``devices``, ``cities``, ``splits``
        (value → clips; empty where the dataset has none); ``duration_s`` (min, median, max of the clips),
        ``sample_rates_hz``, ``channels`` and ``formats`` (value → files); ``problems`` (file and sentence).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from coppice.datasets.synthetic import open_synthetic
    >>> place = Path(tempfile.mkdtemp()) / "s"
    >>> found = describe(open_synthetic(root=place, clips_per_class=5, duration_s=0.2))
    >>> found["clips"], found["sample_rates_hz"], found["duration_s"]["median"]
    (50, {'44100': 50}, 0.2)
    """
    files = sorted(set(dataset.clips["file"]))
    with ThreadPoolExecutor(threads) as pool, progress_bar("looking at files", len(files)) as advance:
        infos: dict[str, AudioInfo] = {}
        problems = []
        for file, found in zip(files, pool.map(_probe, files), strict=True):
            if isinstance(found, AudioInfo):
                infos[file] = found
            else:
                problems.append({"file": file, "sentence": found})
            advance(1, f"{len(problems)} unreadable" if problems else "")
    clips = dataset.clips
    by_class = clips.groupby("label")
    return {
        "name": dataset.name,
        "root": str(dataset.root),
        "note": dataset.note,
        "synthetic": dataset.synthetic,
        "clips": len(clips),
        "files": len(files),
        "recordings": int(clips["recording"].nunique()),
        "ignored": dataset.ignored,
        "classes": {
            label: {"clips": len(group), "recordings": int(group["recording"].nunique())} for label, group in by_class
        },
        "folds": _count(clips["fold"]),
        "devices": _count(clips["device"]),
        "cities": _count(clips["city"]),
        "splits": _count(clips["split"]),
        "duration_s": _durations(dataset, infos),
        "sample_rates_hz": _count(pd.Series([info.sample_rate for info in infos.values()])),
        "channels": _count(pd.Series([info.channels for info in infos.values()])),
        "formats": _count(pd.Series([info.format for info in infos.values()])),
        "problems": problems,
    }


def _probe(file: str) -> AudioInfo | str:
    try:
        return probe(file)
    except CoppiceError as error:
        return str(error)


def _count(column: pd.Series) -> dict[str, int]:
    return {str(value): int(number) for value, number in column.dropna().value_counts().sort_index().items()}


def _durations(dataset: Dataset, infos: dict[str, AudioInfo]) -> dict[str, float] | None:
    clips = dataset.clips
    whole = np.array([infos[file].duration_s if file in infos else np.nan for file in clips["file"]])
    lengths = np.fmin(whole - clips["start_s"].to_numpy(), clips["duration_s"].to_numpy())
    lengths = lengths[np.isfinite(whole)]
    if not len(lengths):
        return None
    return {
        "min": round(float(lengths.min()), 3),
        "median": round(float(np.median(lengths)), 3),
        "max": round(float(lengths.max()), 3),
    }

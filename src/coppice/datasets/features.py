"""The feature store: log-mel of every clip in one memory-mapped array, computed once."""

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Bool, Float32
from joblib import cpu_count

from coppice.audio.decode import decode, probe
from coppice.audio.front_end import FrontEnd
from coppice.audio.length import fit_length, length_change
from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.core.files import digest, make_folder, plain_os_errors
from coppice.core.progress import progress_bar, say
from coppice.datasets.alteration import Alteration
from coppice.datasets.cache import cache_folder
from coppice.datasets.clips import Dataset
from coppice.datasets.feature_file import FeatureFile, open_complete

STORE_VERSION = 1
CHUNK = 64  # clips handed out at once
MARK_AFTER_S = 2.0  # between two marks on the disk; what a kill can cost
_CHANGES = ("kept", "cut", "padded")


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Log-mel features of a dataset.

    Parameters
    ----------
    array : memmap of float32, shape (clips, mels, frames)
        Rows in the order of the clip table, read-only. A clip that cannot be used is NaN.
    problems : tuple of (clip_id, file, sentence)
        The clips that cannot be used, and why.
    cut, padded : int
        Clips longer or shorter than the front end's duration by more than one hop.
    usable : ndarray of bool, shape (clips,)
        False for the clips in ``problems``; leave them out of every split.
    """

    array: Float32[np.ndarray, "clips mels frames"]
    problems: tuple[tuple[str, str, str], ...]
    cut: int
    padded: int
    usable: Bool[np.ndarray, "clips"]


def load_features(
    dataset: Dataset,
    front_end: FrontEnd,
    *,
    folder: Path | None = None,
    bad_clips: str = "refuse",
    threads: int | None = None,
    altered: Alteration | None = None,
) -> FeatureSet:
    """Compute the features of every clip, or take them from the store.

    The store is keyed by the clip table (files with size and date, stretches) and the front end. Two
    processes may ask for the same: one computes, the other waits. A run that was killed is taken up where
    it stood.

    Parameters
    ----------
    dataset : Dataset
        The clips.
    front_end : FrontEnd
        Waveform to log-mel.
    folder : Path or None
        Where stores are kept; None: ``features`` in the cache folder.
    bad_clips : {"refuse", "skip"}
        What to do when a clip cannot be used: raise an error, or mark it as not usable.
    threads : int or None
        Clips worked on at the same time; None: one per processor.
    altered : Alteration, optional
        What is done to the waveforms first.

    Returns
    -------
    FeatureSet

    Raises
    ------
    CoppiceError
        If a clip cannot be used and ``bad_clips`` is ``"refuse"``, no clip can be used, or the disk refuses.

    Examples
    --------
    >>> import tempfile
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.datasets.synthetic import open_synthetic
    >>> place = Path(tempfile.mkdtemp())
    >>> dataset = open_synthetic(root=place / "sounds", clips_per_class=5, duration_s=0.5)
    >>> load_features(dataset, front_end("dcase2021", duration_s=0.5), folder=place / "features").array.shape
    (50, 40, 25)
    """
    if bad_clips not in ("refuse", "skip"):
        raise CoppiceError(f"bad_clips is {bad_clips!r}; give 'refuse' or 'skip'.")
    place = make_folder((cache_folder() / "features") if folder is None else Path(folder))
    store = place / store_key(dataset, front_end, altered)
    if not store.exists():
        with _locked(store):
            if not store.exists():
                _fill(store, dataset, front_end, threads or cpu_count(), altered)
    array, state = open_complete(store, (len(dataset), *front_end.shape))
    ids, files = dataset.clips["clip_id"].tolist(), dataset.clips["file"].tolist()
    problems = tuple((ids[int(row)], files[int(row)], sentence) for row, sentence in state["problems"].items())
    usable = np.ones(len(dataset), dtype=bool)
    usable[[int(row) for row in state["problems"]]] = False
    if problems and bad_clips == "refuse":
        raise CoppiceError(_refusal(problems, len(dataset)))
    if not usable.any():
        raise CoppiceError(f"none of the {len(dataset)} clips of {dataset.name!r} can be used: {problems[0][2]}")
    return FeatureSet(array=array, problems=problems, cut=state["cut"], padded=state["padded"], usable=usable)


def store_key(dataset: Dataset, front_end: FrontEnd, altered: Alteration | None = None) -> str:
    """Return the digest that names the store of a dataset and a front end.

    It changes when a file does (size, date, readability), when a stretch does, and with every constant of
    the front end, and with what is done to the waveforms. Labels and folds do not matter.
    """
    seen: dict[str, Any] = {}

    def facts(file: str) -> Any:
        if file not in seen:
            try:
                status = Path(file).stat()
                seen[file] = [status.st_size, status.st_mtime_ns, os.access(file, os.R_OK)]
            except OSError:
                seen[file] = None
        return seen[file]

    columns = [dataset.clips[name].tolist() for name in ("clip_id", "file", "start_s", "duration_s")]
    clips = [
        [clip_id, file, facts(file), start_s, repr(duration_s)]
        for clip_id, file, start_s, duration_s in zip(*columns, strict=True)
    ]
    # The preset is a name only; the same constants under another name give the same features.
    constants = {name: value for name, value in front_end.to_dict().items() if name != "preset"}
    more = {} if altered is None else {"altered": altered.key}
    return digest({"store": STORE_VERSION, "clips": clips, "front_end": constants, **more})


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    lock = FileLock(store.with_name(store.name + ".lock"))
    with plain_os_errors("lock the feature store", store):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another process is filling the feature store {store}; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fill(store: Path, dataset: Dataset, front_end: FrontEnd, threads: int, altered: Alteration | None) -> None:
    clips = dataset.clips[["file", "start_s", "duration_s"]].to_dict("records")
    with FeatureFile(store, (len(clips), *front_end.shape)) as partial:
        todo = partial.missing_rows()
        if 0 < len(todo) < len(clips):
            say(f"taking up the feature store where it stood: {len(todo)} of {len(clips)} clips are left")

        def work(row: int) -> tuple[int, np.ndarray | None, str]:
            try:
                if altered is None:
                    return row, *_features(clips[row], front_end)
                waveform, change = clip_waveform(clips[row], front_end)
                return row, log_mel(altered.alter(row, waveform), front_end).numpy(), change
            except CoppiceError as error:
                return row, None, str(error)

        workers = torch.get_num_threads()
        # One thread per clip: many clips at a time are faster than many threads on one.
        torch.set_num_threads(1)
        try:
            with (
                ThreadPoolExecutor(threads) as pool,
                progress_bar("log-mel", len(clips)) as advance,
            ):
                advance(len(clips) - len(todo), "")
                marked = time.monotonic()
                for start in range(0, len(todo), CHUNK):
                    for row, picture, what in pool.map(work, todo[start : start + CHUNK]):
                        if picture is None:
                            partial.mark_bad(row, what)
                        else:
                            partial.write(row, picture, _CHANGES.index(what))
                        advance(1, f"{partial.bad} unusable" if partial.bad else "")
                    # A mark waits for the disk, which takes longer than a chunk of one-second clips.
                    if time.monotonic() - marked >= MARK_AFTER_S:
                        partial.checkpoint()
                        marked = time.monotonic()
        finally:
            torch.set_num_threads(workers)
        partial.complete()


def clip_waveform(clip: Mapping[Any, Any], front_end: FrontEnd) -> tuple[Float32[np.ndarray, " samples"], str]:
    """Return one clip's waveform at a front end's rate and length, and what was done for the length.

    Parameters
    ----------
    clip : mapping
        With ``file``, ``start_s`` and ``duration_s``, which is NaN for all of the file.
    front_end : FrontEnd
        Rate, resampler, length and padding.

    Returns
    -------
    waveform : ndarray of float32, shape (samples,)
    change : {"kept", "cut", "padded"}

    Raises
    ------
    CoppiceError
        If the file cannot be read or is silent.
    """
    info = probe(clip["file"])
    available_s = info.duration_s - clip["start_s"]
    if clip["duration_s"] == clip["duration_s"]:  # not NaN
        available_s = min(available_s, clip["duration_s"])
    hop_s = front_end.hop_length / front_end.sample_rate
    # A little more than is needed, so that resampling has its context at the end, too.
    needed_s = min(available_s, front_end.duration_s + 4 * hop_s)
    waveform = decode(
        clip["file"],
        sample_rate=front_end.sample_rate,
        resampler=front_end.resampler,
        start_s=clip["start_s"],
        duration_s=needed_s if needed_s > 0 else None,
    )
    change = length_change(available_s, wanted_s=front_end.duration_s, tolerance_s=hop_s)
    return fit_length(waveform, samples=front_end.samples, pad=front_end.pad), change


def _features(clip: Mapping[Any, Any], front_end: FrontEnd) -> tuple[np.ndarray, str]:
    """Return the log-mel picture of one clip, and whether it was cut or padded."""
    waveform, change = clip_waveform(clip, front_end)
    return log_mel(waveform, front_end).numpy(), change


def _refusal(problems: tuple[tuple[str, str, str], ...], total: int) -> str:
    shown = " | ".join(sentence for _, _, sentence in problems[:3]) + (" | …" if len(problems) > 3 else "")
    return (
        f"{len(problems)} of {total} clips cannot be used: {shown} "
        "Repair them, or set bad_clips to 'skip' to leave them out and list them in the report."
    )

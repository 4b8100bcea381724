"""Files and folders from end to end: one bad file does not end the others."""

import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from coppice.audio.clip_stream import ClipStream
from coppice.audio.decode import probe
from coppice.audio.places import sound_files
from coppice.core.errors import CoppiceError
from coppice.core.files import whole_file
from coppice.core.progress import progress_bar
from coppice.evaluation.classify import Classification, classify
from coppice.evaluation.hears import Hears

_BAR_AFTER_S = 2.0


def classify_places(
    classifier: Hears, places: Sequence[str | Path], *, hop_s: float | None = None, per_window: bool = False
) -> tuple[list[Classification], list[str]]:
    """Classify sound files, and those in folders.

    Parameters
    ----------
    classifier : Classifier or OnnxClassifier
        What hears.
    places : sequence of str or Path
        Files of any name, and folders whose sound files are taken in the order of their names.
    hop_s, per_window
        See :func:`coppice.evaluation.classify.classify`.

    Returns
    -------
    heard : list of Classification
        One for each file that could be heard.
    problems : list of str
        One sentence for each file or folder that could not.

    Raises
    ------
    CoppiceError
        If no file could be heard with this classifier and hop, whatever it holds.
    """
    front_end = classifier.known_front_end()
    ClipStream(front_end, sample_rate=front_end.sample_rate, hop_s=hop_s)  # refuses a hop that cannot be
    classifier.posteriors_of_waveforms(torch.zeros(1, front_end.samples))  # and a network that cannot hear
    heard: list[Classification] = []
    problems: list[str] = []
    files = _files(places, problems)
    with progress_bar("seconds of sound", round(sum(map(_seconds, files))), after_s=_BAR_AFTER_S) as advance:
        for file in files:
            shown = 0.0

            def more(seconds: float, name: str = file.name) -> None:
                nonlocal shown
                advance(int(shown + seconds) - int(shown), name)
                shown += seconds

            try:
                heard.append(classify(classifier, file, hop_s=hop_s, per_window=per_window, progress=more))
            except CoppiceError as error:
                problems.append(str(error))
    return heard, problems


def write_csv(heard: Sequence[Classification], path: Path, *, per_window: bool = False) -> None:
    """Write what was heard as CSV, whole.

    Parameters
    ----------
    heard : sequence of Classification
        All of one classifier.
    path : Path
        Where.
    per_window : bool
        One row per window (``file``, ``start_s``, ``end_s``, ``predicted``), not per file (``file``, ``predicted``,
        ``seconds``, ``windows``, ``padded``, ``remarks``); then ``p_<class>`` with 17 digits.
    """
    columns: tuple[str, ...] = ("predicted", "seconds", "windows", "padded", "remarks")
    if per_window:
        columns = ("start_s", "end_s", "predicted")
    labels = list(heard[0].posteriors) if heard else []
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(["file", *columns, *(f"p_{label}" for label in labels)])
        for one in heard:
            if per_window:
                for window in one.per_window:
                    where = (f"{window.start_s:.6g}", f"{window.end_s:.6g}", window.label)
                    rows.writerow([one.file, *where, *_digits(window.posteriors)])
                continue
            what = (one.label, f"{one.seconds:.6g}", one.windows, one.padded, "; ".join(one.remarks))
            rows.writerow([one.file, *what, *_digits(one.posteriors)])


def _digits(posteriors: dict[str, float]) -> list[str]:
    return [f"{posterior:.17g}" for posterior in posteriors.values()]


def _files(places: Sequence[str | Path], problems: list[str]) -> list[Path]:
    """Return the sound files; what is wrong with a place goes to ``problems``."""
    files = []
    for place in places:
        try:
            files += sound_files(place)
        except CoppiceError as error:
            problems.append(str(error))
    return files


def _seconds(file: Path) -> float:
    """Return how long a file is, and 0 where it cannot be read, which is said when it is its turn."""
    try:
        return probe(file).duration_s
    except CoppiceError:
        return 0.0

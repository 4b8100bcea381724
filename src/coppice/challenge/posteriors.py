"""Predictions of a system as arrays: names of clips, probabilities of the scenes, and what is known of the clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from coppice.challenge.output_rows import SUM_TOLERANCE
from coppice.challenge.rules import COLUMNS, DEVICES_2025, SCENES
from coppice.core.errors import CoppiceError
from coppice.core.files import whole_file
from coppice.datasets.csv_table import USUAL_NAMES, read_table

_NAMES = (*USUAL_NAMES["file"], *USUAL_NAMES["clip_id"])
_CLIPS_FROM_RUN = 4  # folders up from a stage to its run


@dataclass(frozen=True, eq=False)
class Posteriors:
    """Probabilities of the ten scenes for each clip.

    Attributes
    ----------
    names : tuple of str
        Names of the clips.
    values : ndarray of float64, shape (clips, 10)
        Scenes in the official, alphabetical order.
    targets : ndarray of int, shape (clips,), or None
        The right scenes, where the file has a column ``label``.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "clips 10"]
    targets: Int[np.ndarray, " clips"] | None


def read_posteriors(path: str | Path) -> Posteriors:
    r"""Read predictions from a CSV file.

    Parameters
    ----------
    path : str or Path
        What a run or ``coppice evaluate --predictions`` writes, an official output file, or any table with a column of
        file names and one of probabilities for each scene, called as the scene or with ``p_`` before it.

    Raises
    ------
    CoppiceError
        If a column is missing, a probability is no number, or a row is not probabilities but, for example, logits.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "p.csv"
    >>> _ = file.write_text("filename," + ",".join(SCENES) + "\n0.wav,1" + ",0" * 9 + "\n")
    >>> read_posteriors(file).names
    ('0.wav',)
    """
    path = Path(path)
    table = read_table(path)
    name = next((one for one in _NAMES if one in table), None)
    if name is None:
        raise CoppiceError(f"{path} has no column of file names; call it 'filename' or 'clip_id'.")
    columns = [next((one for one in (f"p_{scene}", scene) if one in table), None) for scene in SCENES]
    if None in columns:
        missing = SCENES[columns.index(None)]
        raise CoppiceError(
            f"{path} has no probabilities of {missing!r}; the scenes of the task are {', '.join(SCENES)}."
        )
    others = [str(one) for one in table if str(one).startswith("p_") and one not in columns]
    if others:
        raise CoppiceError(f"{path} has the class {others[0].removeprefix('p_')!r}, which is no scene of the task.")
    values = np.stack([pd.to_numeric(table[one], errors="coerce").to_numpy(dtype=float) for one in columns], axis=1)
    _check_probabilities(values, path)
    return Posteriors(tuple(table[name]), values, _targets(table, path))


def check_devices(devices: Sequence[str], path: Path) -> None:
    """Refuse clips that do not say from which recording device they are."""
    for device in devices:
        if device not in DEVICES_2025:
            raise CoppiceError(
                f"{path}: the recording device {device!r} is none of {', '.join(DEVICES_2025)}; keep the TAU file "
                "names, which end in the device, or the run's data/clips.csv."
            )


def devices_of(found: Posteriors, path: Path) -> tuple[str, ...]:
    """Return the recording device of each clip.

    Parameters
    ----------
    found : Posteriors
        Read from ``path``.
    path : Path
        Predictions inside a run folder, whose ``data/clips.csv`` knows devices; or anywhere, of clips whose names end
        in the device, such as ``tram-vienna-285-8639-0-s3.wav``.

    Raises
    ------
    CoppiceError
        If a clip's device is not known.
    """
    known: dict[str, str] = {}
    for folder in list(path.absolute().parents)[:_CLIPS_FROM_RUN]:
        if (folder / "data" / "clips.csv").is_file():
            table = read_table(folder / "data" / "clips.csv")
            if {"clip_id", "device"} <= set(table.columns):
                known = dict(zip(table["clip_id"], table["device"], strict=True))
            break
    named = [known.get(name) or Path(name).stem.rpartition("-")[2] for name in found.names]
    check_devices(named, path)
    return tuple(named)


def write_output(found: Posteriors, path: Path) -> None:
    """Write an official output file: tabs, the official columns, the label of the largest probability."""
    table = pd.DataFrame(found.values, columns=list(SCENES))
    table.insert(0, "filename", [Path(name).name for name in found.names])
    table.insert(1, "scene_label", [SCENES[index] for index in found.values.argmax(axis=1)])
    with whole_file(path) as temporary:
        table[list(COLUMNS)].to_csv(temporary, sep="\t", index=False, float_format="%.10g", lineterminator="\n")


def _check_probabilities(values: Float[np.ndarray, "clips 10"], path: Path) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise CoppiceError(f"{path}: the probabilities on line {bad[0] + 2} are not all numbers; compute them again.")
    off = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > SUM_TOLERANCE)
    if off.any():
        row = int(off.argmax())
        raise CoppiceError(
            f"{path}: the values on line {row + 2} are no probabilities (the smallest is {values[row].min():.4g}, they "
            f"sum to {values[row].sum():.4g}); if they are logits, give their softmax."
        )


def _targets(table: pd.DataFrame, path: Path) -> Int[np.ndarray, " clips"] | None:
    if "label" not in table:
        return None
    unknown = sorted(set(table["label"]) - set(SCENES))
    if unknown:
        raise CoppiceError(f"{path} has the label {unknown[0]!r}, which is no scene; they are {', '.join(SCENES)}.")
    return np.array([SCENES.index(label) for label in table["label"]])

"""Clips ready for training: usable rows, their split and their features, from a source in one call."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from coppice.audio.front_end import FrontEnd
from coppice.audio.front_end import front_end as preset_front_end
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.datasets.clips import Dataset
from coppice.datasets.feature_file import read_rows
from coppice.datasets.features import load_features
from coppice.datasets.normalization import Normalization, fit_normalization
from coppice.datasets.sources import open_dataset
from coppice.datasets.splits import PARTS, Split, split_dataset


@dataclass(frozen=True, eq=False)
class Prepared:
    """A dataset with everything that training and evaluation need of it.

    Attributes
    ----------
    dataset : Dataset
        The usable clips only.
    split : Split
        Rows of ``dataset.clips`` for train, validation and test.
    front_end : FrontEnd
        How the features were computed.
    problems : tuple of (clip_id, file, sentence)
        Clips that were left out, and why.
    cut, padded : int
        Clips that were longer or shorter than the front end's duration.
    """

    dataset: Dataset
    split: Split
    front_end: FrontEnd
    problems: tuple[tuple[str, str, str], ...]
    cut: int
    padded: int
    _features: Float32[np.ndarray, "stored mels frames"]
    _stored: Int[np.ndarray, " clips"]

    def clips(self, part: str) -> pd.DataFrame:
        """Return the clip table of one part: ``train``, ``validation`` or ``test``."""
        return self.dataset.clips.iloc[self._rows(part)].reset_index(drop=True)

    def log_mel(self, part: str, rows: Int[np.ndarray, " rows"] | None = None) -> Float[Tensor, "clips mels frames"]:
        """Return the features of one part, or of given rows of the clip table, as a tensor in memory, in nats."""
        chosen = self._rows(part) if rows is None else rows
        return torch.from_numpy(read_rows(self._features, self._stored[chosen]))

    def targets(self, part: str, rows: Int[np.ndarray, " rows"] | None = None) -> Int[Tensor, " clips"]:
        """Return the class indices of one part, or of given rows."""
        return torch.from_numpy(self.dataset.targets[self._rows(part) if rows is None else rows])

    def normalization(self) -> Normalization:
        """Measure mean and standard deviation of every band on the training clips alone."""
        return fit_normalization(self._features, self._stored[self.split.train])

    def resplit(self, **how: Any) -> "Prepared":
        """Return the same clips under another split (see :func:`coppice.datasets.splits.split_dataset`)."""
        return replace(self, split=split_dataset(self.dataset, **how))

    def of_device(self, part: str, device: str) -> Int[np.ndarray, " rows"]:
        """Return the rows of one part's clips that were recorded with a device, in the clip table.

        Raises
        ------
        CoppiceError
            If there are none.
        """
        rows = self._rows(part)
        devices = self.dataset.clips["device"].iloc[rows]
        found = rows[(devices == device).fillna(False).to_numpy(dtype=bool)]
        if not len(found):
            known = sorted({str(one) for one in devices.dropna()})
            hint = did_you_mean(device, known) if known else "The clips do not say which device they are from."
            raise CoppiceError(f"no {part} clip was recorded with device {device!r}. {hint}")
        return found

    def heard_with(self, front_end: FrontEnd, *, folder: Path | None = None) -> "Prepared":
        """Return the same clips and split with the features of another front end.

        Raises
        ------
        CoppiceError
            If a clip cannot be used with it.
        """
        if front_end == self.front_end:
            return self
        found = load_features(self.dataset, front_end, folder=folder)
        return replace(
            self,
            front_end=front_end,
            cut=found.cut,
            padded=found.padded,
            _features=found.array,
            _stored=np.arange(len(self.dataset)),
        )

    def side_of_clips(self) -> list[str]:
        """Return ``train``, ``validation``, ``test`` or ``unused`` for every clip, in the order of the table."""
        side = np.full(len(self.dataset), "unused", dtype=object)
        for part in PARTS:
            side[getattr(self.split, part)] = part
        return side.tolist()

    def _rows(self, part: str) -> Int[np.ndarray, " rows"]:
        if part not in PARTS:
            raise CoppiceError(f"there is no part {part!r}; give one of {', '.join(PARTS)}.")
        rows = getattr(self.split, part)
        if part == "validation" and not len(rows):
            raise CoppiceError(
                f"no clips validate ({self.split.how}), so that nothing can be measured or chosen on them; give a "
                "validation_fraction above 0."
            )
        return rows


def prepare(
    source: str | Path,
    *,
    root: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    front_end: FrontEnd | None = None,
    split: Mapping[str, Any] | None = None,
    bad_clips: str = "refuse",
    folder: Path | None = None,
    **source_options: Any,
) -> Prepared:
    """Open a dataset, compute its features and split it.

    Parameters
    ----------
    source : str or Path
        ``esc10``, ``esc50``, ``synthetic``, a folder with one sub-folder per class, or a CSV/TSV file.
    root : path, optional
        Where the recordings of a named dataset or a table lie.
    columns : mapping, optional
        Names of a table's columns.
    front_end : FrontEnd, optional
        The front end; ``dcase2021`` at five seconds if not given.
    split : mapping, optional
        See :func:`coppice.datasets.splits.split_dataset`.
    bad_clips : {"refuse", "skip"}
        What to do with clips that cannot be used.
    folder : Path, optional
        Where the feature store lies; the cache folder if not given.
    **source_options
        What the source takes besides.

    Returns
    -------
    Prepared

    Raises
    ------
    CoppiceError
        For whatever is wrong with the source, its files or the split.
    """
    front_end = front_end or preset_front_end("dcase2021", duration_s=5.0)
    dataset = open_dataset(source, root=root, columns=columns, **source_options)
    found = load_features(dataset, front_end, folder=folder, bad_clips=bad_clips)
    usable = replace(dataset, clips=dataset.clips[found.usable].reset_index(drop=True))
    try:
        divided = split_dataset(usable, **(split or {}))
    except CoppiceError as error:
        if not found.problems:
            raise
        count, example = len(found.problems), found.problems[0][2]
        raise CoppiceError(f"{error} {count} clips were left out before, such as: {example}") from error
    return Prepared(
        dataset=usable,
        split=divided,
        front_end=front_end,
        problems=found.problems,
        cut=found.cut,
        padded=found.padded,
        _features=found.array,
        _stored=np.flatnonzero(found.usable),
    )

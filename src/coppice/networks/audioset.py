"""The classes of AudioSet, in the order of the outputs of networks trained on it."""

from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def audioset_labels() -> tuple[str, ...]:
    """Return the 527 display names of AudioSet's classes.

    Gemmeke et al., "Audio Set: an ontology and human-labeled dataset for audio events", ICASSP 2017; in the order
    of Google's ``class_labels_indices.csv``. The list of the dataset is under CC BY 4.0, the ontology under CC BY-SA
    4.0.

    Examples
    --------
    >>> len(audioset_labels()), audioset_labels()[0], audioset_labels()[526]
    (527, 'Speech', 'Field recording')
    """
    text = Path(__file__).with_name("audioset_labels.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))

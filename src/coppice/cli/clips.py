"""Clips that a command opens: features, split, and a word on standard error about them."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from coppice.audio.front_end import FrontEnd
    from coppice.datasets.prepare import Prepared
    from coppice.networks.classifier import Classifier


def open_clips(
    source: str, root: Path | None, front_end: "FrontEnd", test_fold: int | None, bad_clips: str
) -> "Prepared":
    """Prepare a dataset for a classifier's front end; say how it is split and what was left out."""
    from coppice.core.progress import say
    from coppice.datasets.prepare import prepare

    prepared = prepare(source, root=root, front_end=front_end, split={"test_fold": test_fold}, bad_clips=bad_clips)
    say(f"{prepared.dataset.name}: {prepared.split.describe()}")
    for clip_id, _, sentence in prepared.problems:
        say(f"left out {clip_id}: {sentence}")
    return prepared


def looked_at(
    classifier: "Classifier",
    source: str | None,
    root: Path | None,
    test_fold: int | None,
    bad_clips: str,
    *,
    count: int,
    seed: int,
) -> "tuple[Float[Tensor, 'clips mels frames'] | None, Int[Tensor, ' clips'] | None]":
    """Draw training clips for a criterion, with the index of their classes; None and None without a source."""
    from coppice.core.progress import say
    from coppice.pruning.evidence.training_clips import training_clips

    if source is None:
        return None, None
    prepared = open_clips(source, root, classifier.known_front_end(), test_fold, bad_clips)
    clips, targets = training_clips(classifier, prepared, count=count, seed=seed)
    say(f"looking at {len(clips)} training clips")
    return clips, targets


def clips_key(prepared: "Prepared") -> str:
    """Return a digest of clips, split and front end, for a stage that depends on them."""
    from coppice.core.files import digest

    table = prepared.dataset.clips.assign(side=prepared.side_of_clips())
    return digest([table.to_csv(index=False), prepared.front_end.to_dict()])

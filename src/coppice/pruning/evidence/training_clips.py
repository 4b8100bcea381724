"""Some training clips for criteria to look at."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.core.seeds import numpy_stream
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import Classifier

CLIPS = 64  # orders hardly change with more


def training_clips(
    classifier: Classifier, data: Prepared, *, count: int = CLIPS, seed: int = 0
) -> tuple[Float[Tensor, "clips mels frames"], Int[Tensor, " clips"] | None]:
    """Draw clips from the training part, as evenly over the classes as these allow; never validation or test.

    Parameters
    ----------
    classifier : Classifier
        Its labels say which class has which index.
    data : Prepared
        Prepared with the classifier's front end.
    count : int >= 1
        How many; all of the training part where it has no more.
    seed : int
        Which ones. With the same seed fewer clips are some of more.

    Returns
    -------
    log_mel : Tensor [shape=(clips, mels, frames)], nats
        Not normalised, in the order of the clip table.
    targets : Tensor of int64 [shape=(clips,)] or None
        Index of each clip's class among the classifier's labels; None where it does not know one of them.

    Raises
    ------
    CoppiceError
        If the count is not a whole number from 1.

    Examples
    --------
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.datasets.prepare import prepare
    >>> from coppice.networks.registry import build_network
    >>> data = prepare("synthetic", clips_per_class=5, duration_s=0.5, front_end=front_end("dcase2021", duration_s=0.5))
    >>> shape = {"bands": 40, "frames": data.front_end.shape[1], "classes": 10}
    >>> network = build_network("dcase2021", **shape)
    >>> classifier = Classifier(network, data.front_end, data.dataset.labels, torch.zeros(40), torch.ones(40))
    >>> log_mel, targets = training_clips(classifier, data, count=20)
    >>> log_mel.shape[:2], targets.bincount().tolist()
    (torch.Size([20, 40]), [2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise CoppiceError(f"clips is {count!r}; give a whole number from 1, such as {CLIPS}.")
    rows = numpy_stream(seed, "training clips").permutation(data.split.train)
    classes = data.dataset.targets[rows]
    turn = np.empty(len(rows), dtype=np.int64)  # the first of each class come first, then the second of each …
    for class_ in np.unique(classes):
        (places,) = np.nonzero(classes == class_)
        turn[places] = np.arange(len(places))
    chosen = np.sort(rows[np.argsort(turn, kind="stable")[:count]])
    labels = data.dataset.clips["label"].iloc[chosen]
    targets = None
    if set(labels) <= set(classifier.labels):
        targets = torch.tensor([classifier.labels.index(label) for label in labels], dtype=torch.int64)
    return data.log_mel("train", chosen), targets

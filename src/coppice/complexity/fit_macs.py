"""Multiply-accumulates of fitting a network, by convention: a backward pass takes twice what a forward pass does."""

_TRAINED = 3  # forward, and backward one product for the gradient of the weights and one for that of the inputs


def epoch_macs(macs: int, *, clips: int, validation_clips: int) -> int:
    """Return the MACs of one epoch.

    Three times a clip's for each training clip, whichever layers are frozen, and once for each validation clip. What
    augmentation, the optimizer and averages of weights compute is no product of a layer and counts 0.

    Parameters
    ----------
    macs : int
        Of the network for one clip, from :func:`coppice.complexity.macs.count_macs`.
    clips, validation_clips : int
        In one epoch.

    Examples
    --------
    >>> epoch_macs(1_000_000, clips=240, validation_clips=80)
    800000000
    """
    return macs * (_TRAINED * clips + validation_clips)


def fit_macs(macs: int, *, epochs: int, clips: int, validation_clips: int, teacher_macs: int = 0) -> int:
    """Return the MACs of a whole fit: its epochs, and what a teacher says of each training clip, once.

    Parameters
    ----------
    macs, clips, validation_clips : int
        See :func:`epoch_macs`.
    epochs : int
        That were run.
    teacher_macs : int
        Of all teachers for one clip.

    Examples
    --------
    >>> fit_macs(1_000_000, epochs=50, clips=240, validation_clips=80, teacher_macs=2_000_000)
    40480000000
    """
    return epochs * epoch_macs(macs, clips=clips, validation_clips=validation_clips) + teacher_macs * clips

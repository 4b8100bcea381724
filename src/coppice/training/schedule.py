"""Learning-rate schedules: constant or cosine, with a linear warm-up."""

import math

SCHEDULES = ("constant", "cosine")


def rate_factor(step: int, *, schedule: str, warmup: int, total: int) -> float:
    """Return by what the learning rate is multiplied at an optimizer step.

    From 0 at the first step to 1 after the warm-up, along a line; then constant, or half a cosine down to 0 at the end
    (Loshchilov & Hutter, ICLR 2017, without restarts). With both it is what ``get_cosine_schedule_with_warmup`` of the
    transformers library gives, which the DCASE 2024 baseline uses.

    Parameters
    ----------
    step : int >= 0
        Optimizer steps done.
    schedule : {"constant", "cosine"}
        What follows the warm-up.
    warmup : int >= 0
        Steps of the warm-up.
    total : int >= 1
        Steps of the whole fit.

    Examples
    --------
    >>> [round(rate_factor(step, schedule="cosine", warmup=2, total=6), 3) for step in range(7)]
    [0.0, 0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if step < warmup:
        return step / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

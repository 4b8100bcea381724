"""How many runs fit side by side into the memory and the cores of this machine."""

import math
from pathlib import Path

import psutil
from joblib import cpu_count

from coppice.complexity.profile import profile
from coppice.core.progress import say
from coppice.core.units import bytes_text
from coppice.datasets.prepare import Prepared
from coppice.recipes.material import untrained
from coppice.recipes.recipe import Recipe

_PACKAGES = 800_000_000  # resident once torch, Lightning and what reports need are imported
_COPIES = 3  # of features: as read, normalised, and in batches
_GRADIENTS = 4  # activations kept for the backward pass, between layers of those with weights, with their gradients
_STATES = 4  # weights, gradients and Adam's two moments
_GROUP = Path("/sys/fs/cgroup")


def needed_bytes(recipe: Recipe, data: Prepared) -> int:
    """Estimate the memory of one run from its clips and its network; for a first run, when nothing is measured.

    Parameters
    ----------
    recipe : Recipe
        For its network and batch size.
    data : Prepared
        For the number and shape of the clips.
    """
    classifier = untrained(recipe, data)
    bands, frames = data.front_end.shape
    cost = profile(classifier, latency=False)
    values = bands * frames + sum(math.prod(layer.output_shape) for layer in cost.layers)
    features = 4 * len(data.dataset) * bands * frames
    batch = 4 * recipe.training.batch_size * values
    return _PACKAGES + _COPIES * features + _GRADIENTS * batch + _STATES * 4 * cost.params_total


def free_bytes() -> int:
    """Return the memory that is free here, within the limit of the container if there is one."""
    free = int(psutil.virtual_memory().available)
    try:
        most = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no limit, or none that is written there
        return free
    return min(free, max(0, most - used))


def jobs_that_fit(wanted: int | None, each_bytes: int, *, free: int | None = None, cores: int | None = None) -> int:
    """Choose how many runs go on side by side, one thread each; say so when it is not what was wanted.

    Parameters
    ----------
    wanted : int >= 1 or None
        As many as there are cores, if not given.
    each_bytes : int
        What one run needs.
    free, cores : int, optional
        Of this machine, if not given.

    Examples
    --------
    >>> jobs_that_fit(8, 10**9, free=3 * 10**9, cores=8), jobs_that_fit(None, 10**9, free=10**12, cores=2)
    (3, 2)
    """
    cores = cpu_count() if cores is None else cores
    free = free_bytes() if free is None else free
    fit = free // each_bytes
    memory = f"one takes about {bytes_text(each_bytes)}, {bytes_text(free)} are free"
    if fit < 1:
        say(f"memory is short even for one run at a time: {memory}; a smaller training.batch_size needs less")
        return 1
    jobs = min(wanted or cores, cores, fit)
    if wanted is not None and jobs < wanted:
        why = f"there are {cores} cores" if jobs == cores else memory
        say(f"{jobs} of the {wanted} jobs go on side by side: {why}")
    elif jobs < cores and wanted is None:
        say(f"{jobs} runs go on side by side on {cores} cores: {memory}")
    return jobs

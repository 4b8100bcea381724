"""Plans from index lists, as papers publish them: one NumPy file of kept filters for each layer."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.tracing.channels import trace

_LARGEST = 1 << 24  # bytes; an index list of two million filters


def plan_from_indices(
    model: Classifier | nn.Module,
    indices: Mapping[str, Iterable[int] | str | Path],
    *,
    example: Float[Tensor, "1 *shape"] | None = None,
) -> PruningPlan:
    """Make a plan of the filters that someone else chose.

    Parameters
    ----------
    model : Classifier or nn.Module
        The network before the cut; not touched.
    indices : mapping of str to indices or path
        Layer name → the filters that stay, from 0, in any order; or the ``.npy`` file that holds them, such as those
        that the Interspeech 2022 paper's repository ships.
    example : Tensor, optional
        One input for a bare module, batch of 1.

    Returns
    -------
    PruningPlan
        In the order in which the layers run; coupled layers follow along.

    Raises
    ------
    CoppiceError
        If a layer does not exist or cannot be cut, an index does not fit it, or a file is no list of indices.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3))
    >>> plan_from_indices(net, {"0": [3, 0]}, example=torch.zeros(1, 1, 16)).keep("0")
    (0, 3)
    """
    network, example = as_network(model, example)
    channels = trace(network, example)
    for name in indices:
        if name not in channels.layers:
            raise CoppiceError(f"there is no layer {name!r} to cut. {did_you_mean(name, channels.layers)}")
        if not channels.can_be_cut(name):
            raise CoppiceError(f"{name!r} cannot be cut: its filters {channels.reasons[name]}.")
    entries = []
    for name in (name for name in channels.layers if name in indices):
        given = indices[name]
        keep = read_indices(given) if isinstance(given, str | Path) else tuple(given)
        ascending = tuple(sorted(keep)) if all(isinstance(index, int) for index in keep) else keep
        entries.append(LayerPlan(name, len(channels.units(name)), ascending, channels.coupled_layers(name)))
    made = PruningPlan(None, tuple(entries))
    doomed_units(channels, made)
    return made


def read_indices(path: str | Path) -> tuple[int, ...]:
    """Read a list of filter indices from a NumPy file; nothing is unpickled.

    Parameters
    ----------
    path : str or Path
        A ``.npy`` file with whole numbers, or real numbers that are whole, in one dimension.

    Returns
    -------
    tuple of int

    Raises
    ------
    CoppiceError
        If the file is missing, cut short, not a NumPy file or anything but a list of whole numbers.
    """
    path = Path(path)
    with plain_os_errors("read the index file", path):
        size = path.stat().st_size
        if size > _LARGEST:
            raise CoppiceError(f"{path} has {size:,} bytes, too many for a list of filters.")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # NumPy's parser of headers raises whatever it stumbles over
            raise CoppiceError(f"{path} is not a whole NumPy file of filter indices; copy it again.") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or array.squeeze().ndim > 1 or not array.size:
        what = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise CoppiceError(f"{path} holds {what}; a list of filter indices is needed.")
    values = np.asarray(array).reshape(-1)
    if not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise CoppiceError(f"{path} holds numbers that are not whole; a list of filter indices is needed.")
    return tuple(int(value) for value in values)

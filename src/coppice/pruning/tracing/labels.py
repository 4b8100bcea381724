"""Labels along an axis: what a consumer reads, what a reduction mixes, what a broadcast spreads."""

from jaxtyping import Int64
from torch import Tensor


def narrowed(labels: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*narrow"]:
    """Return the labels with every axis along which they do not change cut to its first index.

    Examples
    --------
    >>> import torch
    >>> narrowed(torch.tensor([1, 2]).view(1, 2, 1).expand(4, 2, 5)).shape
    torch.Size([1, 2, 1])
    """
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1 and labels.stride(axis) == 0:
            labels = labels.narrow(axis, 0, 1)
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1 and bool((labels == labels.narrow(axis, 0, 1)).all()):
            labels = labels.narrow(axis, 0, 1)
    return labels


def varying_axes(labels: Int64[Tensor, "*shape"]) -> list[int]:
    """Return the axes along which the labels change.

    Examples
    --------
    >>> import torch
    >>> varying_axes(torch.tensor([1, 2]).view(1, 2, 1).expand(4, 2, 5))
    [1]
    """
    return [axis for axis, size in enumerate(narrowed(labels).shape) if size > 1]


def vector_along(labels: Int64[Tensor, "*shape"], axis: int) -> Int64[Tensor, " size"] | None:
    """Return the one label of every index along an axis, or None where an index holds several.

    Parameters
    ----------
    labels : Tensor of int64
        Labels of an activation.
    axis : int
        The axis a layer reads as channels.

    Returns
    -------
    Tensor [shape=(size of the axis,)] or None

    Examples
    --------
    >>> import torch
    >>> labels = torch.tensor([1, 2]).view(1, 2, 1).expand(4, 2, 3)
    >>> vector_along(labels, 1).tolist()
    [1, 2]
    >>> vector_along(labels, 2) is None
    True
    """
    if any(other != axis % labels.ndim for other in varying_axes(labels)):
        return None
    index = [0] * labels.ndim
    return labels.movedim(axis, -1)[tuple(index[:-1])]

"""The weight of a layer, filter by filter."""

from jaxtyping import Float
from torch import Tensor, nn


def filters_first(layer: nn.Module) -> Float[Tensor, "filters channels *kernel"]:
    """Return the weight of a layer with its filters along the first axis, also of a transposed convolution.

    Examples
    --------
    >>> filters_first(nn.ConvTranspose1d(2, 6, 3)).shape
    torch.Size([6, 2, 3])
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if not isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return weight
    split = weight.reshape(layer.groups, -1, *weight.shape[1:])  # (groups, inputs, filters, *kernel)
    return split.transpose(1, 2).reshape(-1, split.shape[1], *weight.shape[2:])

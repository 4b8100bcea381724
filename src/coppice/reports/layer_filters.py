"""The filters of each convolution before any cut: their kernels, and how near each is to its neighbour."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.criteria.cosine_similarity import cosine_distances, nearest_distances, prototypes
from coppice.networks import checkpoint
from coppice.reports.run_records import RunRecord

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class LayerFilters:
    """One convolution of the unpruned network.

    Attributes
    ----------
    kernels : Tensor [shape=(filters, height, width)]
        Each filter's kernel, the mean over its input channels.
    distances : Tensor [shape=(filters, filters)], in [0, 2]
        Cosine distances between the filters' rank-1 prototypes.
    nearest : Tensor [shape=(filters,)], in [0, 2]
        Distance of each filter to the one closest to it; empty for a layer with one filter.
    """

    name: str
    channels: int
    kernels: Float[Tensor, "filters height width"]
    distances: Float[Tensor, "filters filters"]
    nearest: Float[Tensor, " filters"]

    @property
    def filters(self) -> int:
        """Number of filters."""
        return len(self.kernels)

    @property
    def kernel_text(self) -> str:
        """Size of the kernel, such as ``7×7``."""
        return f"{self.kernels.shape[1]}×{self.kernels.shape[2]}"

    @property
    def nearest_mean(self) -> float | None:
        """Mean of the nearest-filter distances, as Singh and Plumbley (Interspeech 2022) print it."""
        return float(self.nearest.mean()) if len(self.nearest) else None

    @property
    def nearest_sd(self) -> float | None:
        """Population standard deviation of the nearest-filter distances, printed beside the mean there."""
        return float(self.nearest.std(correction=0)) if len(self.nearest) else None


def flat_kernels(weight: Float[Tensor, "filters channels *kernel"]) -> Float[Tensor, "filters height width"]:
    """Return each filter as one picture: the mean over input channels (and over depth, where there is one).

    Examples
    --------
    >>> import torch
    >>> flat_kernels(torch.ones(4, 2, 3, 5)).shape, flat_kernels(torch.ones(4, 2, 7)).shape
    (torch.Size([4, 3, 5]), torch.Size([4, 1, 7]))
    """
    mean = weight.detach().double().mean(dim=1)
    while mean.ndim > 3:
        mean = mean.mean(dim=1)
    while mean.ndim < 3:
        mean = mean.unsqueeze(1)
    return mean


def layer_filters(name: str, weight: Float[Tensor, "filters channels *kernel"]) -> LayerFilters:
    """Measure the filters of one convolution.

    Parameters
    ----------
    name : str
        The layer's name.
    weight : Tensor [shape=(filters, channels, *kernel)]
        Its weights.

    Examples
    --------
    >>> import torch
    >>> layer = layer_filters("conv1", torch.randn(8, 2, 3, 3))
    >>> layer.filters, layer.kernel_text, tuple(layer.distances.shape)
    (8, '3×3', (8, 8))
    """
    distances = cosine_distances(prototypes(weight.detach())).double()
    nearest = nearest_distances(distances) if len(weight) > 1 else distances.new_empty(0)
    return LayerFilters(
        name=name,
        channels=weight.shape[1],
        kernels=flat_kernels(weight),
        distances=distances,
        nearest=nearest,
    )


def filters_of_run(run: RunRecord) -> tuple[Sequence[LayerFilters], str]:
    """Read the convolutions of a run's unpruned checkpoint.

    Returns
    -------
    layers : sequence of LayerFilters
        In the order of the network; empty where there is no readable checkpoint.
    note : str
        Why it is empty, or an empty string.
    """
    if run.unpruned is None:
        return (), "The run has no unpruned network, so its filters cannot be shown."
    try:
        classifier = checkpoint.load(run.folder / run.unpruned.entry.folder / "checkpoint.safetensors")
    except CoppiceError as error:
        return (), f"The filters cannot be shown: {error}"
    convolutions = [(n, m) for n, m in classifier.network.named_modules() if isinstance(m, CONVOLUTIONS)]
    if not all(module.weight.isfinite().all() for _, module in convolutions):
        return (), "The filters cannot be shown: the unpruned network holds weights that are not numbers."
    layers = [layer_filters(name, module.weight) for name, module in convolutions]
    return layers, "" if layers else "The network has no convolution, so there are no filters to show."

"""How many MACs pruning saves, truly and in the style of papers that look at the pruned layer alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.convention import Convention
from coppice.complexity.macs import count_macs
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.classifier import Classifier, as_network

LAYER_ONLY = Convention(
    "layer_only",
    "missing output maps of the pruned layers alone, added up; the next layers' smaller inputs are left out",
    "Singh and Plumbley, Interspeech 2022",
)


@dataclass(frozen=True)
class MacReduction:
    """MACs saved by pruning.

    Attributes
    ----------
    macs_before : int
        Of the unpruned network, without biases.
    macs_after : int or None
        Of the pruned one; None when only the numbers of filters were given.
    missing_by_layer : dict
        Name of a pruned layer -> MACs of its missing output maps, at the layer's unpruned input.
    """

    macs_before: int
    macs_after: int | None
    missing_by_layer: dict[str, int]

    @property
    def fraction(self) -> float | None:
        """Share of all MACs that is really saved: the next layers' smaller inputs count too."""
        return None if self.macs_after is None else 1 - self.macs_after / self.macs_before

    @property
    def layer_only_fraction(self) -> float:
        """Share of all MACs that belongs to the missing maps alone, as published at Interspeech 2022."""
        return sum(self.missing_by_layer.values()) / self.macs_before

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data, with both fractions and how the second is counted."""
        return {
            **asdict(self),
            "fraction": self.fraction,
            "layer_only_fraction": self.layer_only_fraction,
            "layer_only_counts": f"{LAYER_ONLY.counts} ({LAYER_ONLY.source})",
        }


def mac_reduction(
    before: Classifier | nn.Module,
    after: Classifier | nn.Module | Mapping[str, int],
    *,
    example: Float[Tensor, "1 *shape"] | None = None,
) -> MacReduction:
    """Compare the MACs of a network before and after pruning in both conventions.

    The "27 % fewer computations" of Singh and Plumbley (Interspeech 2022, arXiv 2203.15751) are the missing output
    maps of the second convolution alone: 5 of its 16 filters × 16 channels × 7 × 7 × 40 × 500. The third convolution
    then reads 11 maps and not 16, which saves another 2.2 %: 29.5 % in all. With several pruned layers, the paper's
    way adds up what each would lose if it were the only one (31.25 % for all three; really 51.56 %).

    Parameters
    ----------
    before : Classifier or nn.Module
        The unpruned network; left as it is.
    after : Classifier, nn.Module or mapping
        The pruned network, with the same names of layers; or name of a layer -> number of filters it keeps, such as
        ``{layer.name: len(layer.keep) for layer in plan.layers}``.
    example : Tensor, optional
        One input, needed for bare modules.

    Returns
    -------
    MacReduction
        ``fraction`` and ``layer_only_fraction``.

    Raises
    ------
    CoppiceError
        If a layer is missing, or has more filters after pruning than before.

    Examples
    --------
    >>> import torch
    >>> from coppice.networks.dcase2021 import DCASE2021
    >>> net, pruned = DCASE2021(frames=500), DCASE2021(frames=500, widths=(16, 11, 32))
    >>> saved = mac_reduction(net, pruned, example=torch.zeros(1, 1, 40, 500))
    >>> round(100 * saved.layer_only_fraction, 2), round(100 * saved.fraction, 2)
    (27.35, 29.54)
    """
    network, example = as_network(before, example)
    macs = count_macs(network, example)
    filters = {name: _filters(module) for name, module in network.named_modules() if name in macs.by_layer}
    if isinstance(after, Mapping):
        kept, macs_after = dict(after), None
    else:
        pruned, _ = as_network(after, example)
        there = dict(pruned.named_modules())
        kept = {name: _filters(there[name]) for name in filters if name in there}
        if lost := filters.keys() - kept.keys():
            raise CoppiceError(
                f"the pruned network has no layer {min(lost)!r}; compare a network with what pruning made of it."
            )
        macs_after = count_macs(pruned, example).total
    missing = {}
    for name, count in kept.items():
        if name not in filters:
            raise CoppiceError(f"there is no layer {name!r} with MACs. {did_you_mean(name, filters)}")
        had = filters[name]
        if not 0 <= count <= had:
            raise CoppiceError(
                f"{name!r} has {had} filters before pruning and {count} after; give the unpruned network first."
            )
        if count < had:
            missing[name] = macs.by_layer[name] * (had - count) // had
    return MacReduction(macs_before=macs.total, macs_after=macs_after, missing_by_layer=missing)


def _filters(module: nn.Module) -> int:
    return int(getattr(module, "out_channels", getattr(module, "out_features", 0)))

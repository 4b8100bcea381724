"""A schedule: the way to a pruning target in many small steps. Data, and the steps it means for a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.classifier import Classifier
from coppice.pruning.planning import plan
from coppice.pruning.requests import kept_count

SHAPES = ("linear", "geometric", "cubic")


@dataclass(frozen=True)
class Schedule:
    """Cut a little, fine-tune, cut a little more: how much is gone after each step.

    Progressive pruning of this kind was part of the best system of DCASE 2024 Task 1 (arXiv 2410.20775). All ratios
    are of the filters that the network has *before the first step*, and the last step meets the target exactly: the
    network ends with as many filters as one cut by ``plan(net, criterion, ratios=...)`` would leave.

    Attributes
    ----------
    ratios : float or mapping of str to float
        Share of filters to remove in the end, between 0 and 1: one for all layers, or by layer name.
    steps : int >= 1
        How many cuts.
    shape : {"linear", "geometric", "cubic"}
        ``linear``: every step removes equally many filters. ``geometric``: every step removes the same share of what
        is left. ``cubic``: much at first, less and less towards the end; r (1 − (1 − k / n)³) is gone after step k of
        n (Zhu and Gupta, "To prune, or not to prune", 2017, equation 1).
    layers : tuple of str, optional
        Which layers one ratio is for; all convolutions that can be cut if not given.

    Raises
    ------
    CoppiceError
        If a ratio or the number of steps is out of range, or the shape is not known.

    Examples
    --------
    >>> [round(share, 3) for share in Schedule(0.5, steps=4).removed(0.5)]
    [0.125, 0.25, 0.375, 0.5]
    >>> [round(share, 3) for share in Schedule(0.5, steps=4, shape="cubic").removed(0.5)]
    [0.289, 0.438, 0.492, 0.5]
    """

    ratios: float | Mapping[str, float]
    steps: int
    shape: str = "linear"
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise CoppiceError(f"there is no shape {self.shape!r} of a schedule. {did_you_mean(self.shape, SHAPES)}")
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 1:
            raise CoppiceError(f"steps is {self.steps!r}; give a whole number from 1, such as 5.")
        if isinstance(self.ratios, Mapping):
            if not self.ratios:
                raise CoppiceError('ratios names no layer; give for example {"conv2": 0.5}, or one number for all.')
            if self.layers is not None:
                raise CoppiceError("ratios name their layers themselves; leave out layers, or give one ratio for all.")
        for name, ratio in self._named().items():
            kept_count(1, ratio, name=name)  # refuses what is no ratio

    def removed(self, ratio: float) -> tuple[float, ...]:
        """Return which share of the filters is gone after each step, in total; the last is ``ratio`` itself.

        Parameters
        ----------
        ratio : float in (0, 1)
            The target.

        Examples
        --------
        >>> [round(share, 3) for share in Schedule(0.75, steps=2, shape="geometric").removed(0.75)]
        [0.5, 0.75]
        """
        n = self.steps
        shares = {
            "linear": [ratio * k / n for k in range(1, n)],
            "geometric": [1 - (1 - ratio) ** (k / n) for k in range(1, n)],
            "cubic": [ratio * (1 - (1 - k / n) ** 3) for k in range(1, n)],
        }
        return (*shares[self.shape], ratio)

    def targets(
        self, model: Classifier | nn.Module, *, example: Float[Tensor, "1 *shape"] | None = None
    ) -> tuple[dict[str, Any], ...]:
        """Return what to ask of ``plan`` at each step, for this network as it is before the first.

        Parameters
        ----------
        model : Classifier or nn.Module
            Not touched.
        example : Tensor, optional
            One input for a bare module, batch of 1.

        Returns
        -------
        tuple of dict
            Arguments of :func:`~coppice.pruning.planning.plan`: ``keep``, with the layers that get smaller in that
            step. Of coupled layers only the one that decides is named.

        Raises
        ------
        CoppiceError
            If a layer does not exist or cannot be cut, or a step would remove no filter at all.

        Examples
        --------
        >>> import torch
        >>> from coppice.pruning.surgery import prune
        >>> net = nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 3))
        >>> example = torch.zeros(1, 1, 16)
        >>> for target in Schedule(0.5, steps=2).targets(net, example=example):
        ...     net = prune(net, plan(net, "l1", **target, example=example), example=example)  # and fine-tune
        ...     print(target, net[0].out_channels)
        {'keep': {'0': 6}} 6
        {'keep': {'0': 4}} 4
        """
        # One shot to the target says which layers decide, and refuses what cannot be; the criterion plays no part.
        layers = None if self.layers is None else list(self.layers)
        at_once = plan(model, "l1", ratios=self.ratios, layers=layers, example=example)
        filters = {layer.name: layer.filters for layer in at_once.layers}
        targets = self._keeps(filters)
        empty = next((number for number, keep in enumerate(targets, start=1) if not keep), None)
        if empty is not None:
            fewer = (Schedule(self.ratios, n, self.shape, self.layers) for n in range(self.steps - 1, 0, -1))
            most = next((s.steps for s in fewer if all(s._keeps(filters))), 0)
            advice = f"give at most {most}" if most else "the ratio is too small for a single filter"
            raise CoppiceError(
                f"step {empty} of {self.steps} of the {self.shape} schedule would remove no filter at all; {advice}."
            )
        return tuple({"keep": keep} for keep in targets)

    def _named(self) -> dict[str, float]:
        return dict(self.ratios) if isinstance(self.ratios, Mapping) else {"all layers": self.ratios}

    def _keeps(self, filters: Mapping[str, int]) -> list[dict[str, int]]:
        """Return for each step the layers that get smaller in it, with how many of their filters stay."""
        left = dict(filters)
        keeps: list[dict[str, int]] = [{} for _ in range(self.steps)]
        for name in filters:
            ratio = self.ratios[name] if isinstance(self.ratios, Mapping) else self.ratios
            for keep, share in zip(keeps, self.removed(ratio), strict=True):
                count = kept_count(filters[name], share, name=name)
                if count < left[name]:
                    keep[name] = left[name] = count
        return keeps

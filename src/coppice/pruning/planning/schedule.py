"""A schedule: the way to a pruning target in many small steps. Data, and the steps it means for a network."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.planning.budget import Budget
from coppice.pruning.planning.costs import trace_costs
from coppice.pruning.planning.decide import plan
from coppice.pruning.planning.requests import kept_count

SHAPES = ("linear", "geometric", "cubic")


@dataclass(frozen=True)
class Schedule:
    """Cut a little, fine-tune, cut a little more: how much is gone after each step.

    Progressive pruning of this kind was part of the best system of DCASE 2024 Task 1 (arXiv 2410.20775). Ratios and
    shares are of the network *before the first step*, and the last step meets the target exactly: with ``ratios`` the
    network ends with as many filters in each layer as ``plan(net, criterion, ratios=...)`` leaves at once, with
    ``budget`` inside the bounds.

    Attributes
    ----------
    ratios : float or mapping of str to float, optional
        Share of filters to remove in the end, between 0 and 1: one for all layers, or by layer name.
    steps : int >= 1
        How many cuts.
    shape : {"linear", "geometric", "cubic"}
        ``linear``: every step removes equally much. ``geometric``: every step removes the same share of what is left.
        ``cubic``: much at first, less and less towards the end; r (1 − (1 − k / n)³) is gone after step k of n (Zhu
        and Gupta, "To prune, or not to prune", 2017, equation 1).
    layers : tuple of str, optional
        Which layers one ratio is for; all convolutions that can be cut if not given.
    budget : Budget, optional
        Bounds to reach, in place of ratios. Params, MACs and bytes come down to them step by step; a bound on the
        latency is for the last step alone.

    Raises
    ------
    CoppiceError
        If a ratio or the number of steps is out of range, the shape is not known, or there is not one target.

    Examples
    --------
    >>> [round(share, 3) for share in Schedule(0.5, steps=4).removed(0.5)]
    [0.125, 0.25, 0.375, 0.5]
    >>> [round(share, 3) for share in Schedule(0.5, steps=4, shape="cubic").removed(0.5)]
    [0.289, 0.438, 0.492, 0.5]
    """

    ratios: float | Mapping[str, float] | None = None
    _: KW_ONLY
    steps: int
    shape: str = "linear"
    layers: tuple[str, ...] | None = None
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise CoppiceError(f"there is no shape {self.shape!r} of a schedule. {did_you_mean(self.shape, SHAPES)}")
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 1:
            raise CoppiceError(f"steps is {self.steps!r}; give a whole number from 1, such as 5.")
        if (self.ratios is None) == (self.budget is None):
            raise CoppiceError("a schedule has one target: give ratios, such as 0.5, or a budget.")
        if self.budget is not None:
            if not isinstance(self.budget, Budget):
                raise CoppiceError(f'budget is {self.budget!r}; give a Budget, such as Budget(macs="50%").')
            if set(self.budget.bounds) == {"latency_ms"}:
                raise CoppiceError("a schedule comes down in params, macs or bytes; give a bound on one of them, too.")
            if str(self.budget.latency_ms).rstrip().endswith("%"):
                raise CoppiceError(f"latency_ms is {self.budget.latency_ms!r}; give it in ms, for the last step.")
            return
        if isinstance(self.ratios, Mapping):
            if not self.ratios:
                raise CoppiceError('ratios names no layer; give for example {"conv2": 0.5}, or one number for all.')
            if self.layers is not None:
                raise CoppiceError("ratios name their layers themselves; leave out layers, or give one ratio for all.")
        named = self.ratios if isinstance(self.ratios, Mapping) else {"all layers": self.ratios}
        for name, ratio in named.items():
            kept_count(1, ratio, name=name)  # type: ignore[arg-type]  # refuses what is no ratio

    def removed(self, share: float) -> tuple[float, ...]:
        """Return which share is gone after each step, in total; the last is ``share`` itself.

        Parameters
        ----------
        share : float in (0, 1)
            What is to go in the end.

        Examples
        --------
        >>> [round(gone, 3) for gone in Schedule(0.75, steps=2, shape="geometric").removed(0.75)]
        [0.5, 0.75]
        """
        n = self.steps
        shares = {
            "linear": [share * k / n for k in range(1, n)],
            "geometric": [1 - (1 - share) ** (k / n) for k in range(1, n)],
            "cubic": [share * (1 - (1 - k / n) ** 3) for k in range(1, n)],
        }
        return (*shares[self.shape], share)

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
            Arguments of :func:`~coppice.pruning.planning.decide.plan`: ``keep``, with the layers that get smaller in
            that step (of coupled ones only the one that decides), or ``budget``, in numbers.

        Raises
        ------
        CoppiceError
            If a layer does not exist or cannot be cut, a step would remove no filter at all, or a budget is refused.

        Examples
        --------
        >>> import torch
        >>> from coppice.pruning.surgery.prune import prune
        >>> net = nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 3))
        >>> example = torch.zeros(1, 1, 16)
        >>> for target in Schedule(0.5, steps=2).targets(net, example=example):
        ...     net = prune(net, plan(net, "l1", **target, example=example), example=example)  # and fine-tune
        ...     print(target, net[0].out_channels)
        {'keep': {'0': 6}} 6
        {'keep': {'0': 4}} 4
        """
        if self.budget is not None:
            return tuple({"budget": budget} for budget in self._budgets(*as_network(model, example)))
        # One shot to the target says which layers decide, and refuses what cannot be; the criterion plays no part.
        at_once = plan(model, "l1", ratios=self.ratios, layers=self.layers, example=example)
        filters = {layer.name: layer.filters for layer in at_once.layers}
        targets = self._keeps(filters)
        empty = next((number for number, keep in enumerate(targets, start=1) if not keep), None)
        if empty is not None:
            fewer = (Schedule(self.ratios, steps=n, shape=self.shape) for n in range(self.steps - 1, 0, -1))
            most = next((s.steps for s in fewer if all(s._keeps(filters))), 0)
            advice = f"give at most {most}" if most else "the ratio is too small for a single filter"
            raise CoppiceError(
                f"step {empty} of {self.steps} of the {self.shape} schedule would remove no filter at all; {advice}."
            )
        return tuple({"keep": keep} for keep in targets)

    def _keeps(self, filters: Mapping[str, int]) -> list[dict[str, int]]:
        """Return for each step the layers that get smaller in it, with how many of their filters stay."""
        left = dict(filters)
        keeps: list[dict[str, int]] = [{} for _ in range(self.steps)]
        for name in filters:
            ratio = self.ratios[name] if isinstance(self.ratios, Mapping) else self.ratios
            assert ratio is not None
            for keep, share in zip(keeps, self.removed(ratio), strict=True):
                count = kept_count(filters[name], share, name=name)
                if count < left[name]:
                    keep[name] = left[name] = count
        return keeps

    def _budgets(self, network: nn.Module, example: Float[Tensor, "1 *shape"]) -> list[Budget]:
        """Return the bounds of each step as numbers, so that shares stay those of the network before the first."""
        assert self.budget is not None
        before = trace_costs(network, example).counts()
        counts = {"params": before.params, "macs": before.macs, "numbers": before.numbers}
        whole = Budget(params="100%", macs="100%", bytes="100%", stored_as=self.budget.stored_as).limits(**counts)
        paths = {}
        for name, limit in self.budget.limits(**counts).items():
            gone = self.removed(1 - limit / whole[name]) if limit < whole[name] else [0.0] * self.steps
            paths[name] = [max(limit, math.floor((1 - share) * whole[name])) for share in gone]
            paths[name][-1] = limit
        steps: list[dict[str, Any]] = [{name: path[k] for name, path in paths.items()} for k in range(self.steps)]
        if self.budget.latency_ms is not None:
            steps[-1] |= {"latency_ms": self.budget.latency_ms, "runtime": self.budget.runtime}
        return [Budget(**bounds, stored_as=self.budget.stored_as) for bounds in steps]

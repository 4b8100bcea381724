"""What a search may try: how many filters each layer loses, by which criterion, in which number format."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from coppice.core.errors import CoppiceError
from coppice.criteria.ranking import Ranking
from coppice.datasets.prepare import Prepared
from coppice.networks.classifier import as_network
from coppice.pruning.planning.costs import Counts, trace_costs
from coppice.pruning.planning.layerwise import kept_filters
from coppice.pruning.planning.requests import DUST, wanted_counts
from coppice.pruning.tracing.channels import Channels
from coppice.recipes.material import untrained
from coppice.recipes.recipe import Recipe, check_recipe
from coppice.recipes.step import Prune
from coppice.recipes.steps import do_step, plain_steps
from coppice.studies.axes import SYSTEM, label, recipe_at
from coppice.studies.grid import Point
from coppice.studies.search_section import Search, quantize_of
from coppice.studies.study_file import Study

Choice = Mapping[str, Any]  # "removed.LAYER" → filters; "criterion" and "precision" where they are searched

_BYTES = {None: 4, "float16": 2}  # of a number, by what a recipe calls quantize
CRITERION, PRECISION, REMOVED, RATIO = "criterion", "precision", "removed.", "ratio."


@dataclass(frozen=True)
class Layer:
    """A layer with the least and the most of its filters that may go."""

    name: str
    filters: int
    least: int
    most: int


class SearchSpace:
    """All points that a search may try.

    A layer loses whole filters, so each has finitely many values, and no network stands in the space under two names.

    Parameters
    ----------
    study : Study
        With a section ``search``.
    data : Prepared
        Its clips.

    Attributes
    ----------
    layers : tuple of Layer
    options : dict
        ``criterion`` and ``precision``, as far as they are searched → their values.

    Raises
    ------
    CoppiceError
        If the steps have not exactly one cut, or a layer or a range does not fit the network.
    """

    def __init__(self, study: Study, data: Prepared) -> None:
        self.study, self.data, self.search = study, data, study.search
        _check_steps(study)
        self._start = untrained(study.recipe, data)
        self._network, example = as_network(self._start, None)
        self._costs = trace_costs(self._network, example)
        self._channels = self._costs.channels
        self.layers = _layers(self._network, self._channels, self.search, study.what)
        self.options: dict[str, list[str]] = {}
        for name in (CRITERION, PRECISION):
            if getattr(self.search, name):
                self.options[name] = list(getattr(self.search, name))
        self._is_plain = not any("dense" in step for step in study.system)
        self._known: dict[tuple[int, ...], Counts] = {}

    @property
    def axes(self) -> tuple[str, ...]:
        """What a point is told by, in order."""
        first, last = ([name] if name in self.options else [] for name in (CRITERION, PRECISION))
        return (*first, *(RATIO + layer.name for layer in self.layers), *last)

    def draw(self, rng: random.Random) -> dict[str, Any]:
        """Draw a point, each as likely as any other."""
        choice: dict[str, Any] = {name: rng.choice(values) for name, values in self.options.items()}
        return choice | {REMOVED + layer.name: rng.randint(layer.least, layer.most) for layer in self.layers}

    def towards_smallest(self, choice: Choice, share: float) -> dict[str, Any]:
        """Return a point that has gone a share of the way to the most that may go in every layer."""
        removed = {}
        for layer in self.layers:
            now = choice[REMOVED + layer.name]
            removed[REMOVED + layer.name] = now + math.ceil(share * (layer.most - now) - DUST)
        return {**choice, **removed}

    def smallest(self) -> list[dict[str, Any]]:
        """Return the points in which every layer loses the most, one for each precision."""
        most = {REMOVED + layer.name: layer.most for layer in self.layers}
        first = {name: values[0] for name, values in self.options.items()}
        precisions = self.options.get(PRECISION, [])
        return [{**first, **most, PRECISION: one} for one in precisions] or [{**first, **most}]

    def costs(self, choice: Choice) -> dict[str, int]:
        """Return what the network of a point costs; nothing is trained.

        ``size_bytes`` is missing where only the written file tells.
        """
        shape = tuple(choice[REMOVED + layer.name] for layer in self.layers)
        if shape not in self._known:
            self._known[shape] = self._counted(choice) if self._is_plain else self._cut(choice)
        counts = self._known[shape]
        quantize = quantize_of(choice[PRECISION]) if PRECISION in choice else self.study.recipe.quantize
        size = {"size_bytes": _BYTES[quantize] * counts.numbers} if quantize in _BYTES else {}
        return {"macs": counts.macs, "params_total": counts.params, **size}

    def whole_costs(self) -> dict[str, int]:
        """Return what the unpruned network costs in float32."""
        counts = self._costs.counts()
        return {"macs": counts.macs, "params_total": counts.params, "size_bytes": _BYTES[None] * counts.numbers}

    def fits(self, choice: Choice) -> bool:
        """Tell whether a point is within the budget."""
        costs = self.costs(choice)
        return all(costs[name] <= most for name, most in self.search.budget.items())

    def labels(self, choice: Choice) -> dict[str, str]:
        """Return the short text of each value."""
        ratios = {RATIO + layer.name: label(choice[REMOVED + layer.name] / layer.filters) for layer in self.layers}
        said = {**{name: str(choice[name]) for name in self.options}, **ratios}
        return {axis: said[axis] for axis in self.axes}

    def point(self, choice: Choice) -> Point:
        """Return a point with its recipe.

        Raises
        ------
        CoppiceError
            If it makes no recipe.
        """
        labels = self.labels(choice)
        name = " ".join(f"{axis}={short}" for axis, short in labels.items())
        what = f"{self.study.what}, point {name}"
        values: dict[str, Any] = {"keep": self._keep(choice), "layers": None}
        if CRITERION in choice:
            values[CRITERION] = choice[CRITERION]
        if PRECISION in choice:
            values[PRECISION] = quantize_of(choice[PRECISION])
        recipe = recipe_at(self.study.base, self.study.system, values, what)
        recipe |= {"name": self.study.file.name, "title": f"{self.study.title}: {name}", "folds": "one", "seeds": [0]}
        return Point(name, labels, check_recipe(recipe, what))

    def choice_of(self, recipe: Recipe) -> dict[str, Any] | None:
        """Return the point of this space that a recipe's one system is, however it says so; None if it is none."""
        cuts = [step.prune or step.iterative for step in recipe.systems[SYSTEM] if step.prune or step.iterative]
        removed = self._removed(cuts[0]) if len(cuts) == 1 and cuts[0] is not None else None
        if removed is None or any(not layer.least <= removed[layer.name] <= layer.most for layer in self.layers):
            return None
        choice: dict[str, Any] = {REMOVED + name: count for name, count in removed.items()}
        if CRITERION in self.options:
            choice[CRITERION] = cuts[0].criterion  # type: ignore[union-attr]
        if PRECISION in self.options:
            choice[PRECISION] = recipe.quantize or "float32"
        known = all(choice[name] in values for name, values in self.options.items())
        return choice if known and _but_for_the_cut(self.point(choice).recipe) == _but_for_the_cut(recipe) else None

    def _removed(self, cut: Prune) -> dict[str, int] | None:
        """Return how many filters a step removes of each layer of the space; None where that is not said by layer."""
        if cut.budget is not None or cut.scope == "network" or cut.round_to > 1 or cut.minimum > 1 or cut.protect:
            return None
        said: dict[str, Any] = {"keep": cut.keep, "ratios": cut.ratios, "layers": cut.layers, "rounding": cut.rounding}
        counts = wanted_counts(self._network, self._channels, **said)
        removed = dict.fromkeys((layer.name for layer in self.layers), 0)
        for name, count in counts.items():
            gone = None if count is None else len(self._channels.units(name)) - count
            if gone is None or (gone and name not in removed):
                return None
            removed |= {name: gone} if name in removed else {}
        return removed

    def _counted(self, choice: Choice) -> Counts:
        """Count by the closed form: which filters stay does not change what a network costs."""
        doomed: set[int] = set()
        for layer in self.layers:
            units = self._channels.units(layer.name)
            order = Ranking("index", tuple(range(layer.filters)), tuple(map(float, range(layer.filters))))
            kept = kept_filters(order, units, layer.filters - choice[REMOVED + layer.name])
            doomed |= self._channels.doomed(layer.name, kept)
        return self._costs.counts(doomed)

    def _cut(self, choice: Choice) -> Counts:
        """Count a network that is cut anyhow, where other steps change its shape, too."""
        values = {"keep": self._keep(choice), "layers": None, CRITERION: "l1", "compensate": None}
        recipe = check_recipe(recipe_at(self.study.base, self.study.system, values, self.study.what), self.study.what)
        classifier = self._start
        for number, step in enumerate(recipe.systems[SYSTEM], start=1):
            for plain in plain_steps(step, number, lambda: self._start):
                if plain.step.finetune is None:
                    classifier, _ = do_step(classifier, plain.step, seed=0, data=self.data)
        return trace_costs(*as_network(classifier, None)).counts()

    def _keep(self, choice: Choice) -> dict[str, int]:
        return {layer.name: layer.filters - choice[REMOVED + layer.name] for layer in self.layers}


def _check_steps(study: Study) -> None:
    cuts = [kind for step in study.system for kind in step if kind in ("prune", "iterative", "progressive")]
    if len(cuts) != 1 or cuts == ["progressive"]:
        found = "none" if not cuts else " and ".join(cuts)
        raise CoppiceError(
            f"{study.what}: a search chooses how many filters one step removes, a prune or an iterative one; its "
            f"system has {found}."
        )


def _layers(network: nn.Module, channels: Channels, search: Search, what: str) -> tuple[Layer, ...]:
    try:
        wanted_counts(network, channels, keep=None, ratios=dict.fromkeys(search.ratios, 0.5), layers=None)
    except CoppiceError as error:
        raise CoppiceError(f"{what}: search.ratios: {error}") from error
    _check_coupled(channels, list(search.ratios), what)
    made = []
    for name, (least, most) in search.ratios.items():
        filters = len(channels.units(name))
        layer = Layer(name, filters, math.ceil(least * filters - DUST), math.floor(most * filters + DUST))
        if layer.least > layer.most:
            raise CoppiceError(
                f"{what}: search.ratios: of the {filters} filters of {name!r} no whole number is between {least:g} and "
                f"{most:g}; the nearest ratios are {layer.most / filters:g} and {layer.least / filters:g}."
            )
        made.append(layer)
    return tuple(made)


def _check_coupled(channels: Channels, names: list[str], what: str) -> None:
    for place, name in enumerate(names):
        other = next((other for other in names[:place] if other in channels.coupled_layers(name)), None)
        if other is not None:
            raise CoppiceError(
                f"{what}: search.ratios: {name!r} and {other!r} are coupled and lose the same filters; give one."
            )


def _but_for_the_cut(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says, but for its names, where its clips lie, and how much its one cut removes."""
    said: dict[str, Any] = recipe.model_dump(mode="json", exclude={"name", "title", "headline"})
    said["data"].pop("root")
    for step in said["systems"][SYSTEM]:
        for kind in ("prune", "iterative"):
            for key in ("keep", "ratios", "layers", "rounding"):
                (step[kind] or {}).pop(key, None)
    return said

"""Which point a search tries next: Optuna's TPE, seeded by the number of the draw, inside the budget alone."""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from coppice.core.errors import CoppiceError
from coppice.studies.search_space import REMOVED, Choice, SearchSpace

STARTUP = 10  # points drawn at random before TPE has enough to go by
_ASKED, _DRAWN = 20, 400  # how often TPE is asked for a point that is new and fits, and then chance


class NothingNewError(CoppiceError):
    """No point was found that fits the budget and was not tried."""


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return a space as Optuna has it."""
    made: dict[str, BaseDistribution] = {name: CategoricalDistribution(one) for name, one in space.options.items()}
    return made | {REMOVED + layer.name: IntDistribution(layer.least, layer.most) for layer in space.layers}


def choice_key(choice: Choice) -> str:
    """Return a text that equal points share."""
    return json.dumps(dict(choice), sort_keys=True)


class BudgetSampler(BaseSampler):
    """TPE within a budget, without repetition, and the same after an interruption.

    TPE proposes; what is beyond the budget or was tried before is refused and proposed anew, so that neither ever
    becomes a trial. Where TPE finds nothing, a point is drawn at random and, if it is too large, cut evenly until it
    fits. Each draw has its own seed, made of its number and not of what a generator went through: a search that was
    interrupted goes on as if it had not been.

    Parameters
    ----------
    space : SearchSpace
        With the budget.
    taken : callable
        Takes a study and returns the points that have been or are being tried.
    draw : callable
        Takes a study and a trial and returns the number of its draw.
    salt : int
        0 for the process that began the search; another number for each that joined, so that they differ.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        taken: Callable[[Study], Iterable[Choice]],
        draw: Callable[[Study, FrozenTrial], int],
        salt: int,
    ) -> None:
        self.space, self.taken, self.draw, self.salt = space, taken, draw, salt
        self.refused = 0

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return all that varies."""
        return {name: one for name, one in distributions(self.space).items() if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a new point that fits, without what cannot vary.

        Raises
        ------
        NothingNewError
            If there seems to be none.
        """
        taken = {choice_key(choice) for choice in self.taken(study)}
        number = self.draw(study, trial)
        fixed = self._single()

        def good(choice: Choice) -> bool:
            return choice_key(choice) not in taken and self.space.fits(choice)

        for attempt in range(_ASKED if self._ready(study) and search_space else 0):
            proposed = {**fixed, **self._tpe(number, attempt).sample_relative(study, trial, search_space)}
            if good(proposed):
                return proposed
            self.refused += 1
        rng = random.Random(_seed(number, self.salt, _ASKED))
        for _ in range(_DRAWN):
            drawn = self._cut_to_fit(self.space.draw(rng))
            if drawn is not None and good(drawn):
                return drawn
        raise NothingNewError("no point is left that fits the budget and has not been tried.")

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value that a point lacks; there is none, as all are drawn together."""
        raise AssertionError(f"{param_name} is not in the space")

    def _single(self) -> dict[str, Any]:
        """Return what cannot vary."""
        values = {name: one[0] for name, one in self.space.options.items() if len(one) == 1}
        return values | {REMOVED + one.name: one.least for one in self.space.layers if one.least == one.most}

    def _ready(self, study: Study) -> bool:
        return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) >= STARTUP

    def _tpe(self, number: int, attempt: int) -> TPESampler:
        # Layers trade filters against each other, which only the multivariate one sees.
        seed = _seed(number, self.salt, attempt)
        return TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=False)

    def _cut_to_fit(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        """Cut all layers evenly, as little as the budget needs; None if no cut is enough in this precision."""
        if self.space.fits(choice):
            return choice
        self.refused += 1
        if not self.space.fits(self.space.towards_smallest(choice, 1.0)):
            return None
        low, high = 0, 64  # in 64ths of the way
        while high - low > 1:
            middle = (low + high) // 2
            fits = self.space.fits(self.space.towards_smallest(choice, middle / 64))
            low, high = (low, middle) if fits else (middle, high)
        return self.space.towards_smallest(choice, high / 64)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])

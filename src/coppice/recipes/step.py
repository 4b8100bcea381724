"""One step of a system, as validated plain data: what a recipe may say of pruning and fitting."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from coppice.core.errors import CoppiceError
from coppice.pruning.planning.budget import Budget
from coppice.recipes.fitting import Finetune, Part


class Prune(Part):
    """Which filters go, as :func:`coppice.pruning.planning.decide.plan` takes it; and what repairs the cut."""

    criterion: str
    keep: dict[str, int] | None = None
    ratios: dict[str, float] | float | None = None
    budget: dict[str, int | float | str] | None = None
    layers: list[str] | None = None
    protect: list[str] = []  # noqa: RUF012 - pydantic copies it
    scope: Literal["layer", "network"] | None = None
    normalisation: Literal["mean", "l2"] = "mean"
    rounding: Literal["ceil", "floor"] = "ceil"
    round_to: Annotated[int, Field(ge=1)] = 1
    minimum: Annotated[int, Field(ge=1)] = 1
    compensate: Literal["merge", "least_squares"] | None = None

    @field_validator("budget", mode="after")
    @classmethod
    def _can_be_read(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                Budget.from_mapping(value)
            except CoppiceError as error:
                raise ValueError(str(error)) from error
        return value


class Iterative(Prune):
    """Layer by layer: the filters of one go, the network is fine-tuned, then the next, in the order written."""

    finetune: Finetune = Finetune()

    @model_validator(mode="after")
    def _names_its_layers(self) -> "Iterative":
        if self.budget is not None or self.scope == "network":
            raise ValueError("iterative cuts one layer after the other; leave out budget and scope: network")
        named = [*(self.keep or {}), *(self.ratios if isinstance(self.ratios, dict) else {}), *(self.layers or [])]
        if not named:
            raise ValueError("iterative goes layer by layer; name them, such as ratios: {conv2: 0.5, conv3: 0.5}")
        if len(set(named)) < len(named):
            raise ValueError(f"iterative names {max(named, key=named.count)!r} twice; give each layer once")
        if isinstance(self.ratios, float) and self.layers is None:
            raise ValueError("iterative with one ratio for all needs layers: a list of names")
        return self

    def prunes(self) -> list[Prune]:
        """Return one prune step for each layer.

        Examples
        --------
        >>> [prune.ratios for prune in Iterative(criterion="l1", ratios={"conv2": 0.5, "conv3": 0.25}).prunes()]
        [{'conv2': 0.5}, {'conv3': 0.25}]
        """
        ratios = self.ratios if isinstance(self.ratios, dict) else {name: self.ratios for name in self.layers or ()}
        parts: list[dict[str, Any]] = [{"keep": {name: count}} for name, count in (self.keep or {}).items()]
        parts += [{"layers": [name]} if ratio is None else {"ratios": {name: ratio}} for name, ratio in ratios.items()]
        return [prune_like(self, **part) for part in parts]


class Progressive(Prune):
    """Many small steps to a target; it is of the network before the first, and the last step meets it."""

    steps: Annotated[int, Field(ge=2, le=100)]
    shape: Literal["linear", "geometric", "cubic"] = "linear"
    finetune: Finetune = Finetune()

    @model_validator(mode="after")
    def _has_one_target(self) -> "Progressive":
        if self.keep is not None or (self.ratios is None) == (self.budget is None):
            raise ValueError("progressive has one target: give ratios, such as 0.5, or a budget, such as {macs: 50%}")
        if self.ratios is not None:
            for name in ("protect", "scope", "normalisation", "rounding", "round_to", "minimum"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"progressive takes {name} with a budget only; leave it out, or give a budget")
        return self


def prune_like(said: Prune, **target: Any) -> Prune:
    """Return a plain prune step with the options of a longer one, and a target of its own."""
    whole = {"keep", "ratios", "budget", "layers"}
    return Prune.model_validate(
        {name: getattr(said, name) for name in Prune.model_fields if name not in whole} | target
    )


class Dense(Part):
    """Dense layers to shrink to so many units, newly initialised."""

    units: dict[str, int]


class Reset(Part):
    """New initial weights in the shapes that the network has."""


class Step(Part):
    """One step of a system: exactly one verb."""

    prune: Prune | None = None
    dense: Dense | None = None
    finetune: Finetune | None = None
    iterative: Iterative | None = None
    progressive: Progressive | None = None
    reset: Reset | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        # `- finetune:` without anything behind it means all defaults.
        if isinstance(value, str):
            value = {value: None}
        if isinstance(value, dict):
            unset = [name for name in ("finetune", "reset") if name in value and value[name] is None]
            value = {**value, **{name: {} for name in unset}}
        return value

    @model_validator(mode="after")
    def _one_verb(self) -> "Step":
        if sum(getattr(self, kind) is not None for kind in type(self).model_fields) != 1:
            raise ValueError("a step is exactly one of prune, dense, finetune, iterative, progressive and reset")
        return self

    @property
    def fit(self) -> Finetune | None:
        """The fine-tuning that the step is, or that it has after each of its cuts.

        Examples
        --------
        >>> Step(prune=Prune(criterion="l1", ratios=0.5)).fit is None
        True
        """
        longer = self.iterative or self.progressive
        return self.finetune if longer is None else longer.finetune

    def identity(self) -> dict[str, Any]:
        """Return what the digest of a plain step's stage is taken of.

        Examples
        --------
        >>> Step(dense=Dense(units={"dense1": 32})).identity()
        {'prune': None, 'dense': {'units': {'dense1': 32}}, 'finetune': None}
        """
        said = self.model_dump(include={"prune", "dense"})
        return {**said, "finetune": None if self.finetune is None else self.finetune.identity()}

    @property
    def kind(self) -> str:
        """The verb of this step."""
        return next(kind for kind in type(self).model_fields if getattr(self, kind) is not None)

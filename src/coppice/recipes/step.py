"""One step of a system, as validated plain data: what a recipe may say of pruning and fitting."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Part(BaseModel):
    """Base of everything in a recipe: frozen, and unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Fit(Part):
    """How a network is fitted."""

    epochs: Annotated[int, Field(ge=1)] = 200
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0, lt=10)] = 1e-3
    patience: Annotated[int, Field(ge=1)] = 30
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0


class Finetune(Fit):
    """How a pruned network is fitted."""

    patience: Annotated[int, Field(ge=1)] = 20
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0


class Prune(Part):
    """Which filters go, by the method's own set, counts to keep or ratios to remove; and what repairs the cut."""

    criterion: str
    keep: dict[str, int] | None = None
    ratios: dict[str, float] | float | None = None
    layers: list[str] | None = None
    compensate: Literal["merge", "least_squares"] | None = None


class Iterative(Part):
    """Layer by layer: the filters of one go, the network is fine-tuned, then the next, in the order written."""

    criterion: str
    keep: dict[str, int] | None = None
    ratios: dict[str, float] | float | None = None
    layers: list[str] | None = None
    finetune: Finetune = Finetune()

    @model_validator(mode="after")
    def _names_its_layers(self) -> "Iterative":
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
        prunes = [Prune(criterion=self.criterion, keep={name: count}) for name, count in (self.keep or {}).items()]
        ratios = self.ratios if isinstance(self.ratios, dict) else {name: self.ratios for name in self.layers or ()}
        for name, ratio in ratios.items():
            how = {"layers": [name]} if ratio is None else {"ratios": {name: ratio}}
            prunes.append(Prune.model_validate({"criterion": self.criterion, **how}))
        return prunes


class Progressive(Part):
    """Many small steps to a target; ratios are of the filters before the first, and the last step meets them."""

    criterion: str
    ratios: dict[str, float] | float
    layers: list[str] | None = None
    steps: Annotated[int, Field(ge=2, le=100)]
    shape: Literal["linear", "geometric", "cubic"] = "linear"
    finetune: Finetune = Finetune()


class Dense(Part):
    """Dense layers to shrink to so many units, newly initialised."""

    units: dict[str, int]


class Step(Part):
    """One step of a system: exactly one verb."""

    prune: Prune | None = None
    dense: Dense | None = None
    finetune: Finetune | None = None
    iterative: Iterative | None = None
    progressive: Progressive | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        # `- finetune:` without anything behind it means all defaults.
        if isinstance(value, str):
            value = {value: None}
        if isinstance(value, dict) and "finetune" in value and value["finetune"] is None:
            value = {**value, "finetune": {}}
        return value

    @model_validator(mode="after")
    def _one_verb(self) -> "Step":
        if sum(getattr(self, kind) is not None for kind in type(self).model_fields) != 1:
            raise ValueError("a step is exactly one of prune, dense, finetune, iterative and progressive")
        return self

    @property
    def kind(self) -> str:
        """The verb of this step."""
        return next(kind for kind in type(self).model_fields if getattr(self, kind) is not None)

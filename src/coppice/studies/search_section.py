"""The section ``search`` of a study file: what may vary, what is wanted, and what it may cost."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from coppice.core.errors import did_you_mean
from coppice.recipes.fitting import Part

SCORES = {"log_loss": "log-loss", "accuracy": "accuracy"}  # of validation clips
COSTS = {"macs": "MACs", "params_total": "parameters", "size_bytes": "bytes"}
PRECISIONS = ("float32", "float16", "bfloat16", "dynamic_int8", "int8")
HIGHER = ("accuracy",)  # the others are the better the lower


class Search(Part):
    """What a search tries, and by what it judges.

    ``ratios`` gives each layer the least and the most that may go; ``criterion`` and ``precision`` are alternatives,
    and what is left out stays as the study has it. ``objectives`` are a score of the validation clips and a cost.
    """

    ratios: Annotated[dict[str, list[float]], Field(min_length=1)]
    criterion: list[str] = Field(default_factory=list)
    precision: list[str] = Field(default_factory=list)
    objectives: list[str]
    budget: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    trials: Annotated[int, Field(ge=1)] = 50

    @field_validator("ratios")
    @classmethod
    def _are_ranges(cls, value: dict[str, list[float]]) -> dict[str, list[float]]:
        for layer, ends in value.items():
            if len(ends) != 2:
                raise ValueError(f"{layer!r} has {ends}; give the least and the most, such as [0, 0.75]")
            least, most = ends
            if not 0 <= least < 1 or not 0 <= most < 1:
                raise ValueError(f"{layer!r} has [{least:g}, {most:g}]; give two numbers from 0 to below 1")
            if least > most:
                raise ValueError(f"{layer!r} has [{least:g}, {most:g}]; give the smaller number first")
        return value

    @field_validator("criterion", "precision", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("criterion", "precision")
    @classmethod
    def _once_each(cls, value: list[str]) -> list[str]:
        twice = next((one for one in value if value.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} stands there twice; give each value once")
        return value

    @field_validator("precision")
    @classmethod
    def _are_precisions(cls, value: list[str]) -> list[str]:
        for one in value:
            if one not in PRECISIONS:
                raise ValueError(f"there is no precision {one!r}. {did_you_mean(one, PRECISIONS)}")
        return value

    @field_validator("objectives")
    @classmethod
    def _a_score_and_a_cost(cls, value: list[str]) -> list[str]:
        for one in value:
            if one not in (*SCORES, *COSTS):
                raise ValueError(f"there is no objective {one!r}. {did_you_mean(one, (*SCORES, *COSTS))}")
        if len(value) != 2 or len(set(value) & set(SCORES)) != 1:
            raise ValueError("give a score and a cost, such as objectives: [log_loss, macs]")
        return value

    @field_validator("budget")
    @classmethod
    def _is_of_costs(cls, value: dict[str, int]) -> dict[str, int]:
        for one in value:
            if one not in COSTS:
                raise ValueError(f"there is no budget of {one!r}. {did_you_mean(one, COSTS)}")
        return value

    @model_validator(mode="after")
    def _bytes_are_known(self) -> "Search":
        unknown = [one for one in self.precision if one not in ("float32", "float16")]
        if "size_bytes" in self.budget and unknown:
            raise ValueError(
                f"how many bytes {unknown[0]} takes is known only when the file is written; leave it, or the budget of "
                "size_bytes, out"
            )
        return self

    @property
    def score(self) -> str:
        """The objective that is a score: ``log_loss`` or ``accuracy``."""
        return next(one for one in self.objectives if one in SCORES)

    @property
    def cost(self) -> str:
        """The objective that is a cost."""
        return next(one for one in self.objectives if one in COSTS)

    @property
    def higher(self) -> bool:
        """Whether a higher score is better."""
        return self.score in HIGHER


def quantize_of(precision: str) -> str | None:
    """Return what a recipe's ``quantize`` is for a precision.

    Examples
    --------
    >>> quantize_of("float16"), quantize_of("float32")
    ('float16', None)
    """
    return None if precision == "float32" else precision


def budget_text(search: Search) -> str:
    """Return a budget in words.

    Examples
    --------
    >>> budget_text(Search(ratios={"conv1": [0, 0.5]}, objectives=["accuracy", "macs"], budget={"macs": 9000}))
    'at most 9,000 MACs'
    """
    return " and ".join(f"at most {most:,} {COSTS[name]}" for name, most in search.budget.items())

"""A recipe: everything a run depends on, as validated plain data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.recipes.fitting import (
    AugmentChoice,
    DeviceIRChoice,
    Distil,
    Finetune,
    Fit,
    FreqMixStyleChoice,
    GainChoice,
    Part,
    SpecAugmentChoice,
    StopChoice,
    TimeRollChoice,
    Train,
)
from coppice.recipes.step import Dense, Iterative, Progressive, Prune, Step
from coppice.recipes.yaml_file import apply_change, read_mapping, sentence

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
AnyFit = TypeVar("AnyFit", bound=Fit)


class Synthetic(Part):
    """What the synthetic source makes."""

    clips_per_class: Annotated[int, Field(ge=1)] = 40
    duration_s: Annotated[float, Field(gt=0)] = 2.0
    seed: Annotated[int, Field(ge=0)] = 0


class Data(Part):
    """Where the clips come from."""

    source: str
    root: str | None = None
    columns: dict[str, str] | None = None
    bad_clips: Literal["refuse", "skip"] = "refuse"
    subset: Literal[5, 10, 25, 50, 100] | None = None
    synthetic: Synthetic | None = None


class SplitChoice(Part):
    """How clips are divided; what does not apply to the dataset stays unset."""

    strategy: Literal["auto", "folds", "official", "drawn"] = "auto"
    test_fold: int | None = None
    validation_fold: int | None = None
    test_fraction: Fraction = 0.2
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0


class FrontEndChoice(Part):
    """A preset and what differs from it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    preset: str = "dcase2021"
    duration_s: float = 5.0


class NetworkChoice(Part):
    """An architecture and its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "dcase2021"


class Recipe(Part):
    """A whole run.

    ``systems`` are alternatives that all start from the same trained network; each is a list of steps. ``folds: all``
    repeats the run with every fold as the test fold, and every seed in ``seeds``.
    """

    name: Name
    title: str = ""
    data: Data
    split: SplitChoice = SplitChoice()
    folds: Literal["one", "all"] = "one"
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, default_factory=lambda: [0])]
    front_end: FrontEndChoice = FrontEndChoice()
    network: NetworkChoice = NetworkChoice()
    training: Train = Train()
    systems: dict[Name, list[Step]] = Field(default_factory=dict)
    headline: str | None = None
    quantize: Literal["float16", "bfloat16", "dynamic_int8", "int8"] | None = "float16"
    loggers: list[Literal["tensorboard", "mlflow", "wandb"]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _headline_is_a_system(self) -> "Recipe":
        if self.headline is not None and self.headline not in self.systems:
            raise ValueError(f"headline {self.headline!r} is not one of the systems")
        for name, steps in self.systems.items():
            if not steps:
                raise ValueError(f"system {name!r} has no steps; give it some, or leave it out")
            if name in ("train", "unpruned", "data"):
                raise ValueError(f"a system cannot be called {name!r}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} holds a seed twice")
        return self

    @model_validator(mode="after")
    def _fits_choose_by_clips_that_are_there(self) -> "Recipe":
        if self.split.validation_fraction:
            return self
        fits: list[tuple[str, Fit]] = [("training", self.training)]
        fits += [(f"system {name!r}", step.fit) for name, steps in self.systems.items() for step in steps if step.fit]
        for what, fit in fits:
            try:
                fit.settings(seed=0).check_validation(0)
            except CoppiceError as error:
                raise ValueError(f"{what}: {error}") from error
        return self

    @property
    def headline_system(self) -> str | None:
        """The system the report leads with: the one named, else the first."""
        return self.headline or next(iter(self.systems), None)

    @property
    def is_single(self) -> bool:
        """Whether this is one run, not many."""
        return self.folds == "one" and len(self.seeds) == 1

    def to_yaml(self) -> str:
        """Return the recipe with all defaults written out."""
        data = self.model_dump(mode="json", exclude_none=False)
        for name, steps in data["systems"].items():
            data["systems"][name] = [{k: v for k, v in step.items() if v is not None} for step in steps]
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, *, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file or by the name of a shipped one.

    Parameters
    ----------
    path : str or Path
        A file, or one of :func:`shipped_recipes`.
    changes : sequence of str
        ``"key.subkey=value"``, each value read as YAML; applied before checking.

    Returns
    -------
    Recipe

    Raises
    ------
    CoppiceError
        If the file is missing or not YAML, or a key or value is not known, with the nearest one that is.

    Examples
    --------
    >>> load_recipe("demo", changes=["training.epochs=3"]).training.epochs
    3
    >>> load_recipe("demo", changes=["training.epocs=3"])
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: recipe demo.yaml has no key 'training.epocs'. Did you mean 'epochs'?
    """
    path = find_recipe(path)
    return check_recipe(read_mapping(path, "recipe", changes=changes), f"recipe {path.name}")


def check_recipe(values: dict[str, Any], what: str) -> Recipe:
    """Make a recipe of a mapping.

    Parameters
    ----------
    values : dict
        As it stands in a YAML file.
    what : str
        What to call it in a message, such as ``"recipe esc10.yaml"``.

    Raises
    ------
    CoppiceError
        If a key or value is not known, with the nearest one that is.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise CoppiceError(sentence(what, error, _siblings)) from error


def check_fit(kind: type[AnyFit], values: Mapping[str, Any], changes: Sequence[str]) -> AnyFit:
    """Make a fit of what stands below ``training`` or ``finetune`` in a recipe.

    Parameters
    ----------
    kind : type
        ``Train`` or ``Finetune``.
    values : mapping
        By key.
    changes : sequence of str
        As for :func:`load_recipe`, applied before checking.

    Raises
    ------
    CoppiceError
        If a key or value is not known, with the nearest one that is.

    Examples
    --------
    >>> check_fit(Finetune, {"epochs": 5}, ["mixup=0.3", "stop.gain_per_tmac=0.1"]).mixup
    0.3
    >>> check_fit(Finetune, {}, ["mixupp=0.3"])
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: the fit has no key 'mixupp'. Did you mean 'mixup'?
    """
    said = dict(values)
    for change in changes:
        apply_change(said, change, example="mixup=0.3")
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        place = "training" if issubclass(kind, Train) else "finetune"
        raise CoppiceError(sentence("the fit", error, lambda found: _siblings((place, *found)))) from error


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with Coppice, by name.

    Examples
    --------
    >>> sorted(shipped_recipes())
    ['dcase2021-baseline', 'dcase2021-report', 'dcase2022-baseline', 'dcase2024-baseline', 'dcase2025-baseline',
     'demo', 'esc10', 'esc10-entries', 'esc10-results', 'esc50', 'tau2022']
    """
    folder = Path(__file__).parent / "shipped"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(path: str | Path) -> Path:
    """Return the file of a recipe, which may be given by the name of a shipped one.

    Raises
    ------
    CoppiceError
        If there is none, with the nearest name that is.
    """
    given = Path(path)
    if given.exists():
        return given
    shipped = shipped_recipes()
    # `recipes/esc10.yaml` works from any folder, since the shipped ones travel inside the package.
    if given.stem in shipped and given.suffix in ("", ".yaml") and given.parent.name in ("", "recipes"):
        return shipped[given.stem]
    raise CoppiceError(f"there is no recipe {str(path)!r}: no such file. {did_you_mean(given.stem, shipped)}")


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    names: dict[str, type[BaseModel]] = {
        "data": Data,
        "synthetic": Synthetic,
        "split": SplitChoice,
        "training": Train,
        "prune": Prune,
        "dense": Dense,
        "finetune": Finetune,
        "iterative": Iterative,
        "progressive": Progressive,
        "augment": AugmentChoice,
        "device_ir": DeviceIRChoice,
        "gain": GainChoice,
        "time_roll": TimeRollChoice,
        "spec_augment": SpecAugmentChoice,
        "freq_mixstyle": FreqMixStyleChoice,
        "distil": Distil,
        "teacher": Distil,
        "stop": StopChoice,
    }
    if len(location) == 1:
        return list(Recipe.model_fields)
    return list(names.get(str(location[-2]), Step).model_fields)

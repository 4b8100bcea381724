"""A recipe: everything a run depends on, as validated plain data."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors
from coppice.core.units import bytes_text
from coppice.recipes.step import Dense, Finetune, Fit, Iterative, Part, Progressive, Prune, Step

MOST_BYTES, MOST_VALUES, MOST_LEVELS = 1_000_000, 10_000, 20

# What pydantic writes for programmers, said plainly; and what it puts into a place that is no key.
_PLAIN = {
    "model_type": "give keys with values below it",
    "dict_type": "give keys with values below it",
    "list_type": "give a list",
    "too_short": "give at least one",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "string_type": "give text",
    "string_pattern_mismatch": "use at most 64 letters, digits, '.', '_' and '-', and begin with a letter or digit",
}
_NO_PLACES = {"[key]", "dict[str,float]", "float"}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Loader(yaml.SafeLoader):
    """YAML whose mappings name every key once; otherwise the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                twice = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, twice, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


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
    validation_fraction: Fraction = 0.2
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
    training: Fit = Fit()
    systems: dict[Name, list[Step]] = Field(default_factory=dict)
    headline: str | None = None
    quantize: Literal["float16", "bfloat16", "dynamic_int8", "int8"] | None = "float16"

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
    path = _find(path)
    with plain_os_errors("read the recipe", path):
        if path.stat().st_size > MOST_BYTES:
            raise CoppiceError(f"{path} is not a recipe: it is larger than {bytes_text(MOST_BYTES)}.")
        data = path.read_bytes()
    try:
        value = yaml.load(data, _Loader)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = re.sub(r"\s+", " ", str(error).replace(' in "<byte string>"', ""))
        raise CoppiceError(f"{path} is not a recipe: it is not valid YAML ({reason}).") from error
    if not isinstance(value, dict):
        raise CoppiceError(f"{path} is not a recipe: it should be a mapping that begins with 'name:'.")
    for change in changes:
        _apply(value, change)
    _check_size(value, path)
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        raise CoppiceError(_sentence(path, error)) from error


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with Coppice, by name.

    Examples
    --------
    >>> sorted(shipped_recipes())
    ['dcase2021-report', 'demo', 'esc10', 'esc10-entries', 'esc10-results', 'esc50', 'tau2022']
    """
    folder = Path(__file__).parent / "shipped"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _find(path: str | Path) -> Path:
    given = Path(path)
    if given.exists():
        return given
    shipped = shipped_recipes()
    # `recipes/esc10.yaml` works from any folder, since the shipped ones travel inside the package.
    if given.stem in shipped and given.suffix in ("", ".yaml") and given.parent.name in ("", "recipes"):
        return shipped[given.stem]
    raise CoppiceError(f"there is no recipe {str(path)!r}: no such file. {did_you_mean(given.stem, shipped)}")


def _apply(recipe: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise CoppiceError(f"--set {change!r} is not KEY=VALUE; write for example --set training.epochs=50.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CoppiceError(f"--set {change!r}: {text!r} is not a YAML value.") from error
    if isinstance(value, str):
        value = _number(value)
    *parents, last = key.strip().split(".")
    place: Any = recipe
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            raise CoppiceError(f"--set {change!r}: {parent!r} holds a value, not keys.")
    place[last] = value


def _check_size(recipe: dict[str, Any], path: Path) -> None:
    # A few lines of YAML aliases can stand for billions of values, or for one that holds itself.
    waiting: list[tuple[Any, int]] = [(recipe, 0)]
    for _ in range(MOST_VALUES):
        value, depth = waiting.pop()
        if depth > MOST_LEVELS:
            raise CoppiceError(f"{path} is not a recipe: its values are nested more than {MOST_LEVELS} deep.")
        if isinstance(value, dict | list):
            inside = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(part, depth + 1) for part in inside]
        if not waiting:
            return
    raise CoppiceError(f"{path} is not a recipe: it stands for more than {MOST_VALUES} values.")


def _number(text: str) -> str | float:
    # YAML 1.1 reads 1e-3 as text; people who write it mean a number.
    try:
        return float(text) if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text) else text
    except ValueError:
        return text


def _sentence(path: Path, error: ValidationError) -> str:
    # Of a value that may be a mapping or a number, pydantic says both; the one that was meant is enough.
    errors = [
        one
        for one in error.errors()
        if one["loc"][-1:] != ("dict[str,float]",)
        and not (one["loc"][-1:] == ("float",) and isinstance(one["input"], dict))
    ]
    # A misspelt key is unknown, and the right one is missing: the first of the two says what to do.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    misspelt = first["type"] == "extra_forbidden"
    twins = [one for one in errors if misspelt and one["type"] == "missing" and one["loc"][:-1] == first["loc"][:-1]]
    more = len(errors) - 1 - len(twins)
    tail = f" ({more} more to correct after this.)" if more else ""
    place = tuple(part for part in first["loc"] if str(part) not in _NO_PLACES)
    where = ".".join(str(part) for part in place)
    if misspelt:
        hint = did_you_mean(str(place[-1]), _siblings(place))
        return f"recipe {path.name} has no key {where!r}. {hint}{tail}"
    if first["type"] == "missing":
        return f"recipe {path.name} lacks the key {where!r}.{tail}"
    message = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    message = message[0].lower() + message[1:]
    valueless = first["type"] == "invalid_key" or isinstance(first["input"], dict | BaseModel)
    end = "" if message.endswith((".", "?")) else "."
    shown = f" is {_short(first['input'])}" if where and not valueless else ""
    return f"recipe {path.name}: {where + shown + ': ' if where else ''}{message}{end}{tail}"


def _short(value: Any) -> str:
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    names: dict[str, type[BaseModel]] = {
        "data": Data,
        "synthetic": Synthetic,
        "split": SplitChoice,
        "training": Fit,
        "prune": Prune,
        "dense": Dense,
        "finetune": Finetune,
        "iterative": Iterative,
        "progressive": Progressive,
    }
    if len(location) == 1:
        return list(Recipe.model_fields)
    return list(names.get(str(location[-2]), Step).model_fields)

"""A study file: a base recipe, the axes along which it varies, and how they are combined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.recipes.fitting import Part
from coppice.recipes.recipe import Name, Recipe, check_recipe, find_recipe
from coppice.recipes.yaml_file import apply_change, put, read_mapping, sentence
from coppice.studies.axes import check_axis, is_of_steps, label, whole_steps
from coppice.studies.ensemble_section import BestSubsets, Ensemble, EnsembleSection, check_ensembles
from coppice.studies.search_section import Search

MOST_RUNS = 10_000  # more are refused unless the file has a cap

Labelled = dict[str, Any]


class StudyFile(Part):
    """A study as its file has it.

    ``axes`` holds for every axis a list of values, or a mapping of short names to values. Axes are crossed; those that
    stand in one list of ``zip`` go in step. ``exclude`` leaves out every point that a partial point is a part of.
    ``ensembles`` puts points together once they are done; ``search`` makes it a search in place of a grid.
    """

    name: Name
    title: str = ""
    recipe: str | dict[str, Any]
    set: dict[str, Any] = Field(default_factory=dict)
    system: Annotated[list[Any], Field(min_length=1)] | None = None
    axes: Annotated[dict[str, list[Any] | dict[str, Any] | Literal["all"]], Field(min_length=1, default_factory=dict)]
    zip: list[list[str]] = Field(default_factory=list)
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    cap: Annotated[int, Field(ge=1)] | None = None
    ensembles: EnsembleSection | None = None
    search: Search | None = None

    @model_validator(mode="after")
    def _is_a_grid_or_a_search(self) -> "StudyFile":
        if self.search is None and not self.axes:
            raise ValueError("it lacks the key 'axes'")
        if self.search is not None:
            other = [name for name in self.axes if name not in ("fold", "seed")]
            other += [name for name in ("zip", "exclude", "cap", "ensembles") if getattr(self, name)]
            if other:
                raise ValueError(f"a search takes the axes fold and seed alone; leave out {other[0]!r}")
        return self

    @field_validator("zip", mode="before")
    @classmethod
    def _one_group_is_a_list(cls, value: Any) -> Any:
        flat = isinstance(value, list) and value and all(isinstance(name, str) for name in value)
        return [value] if flat else value


class Study:
    """A study file that has been checked: its base recipe is whole and its axes can be combined.

    Attributes
    ----------
    file : StudyFile
        As written.
    recipe : Recipe
        The base, with ``set`` and the changes of the command line applied.
    system : list of dict
        The steps that every point goes through; empty where unpruned networks are compared.
    axes : dict
        Axis → label → value, in the order of the file; without fold and seed.
    folds : list of int, "all" or None
        None: the recipe's own split.
    seeds : list of int
    ensembles : tuple of Ensemble
    """

    def __init__(self, file: StudyFile, recipe: Recipe, what: str) -> None:
        self.file, self.recipe, self.what = file, recipe, what
        self.base: dict[str, Any] = yaml.safe_load(recipe.to_yaml())
        self.system = self._system()
        labelled = {name: _labelled(name, values, what) for name, values in file.axes.items()}
        self.folds = self._folds()
        self.seeds: list[int] = list(labelled.pop("seed", {str(seed): seed for seed in recipe.seeds}).values())
        labelled.pop("fold", None)
        self.axes: dict[str, Labelled] = labelled
        for name, values in labelled.items():
            check_axis(name, values, self.base, self.system, what)
        for seed in self.seeds:
            if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
                raise CoppiceError(f"{what}: axis 'seed' holds {seed!r}; give whole numbers from 0 upwards.")
        self._check_zip()
        self._check_exclusions()
        asked = file.ensembles
        self.ensembles: tuple[Ensemble, ...] = () if asked is None else check_ensembles(asked, labelled, file.zip, what)

    @property
    def title(self) -> str:
        """What a page calls it."""
        return self.file.title or self.file.name

    @property
    def search(self) -> Search:
        """Its section ``search``; a :class:`CoppiceError` if it has none."""
        if self.file.search is None:
            raise CoppiceError(
                f"{self.what} has no section 'search:', so it is a grid: coppice study run carries it out. "
                "docs/search.md says what a search needs."
            )
        return self.file.search

    def to_yaml(self) -> str:
        """Return the study with its base recipe written out, so that it can be carried out again."""
        values = self.file.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump({**values, "recipe": self.base, "set": {}}, sort_keys=False, allow_unicode=True)

    def _system(self) -> list[dict[str, Any]]:
        headline = self.recipe.headline_system
        steps = self.file.system
        of_steps = next(filter(is_of_steps, self.file.axes), None)
        if steps is None and headline is None and of_steps is not None and "system" not in self.file.axes:
            raise CoppiceError(
                f"{self.what}: axis {of_steps!r} is of steps, and its recipe has no system; give it some, such as "
                "system: [prune: {criterion: l1}, finetune]."
            )
        if steps is not None:
            return whole_steps(steps, self.what)
        return [] if headline is None else whole_steps(self.base["systems"][headline], self.what)

    def _folds(self) -> list[int] | Literal["all"] | None:
        given = self.file.axes.get("fold")
        if given is None:
            return "all" if self.recipe.folds == "all" else None
        if given == "all":
            return "all"
        values = list(_labelled("fold", given, self.what).values())
        for fold in values:
            if not isinstance(fold, int) or isinstance(fold, bool):
                raise CoppiceError(f"{self.what}: axis 'fold' holds {fold!r}; give whole numbers, or fold: all.")
        return values

    def _check_zip(self) -> None:
        seen: set[str] = set()
        for group in self.file.zip:
            for name in group:
                if name in ("fold", "seed"):
                    raise CoppiceError(f"{self.what}: zip names {name!r}; every point is run with all folds and seeds.")
                if name not in self.axes:
                    raise CoppiceError(f"{self.what}: zip names {name!r}, no axis. {did_you_mean(name, self.axes)}")
                if name in seen:
                    raise CoppiceError(f"{self.what}: zip names {name!r} twice; give each axis once.")
                seen.add(name)
            lengths = {name: len(self.axes[name]) for name in group}
            if len(set(lengths.values())) > 1:
                counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
                raise CoppiceError(f"{self.what}: axes that are zipped need equally many values; {counts}.")

    def _check_exclusions(self) -> None:
        for partial in self.file.exclude:
            if not partial:
                raise CoppiceError(f"{self.what}: exclude holds an empty point, which would leave nothing.")
            for name, wanted in partial.items():
                if name not in self.axes:
                    raise CoppiceError(f"{self.what}: exclude names {name!r}. {did_you_mean(name, self.axes)}")
                for value in wanted if isinstance(wanted, list) else [wanted]:
                    if not any(matches(value, short, known) for short, known in self.axes[name].items()):
                        hint = did_you_mean(label(value), self.axes[name])
                        raise CoppiceError(f"{self.what}: exclude: axis {name!r} has no value {label(value)!r}. {hint}")


def matches(wanted: Any, short: str, value: Any) -> bool:
    """Say whether a value of an exclusion means this value of the axis: by its label or by itself.

    Examples
    --------
    >>> matches("C2", "C2", {"conv2": 11}), matches(0.5, "half", 0.5), matches(0.5, "0.25", 0.25)
    (True, True, False)
    """
    return label(wanted) == short or (type(wanted) is type(value) and bool(wanted == value))


def load_study(path: str | Path, *, changes: Sequence[str] = ()) -> Study:
    """Read a study from a YAML file or by the name of a shipped one.

    Parameters
    ----------
    path : str or Path
        A file, or one of :func:`shipped_studies`.
    changes : sequence of str
        ``"key.subkey=value"``, applied to the base recipe.

    Raises
    ------
    CoppiceError
        If the file is missing or not YAML, or a key, an axis or a value is not known, with the nearest one that is.

    Examples
    --------
    >>> study = load_study("criteria-shootout")
    >>> sorted(study.axes), len(study.seeds), study.folds
    (['criterion', 'ratios'], 3, 'all')
    """
    place = _find(path)
    what = f"study {place.name}"
    try:
        file = StudyFile.model_validate(read_mapping(place, "study"))
    except ValidationError as error:
        raise CoppiceError(sentence(what, error, _siblings)) from error
    values, source = _base(file, place)
    for key, value in file.set.items():
        blocked = put(values, str(key), value)
        if blocked is not None:
            raise CoppiceError(f"{what}: set names {key!r}, but {blocked!r} holds a value, not keys.")
    for change in changes:
        apply_change(values, change)
    return Study(file, check_recipe(values, f"{what}: {source}"), what)


def shipped_studies() -> dict[str, Path]:
    """Return the studies that come with Coppice, by name.

    Examples
    --------
    >>> sorted(shipped_studies())
    ['criteria-shootout', 'dcase2022-ensemble', 'epanns', 'filter-size', 'finetune-fraction', 'icassp2023',
     'interspeech2022', 'search-esc10', 'training-recipes']
    """
    folder = Path(__file__).parent / "shipped"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _siblings(place: tuple[int | str, ...]) -> list[str]:
    inside: dict[tuple[int | str, ...], type[Part]] = {
        ("ensembles",): EnsembleSection,
        ("ensembles", "best"): BestSubsets,
        ("search",): Search,
    }
    return list(inside.get(place[:-1], StudyFile).model_fields)


def _base(file: StudyFile, place: Path) -> tuple[dict[str, Any], str]:
    if isinstance(file.recipe, dict):
        return {"name": file.name, **file.recipe}, "its recipe"
    beside = place.parent / file.recipe
    found = beside if beside.is_file() else find_recipe(file.recipe)
    return read_mapping(found, "recipe"), f"its recipe {found.name}"


def _find(path: str | Path) -> Path:
    given = Path(path)
    if given.exists():
        return given
    shipped = shipped_studies()
    if given.stem in shipped and given.suffix in ("", ".yaml") and given.parent.name == "":
        return shipped[given.stem]
    raise CoppiceError(f"there is no study {str(path)!r}: no such file. {did_you_mean(given.stem, shipped)}")


def _labelled(name: str, values: Any, what: str) -> Labelled:
    """Give every value of an axis its label."""
    if values == "all":
        if name == "fold":
            return {}
        raise CoppiceError(f"{what}: axis {name!r} is 'all'; only fold can be. Give a list of values.")
    if not values:
        raise CoppiceError(f"{what}: axis {name!r} has no values, so the grid is empty; give it some, or leave it out.")
    pairs = [(str(short), value) for short, value in values.items()] if isinstance(values, dict) else []
    pairs = pairs or [(label(value), value) for value in values]
    labels = [short for short, _ in pairs]
    twice = next((short for short in labels if labels.count(short) > 1), None)
    if twice is not None:
        raise CoppiceError(f"{what}: axis {name!r} holds {twice!r} twice; give each value once.")
    return dict(pairs)

"""The axes of a study: what each changes in the base recipe and in the steps that a point goes through."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.recipes.fitting import Finetune
from coppice.recipes.recipe import Recipe
from coppice.recipes.step import Prune
from coppice.recipes.yaml_file import put

SYSTEM = "pruned"  # what the one system of a point's recipe is called

_PRUNE = tuple(Prune.model_fields)
_TARGETS = ("keep", "ratios", "budget")  # a step has one of them
_SCHEDULES = ("one_shot", "iterative", "progressive")
_FINETUNE = tuple(f"finetune.{name}" for name in Finetune.model_fields if name != "fraction")
_NAMED = (*_PRUNE, "fraction", *_FINETUNE, "schedule", "precision", "system", "fold", "seed")
_NOT_AXES = ("name", "title", "systems", "headline", "folds", "seeds")
_RECIPE = tuple(name for name in Recipe.model_fields if name not in _NOT_AXES)


def label(value: Any) -> str:
    """Return the short text by which a value of an axis is known.

    Examples
    --------
    >>> [label(value) for value in ("l1", 0.5, None, True, [16, 32], {"conv1": 11, "conv2": 8})]
    ['l1', '0.5', 'none', 'true', '16+32', 'conv1:11+conv2:8']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return "+".join(f"{name}:{label(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return "+".join(map(label, value))
    return str(value)


def is_of_steps(name: str) -> bool:
    """Say whether an axis changes what a trained network goes through, not the training.

    Examples
    --------
    >>> [is_of_steps(name) for name in ("criterion", "finetune.epochs", "network.kernel", "precision")]
    [True, True, False, False]
    """
    return name in (*_PRUNE, *_FINETUNE, "fraction", "schedule")


def check_axis(
    name: str, values: Mapping[str, Any], base: Mapping[str, Any], system: list[dict[str, Any]], what: str
) -> None:
    """Refuse an axis that nothing answers to.

    Parameters
    ----------
    name : str
        As written in the study file.
    values : mapping
        Label → value.
    base : mapping
        The base recipe.
    system : list of dict
        The steps that every point goes through.
    what : str
        What the study is called in a message.

    Raises
    ------
    CoppiceError
        If it is neither a named axis nor a key of the recipe, or the steps have nothing that it could change.
    """
    first = name.split(".")[0]
    if name not in _NAMED and first not in _RECIPE:
        where = f"{what}: there is no axis {name!r}."
        known = [one for one in (*_NAMED, *_RECIPE) if one not in _FINETUNE or first == "finetune"]  # they are many
        raise CoppiceError(f"{where} {did_you_mean(name, known)}")
    if name == "system":
        for value in values.values():
            _steps(value, base, what)
    if name in _PRUNE and system and not list(_prunes(system)):
        raise CoppiceError(f"{what}: axis {name!r} is of prune steps, and the system has none.")
    fits = [step for step in system if {"finetune", "iterative", "progressive"} & step.keys()]
    if (name in _FINETUNE or name == "fraction") and system and not fits:
        raise CoppiceError(f"{what}: axis {name!r} is of finetune steps, and the system has none.")
    if name == "schedule":
        for value in values.values():
            if _schedule(value)[0] not in _SCHEDULES:
                hint = did_you_mean(str(_schedule(value)[0]), _SCHEDULES)
                raise CoppiceError(f"{what}: axis 'schedule' holds {label(value)!r}. {hint}")


def recipe_at(
    base: Mapping[str, Any], system: list[dict[str, Any]], point: Mapping[str, Any], what: str
) -> dict[str, Any]:
    """Return the recipe of a point, as plain values that are still to be checked.

    Parameters
    ----------
    base : mapping
        The base recipe; not touched.
    system : list of dict
        The steps, unless the point has its own; without any from the start, a point is an unpruned network.
    point : mapping
        Axis → value.
    what : str
        What the point is called in a message.

    Raises
    ------
    CoppiceError
        If the values contradict each other.

    Examples
    --------
    >>> steps = [{"prune": {"criterion": "l1", "keep": {"conv2": 11}}}, {"finetune": {}}]
    >>> found = recipe_at({"training": {}}, steps, {"ratios": 0.5, "training.epochs": 9, "fraction": 0}, "a point")
    >>> found["training"], found["systems"]["pruned"]
    ({'epochs': 9}, [{'prune': {'criterion': 'l1', 'ratios': 0.5}}])
    """
    recipe = dict(copy.deepcopy(base))
    steps = copy.deepcopy(_steps(point["system"], base, what) if "system" in point else system)
    for name, value in point.items():
        if name in _PRUNE:
            for prune in _prunes(steps):
                for other in _TARGETS if name in _TARGETS else ():
                    if other not in point:
                        prune.pop(other, None)
                prune[name] = value
        elif name in _FINETUNE or name == "fraction":
            steps = _fitted(steps, name.removeprefix("finetune."), value, what)
        elif name not in _NAMED or name == "precision":
            key = "quantize" if name == "precision" else name
            blocked = put(recipe, key, value)
            if blocked is not None:
                raise CoppiceError(f"{what}: axis {name!r}: {blocked!r} holds a value, not keys.")
    if "schedule" in point:
        steps = _scheduled(steps, *_schedule(point["schedule"]), what)
    if point["system"] == [] if "system" in point else not system:
        return {**recipe, "systems": {}, "headline": None}
    if not steps:
        raise CoppiceError(f"{what}: nothing is left of the system's steps; exclude this point.")
    return {**recipe, "systems": {SYSTEM: steps}, "headline": SYSTEM}


def whole_steps(steps: list[Any], what: str) -> list[dict[str, Any]]:
    """Write steps that are only named, such as ``reset``, as a mapping, too.

    Raises
    ------
    CoppiceError
        If one is neither a name nor a mapping.

    Examples
    --------
    >>> whole_steps(["reset", {"finetune": None}], "a study")
    [{'reset': {}}, {'finetune': {}}]
    """
    made = []
    for step in steps:
        if not isinstance(step, str | dict):
            raise CoppiceError(f"{what}: a step is {step!r}; write for example prune: {{criterion: l1}}.")
        said = {step: None} if isinstance(step, str) else step
        made.append({kind: {} if options is None else options for kind, options in said.items()})
    return made


def _steps(value: Any, base: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    """Return the steps that a value of the axis ``system`` means; none: the unpruned network."""
    if isinstance(value, list):
        return whole_steps(value, what)
    known = base["systems"]
    if not isinstance(value, str) or value not in known:
        hint = did_you_mean(label(value), known) if known else "Give a list of steps."
        raise CoppiceError(f"{what}: axis 'system': the recipe has no system {label(value)!r}. {hint}")
    return whole_steps(
        [{kind: options for kind, options in step.items() if options is not None} for step in known[value]], what
    )


def _prunes(steps: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for step in steps:
        for kind in ("prune", "iterative", "progressive"):
            if isinstance(step.get(kind), dict):
                yield step[kind]


def _fitted(steps: list[dict[str, Any]], key: str, value: Any, what: str) -> list[dict[str, Any]]:
    """Set a key of every fit, or leave all fits out for a fraction of 0."""
    if key == "fraction" and value == 0 and not isinstance(value, bool):
        inner = next((kind for step in steps for kind in ("iterative", "progressive") if kind in step), None)
        if inner is not None:
            raise CoppiceError(f"{what}: {inner} cuts fine-tune in between, so fraction 0 is impossible; exclude it.")
        return [step for step in steps if "finetune" not in step]
    for step in steps:
        inside = next((step[kind] for kind in ("iterative", "progressive") if isinstance(step.get(kind), dict)), step)
        if "finetune" in inside or inside is not step:
            inside["finetune"] = {**(inside.get("finetune") or {}), key: value}
    return steps


def _schedule(value: Any) -> tuple[Any, dict[str, Any]]:
    if isinstance(value, dict) and len(value) == 1:
        kind, options = next(iter(value.items()))
        return kind, options if isinstance(options, dict) else {}
    return value, {}


def _scheduled(steps: list[dict[str, Any]], kind: Any, options: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """Make each prune step and the fit behind it one step of a schedule."""
    if kind == "one_shot":
        return steps
    made: list[dict[str, Any]] = []
    for step in steps:
        if made and "prune" in made[-1] and "finetune" in step:
            made[-1] = {kind: {**(made[-1]["prune"] or {}), **options, "finetune": step["finetune"] or {}}}
        else:
            made.append(step)
    if any("prune" in step for step in made):
        raise CoppiceError(
            f"{what}: schedule {kind} fine-tunes behind every cut, and here a prune step has no finetune step behind "
            "it; add one, or exclude this point."
        )
    return made

"""From a recipe to prepared clips, and a check of its systems before anything is trained."""

import torch

from coppice.audio.front_end import FrontEnd, front_end
from coppice.core.errors import CoppiceError
from coppice.core.progress import say
from coppice.datasets.prepare import Prepared, prepare
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_for_clips
from coppice.recipes.fitting import Finetune, Fit
from coppice.recipes.recipe import Recipe
from coppice.recipes.steps import do_step, plain_steps
from coppice.recipes.teachers import open_teacher
from coppice.training.augment.build import check_augmentation
from coppice.training.loggers import check_loggers
from coppice.training.precision import choose_precision

_CHECKED_CLIPS = 2  # enough to see that a criterion works


def recipe_front_end(recipe: Recipe) -> FrontEnd:
    """Build the front end that a recipe describes."""
    return front_end(**recipe.front_end.model_dump())


def open_material(recipe: Recipe) -> Prepared:
    """Open a recipe's clips and compute their features; say how many were cut, padded or left out."""
    synthetic = recipe.data.synthetic.model_dump() if recipe.data.synthetic else {}
    data = prepare(
        recipe.data.source,
        root=recipe.data.root,
        columns=recipe.data.columns,
        front_end=recipe_front_end(recipe),
        split=recipe.split.model_dump(),
        bad_clips=recipe.data.bad_clips,
        subset=recipe.data.subset,
        **synthetic,
    )
    say(f"{data.dataset.name}: {data.split.describe()}")
    if data.dataset.synthetic:
        say("these sounds are synthetic: the numbers say nothing about real recordings")
    if data.cut or data.padded:
        pad = {"zeros": "with silence", "repeat": "by repeating them"}[data.front_end.pad]
        say(
            f"to {data.front_end.duration_s:g} s: {data.cut} longer clips were cut, "
            f"{data.padded} shorter ones filled up {pad}"
        )
    for clip_id, _, sentence in data.problems:
        say(f"left out {clip_id}: {sentence}")
    return data


def untrained(recipe: Recipe, data: Prepared) -> Classifier:
    """Build a recipe's network for its clips, with initial weights and without normalisation.

    Raises
    ------
    CoppiceError
        If the recipe gives the network another number of classes, bands or frames than the clips have.
    """
    bands, frames = data.front_end.shape
    given = recipe.network.model_dump(exclude={"name"})
    measured = {"classes": len(data.dataset.labels), "bands": bands, "frames": frames}
    for name, value in measured.items():
        if given.get(name, value) != value:
            raise CoppiceError(f"network.{name} is {given[name]!r} but the clips make it {value}; leave it out.")
    network = build_for_clips(recipe.network.name, **{**given, **measured})
    return Classifier(network, data.front_end, data.dataset.labels, torch.zeros(bands), torch.ones(bands))


def check_systems(recipe: Recipe, data: Prepared) -> None:
    """Go through all systems with an untrained network, so that a wrong name or number shows before training.

    Raises
    ------
    CoppiceError
        Naming the system and the step.
    """
    check_loggers(recipe.loggers)
    start = untrained(recipe, data)
    try:
        _check_fit(recipe.training, start, data)
    except CoppiceError as error:
        raise CoppiceError(f"training: {error}") from error
    for name, steps in recipe.systems.items():
        classifier = start
        for number, step in enumerate(steps, start=1):
            before = classifier
            try:
                for plain in plain_steps(step, number, lambda before=before: before):  # type: ignore[misc]
                    if plain.step.finetune is not None:
                        _check_fit(plain.step.finetune, start, data)
                    else:
                        classifier, _ = do_step(classifier, plain.step, seed=0, data=data, clips=_CHECKED_CLIPS)
            except CoppiceError as error:
                raise CoppiceError(f"system {name!r}, step {number} ({step.kind}): {error}") from error


def _check_fit(fit: Fit, start: Classifier, data: Prepared) -> None:
    """Refuse a fit whose teacher, augmentation or clips cannot be had."""
    choose_precision(fit.precision)
    teacher = open_teacher(fit.distil, unpruned=start, turn=None)
    if teacher is not None:
        teacher.check(start)
    if isinstance(fit, Finetune) and fit.device is not None:
        for part in ("train", "validation"):
            data.of_device(part, fit.device)
    check_augmentation(start, data, fit.settings(seed=0))

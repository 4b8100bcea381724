"""The teachers that a recipe names, and what a fit depends on besides its settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coppice.audio.impulse_responses import open_impulse_responses
from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load
from coppice.recipes.fitting import UNPRUNED, Distil, Fit
from coppice.training.teacher import Teacher


@dataclass(frozen=True)
class Turn:
    """Which of the runs of a recipe it is.

    Attributes
    ----------
    fold : int or None
        The test fold, where the recipe says it.
    seed : int
    """

    fold: int | None
    seed: int


def teacher_files(name: str, turn: Turn | None) -> list[str]:
    """Return the files that a teacher's name in a recipe stands for.

    ``{fold}`` and ``{seed}`` in it are those of the run, so that each fold can have teachers that have not heard its
    test clips; ``*`` and ``?`` stand for what they do in a shell.

    Parameters
    ----------
    name : str
        From a recipe, but not ``unpruned``.
    turn : Turn or None
        The run; None: any of them.

    Raises
    ------
    CoppiceError
        If no file matches, or the name says ``{fold}`` and the run has none.

    Examples
    --------
    >>> teacher_files("teachers/fold{fold}.safetensors", Turn(fold=2, seed=0))
    ['teachers/fold2.safetensors']
    """
    places = {"{fold}": None if turn is None else turn.fold, "{seed}": None if turn is None else turn.seed}
    filled = name
    for place, value in places.items():
        if place in filled and turn is not None and value is None:
            raise CoppiceError(
                f"teacher {name!r} is one for each test fold, and this run names none; set split.test_fold or folds."
            )
        filled = filled.replace(place, "*" if value is None else str(value))
    if not any(sign in filled for sign in "*?"):
        return [filled]
    anchor = Path(filled).anchor
    pattern = filled.removeprefix(anchor).replace("[", "[[]")
    found = sorted(str(file) for file in Path(anchor).glob(pattern))
    if not found:
        raise CoppiceError(f"teacher {name!r}: no file is called {filled}.")
    return found if turn is not None else found[:1]


def open_teacher(said: Distil | None, *, unpruned: Classifier | Path | None, turn: Turn | None) -> Teacher | None:
    """Load the teachers that a fit names; None where it names none.

    Parameters
    ----------
    said : Distil or None
        From a recipe.
    unpruned : Classifier or Path
        The unpruned network of the same run, or where it lies.
    turn : Turn or None
        The run; None: any of them, to see that there is a teacher.

    Raises
    ------
    CoppiceError
        If a file is missing or no classifier.
    """
    if said is None:
        return None
    found = []
    for name in said.teacher:
        if name == UNPRUNED:
            if unpruned is None:
                raise CoppiceError(f"there is no {UNPRUNED} network here; name a checkpoint as teacher.")
            found.append(unpruned if isinstance(unpruned, Classifier) else load(unpruned))
            continue
        for file in teacher_files(name, turn):
            try:
                found.append(load(file))
            except CoppiceError as error:
                hint = "" if Path(file).exists() else f" Give a file, or {UNPRUNED!r} for the network before pruning."
                raise CoppiceError(f"teacher {name!r}: {error}{hint}") from error
    return Teacher(found[0] if len(found) == 1 else found, weight=said.weight, temperature=said.temperature)


def outside(fit: Fit, *, unpruned: str, turn: Turn) -> Mapping[str, Any]:
    """Return digests of the files that a fit depends on: teachers and impulse responses; empty without any.

    Parameters
    ----------
    fit : Fit
        From a recipe.
    unpruned : str
        Digest of the stage that trained the unpruned network.
    turn : Turn
        The run.
    """
    found: dict[str, Any] = {}
    if fit.distil is not None:
        teachers = found["teachers"] = []
        for name in fit.distil.teacher:
            if name == UNPRUNED:
                teachers.append(unpruned)
            else:
                teachers += [file_digest(Path(file)) for file in teacher_files(name, turn)]
    return found | impulse_responses(fit)


def impulse_responses(fit: Fit) -> dict[str, Any]:
    """Return the identity of the impulse responses that a fit hears clips through; empty without any."""
    if fit.augment is None or fit.augment.device_ir is None:
        return {}
    return {"impulse_responses": open_impulse_responses(fit.augment.device_ir.folder).identity()}

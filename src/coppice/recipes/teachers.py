"""The teachers that a recipe names, and what a fit depends on besides its settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coppice.audio.impulse_responses import open_impulse_responses
from coppice.core.errors import CoppiceError
from coppice.core.files import file_digest
from coppice.networks.classifier import Classifier
from coppice.networks.loading import load
from coppice.recipes.fitting import UNPRUNED, Distil, Fit
from coppice.training.teacher import Teacher


def open_teacher(said: Distil | None, *, unpruned: Classifier | Path | None) -> Teacher | None:
    """Load the teachers that a fit names; None where it names none.

    Parameters
    ----------
    said : Distil or None
        From a recipe.
    unpruned : Classifier or Path
        The unpruned network of the same run, or where it lies.

    Raises
    ------
    CoppiceError
        If a file is missing or no classifier.
    """
    if said is None:
        return None
    found = []
    for name in said.teacher:
        if name != UNPRUNED:
            try:
                found.append(load(name))
            except CoppiceError as error:
                hint = "" if Path(name).exists() else f" Give a file, or {UNPRUNED!r} for the network before pruning."
                raise CoppiceError(f"teacher {name!r}: {error}{hint}") from error
        elif unpruned is None:
            raise CoppiceError(f"there is no {UNPRUNED} network here; name a checkpoint as teacher.")
        else:
            found.append(unpruned if isinstance(unpruned, Classifier) else load(unpruned))
    return Teacher(found[0] if len(found) == 1 else found, weight=said.weight, temperature=said.temperature)


def outside(fit: Fit, *, unpruned: str) -> Mapping[str, Any]:
    """Return digests of the files that a fit depends on: teachers and impulse responses; empty without any.

    Parameters
    ----------
    fit : Fit
        From a recipe.
    unpruned : str
        Digest of the stage that trained the unpruned network.
    """
    found: dict[str, Any] = {}
    if fit.distil is not None:
        found["teachers"] = [unpruned if name == UNPRUNED else file_digest(Path(name)) for name in fit.distil.teacher]
    if fit.augment is not None and fit.augment.device_ir is not None:
        found["impulse_responses"] = open_impulse_responses(fit.augment.device_ir.folder).identity()
    return found

"""The verb ``run``: a recipe, whole."""

from collections.abc import Sequence
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.recipes.recipe import Recipe, load_recipe
from coppice.recipes.run import run_single
from coppice.studies.cross_validation import run_cross_validation
from coppice.training.devices.helping import helped
from coppice.training.devices.machines import ONE_DEVICE, Machines


def run(
    recipe: str | Path | Recipe,
    *,
    out: str | Path | None = None,
    changes: Sequence[str] = (),
    jobs: int = 1,
    machines: Machines = ONE_DEVICE,
) -> Path | None:
    """Carry out a recipe from clips to report.

    Parameters
    ----------
    recipe : str, Path or Recipe
        A YAML file, the name of a shipped recipe, or a recipe.
    out : path, optional
        The run folder; ``runs/<name>`` if not given. A run that was interrupted there goes on.
    changes : sequence of str
        ``"key=value"`` overrides, when ``recipe`` is not a Recipe.
    jobs : int
        Processes for runs over folds or seeds.
    machines : Machines
        Devices and machines that share every batch of the fits; docs/training.md. What was done on others stands.

    Returns
    -------
    Path or None
        ``report.html`` in the run folder; None on a machine that has helped the first of several, which it does until
        the program there ends.

    Raises
    ------
    CoppiceError
        For anything wrong with the recipe, the clips or the disk.
    """
    if jobs < 1:
        raise CoppiceError(f"jobs is {jobs}; give a whole number from 1 upwards.")
    if jobs > 1 and machines.processes > 1:
        raise CoppiceError(
            f"jobs is {jobs} and each fit is on {machines.processes} devices; give jobs, which puts runs side by side, "
            "or devices, which puts one fit on several."
        )
    if helped(machines):
        return None
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes=changes)
    folder = Path(out) if out is not None else Path("runs") / chosen.name
    if chosen.is_single:
        return run_single(chosen, folder, machines=machines)
    return run_cross_validation(chosen, folder, jobs=jobs, machines=machines)

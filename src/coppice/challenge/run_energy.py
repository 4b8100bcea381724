"""The energy figures that DCASE asked for in 2023, from what a run recorded."""

from collections.abc import Mapping
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import read_json
from coppice.energy.energy import INFERENCE, Energy, add_up, energy_of
from coppice.recipes.finished import stages_up_to
from coppice.recipes.stages import stage_energy


def run_energy(stage: Path) -> dict[str, Energy]:
    """Return what a run recorded of the energy that led to a stage; what is not on record is left out.

    Parameters
    ----------
    stage : Path
        The folder of a stage.

    Returns
    -------
    dict
        ``training``: of all stages that led to it, this one included; where all of them have a record, of one mode.
        ``inference`` and ``baseline_inference``: as ``coppice energy`` left them in the folder.
    """
    found: dict[str, Energy] = {}
    spent = [stage_energy(folder) for folder in stages_up_to(stage)]
    known = [energy for energy in spent if energy is not None]
    if known and len(known) == len(spent) and len({energy.mode for energy in known}) == 1:
        found["training"] = add_up(known)
    try:
        record = read_json(stage / INFERENCE)
    except CoppiceError:
        return found
    if isinstance(record, Mapping):
        baseline = record.get("baseline")
        parts = {
            "inference": energy_of(record.get("energy")),
            "baseline_inference": energy_of(baseline.get("energy")) if isinstance(baseline, Mapping) else None,
        }
        found |= {name: energy for name, energy in parts.items() if energy is not None}
    return found

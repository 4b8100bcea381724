"""What a run folder says of its stages, for those who come with the folder alone."""

from pathlib import Path
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.core.files import read_json


def headline_stage(run: Path) -> Path:
    """Return the folder of a run's last stage of its headline system; the folder of a stage is returned as it is.

    Raises
    ------
    CoppiceError
        If it is a run over folds or seeds.
    """
    if not (run / "summary.json").is_file() or (run / "checkpoint.safetensors").is_file():
        return run
    summary = read_json(run / "summary.json", "run's summary")
    stages = _stages(summary)
    if not stages:
        raise CoppiceError(f"{run} is a run over folds or seeds; give one of its runs, or a stage.")
    chosen = [stage for stage in stages if stage["system"] == summary.get("headline_system")] or stages
    return run / chosen[-1]["folder"]


def model_of(stage: Path) -> Path:
    """Return the file that a stage's numbers are of: ``model.onnx`` where it is int8, else the checkpoint.

    Raises
    ------
    CoppiceError
        If there is neither.
    """
    for name in ("model.onnx", "checkpoint.safetensors"):
        if (stage / name).is_file():
            return stage / name
    raise CoppiceError(f"{stage} has no checkpoint.safetensors; give the folder of a run, or of one of its stages.")


def stages_up_to(stage: Path) -> list[Path]:
    """Return the folders of all stages of a run that led to one of them, the first one first; none outside of runs.

    Parameters
    ----------
    stage : Path
        The folder of a stage.
    """
    stage = stage.resolve()
    for run in list(stage.parents)[:3]:  # systems/<name>/<step> at most
        try:
            stages = _stages(read_json(run / "summary.json"))
        except CoppiceError:
            continue
        by_id = {entry["id"]: entry for entry in stages}
        entry = next((entry for entry in stages if (run / entry["folder"]).resolve() == stage), None)
        found: list[Path] = []
        while entry is not None and run / entry["folder"] not in found:
            found.insert(0, run / entry["folder"])
            entry = by_id.get(entry["parent"])
        if found:
            return found
    return []


def _stages(summary: Any) -> list[dict[str, Any]]:
    stages = summary.get("stages") if isinstance(summary, dict) else None
    names = ("id", "folder", "parent")
    return [
        {"system": None, **{name: None for name in names}, **entry}
        for entry in (stages if isinstance(stages, list) else [])
        if isinstance(entry, dict) and "folder" in entry
    ]

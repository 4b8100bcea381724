"""What a submission is made from, as options say it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coppice.cli.values import pairs
from coppice.core.errors import CoppiceError

if TYPE_CHECKING:
    from coppice.challenge.rules import Rules
    from coppice.challenge.submit import Source


def sources_of(
    rules: "Rules",
    run: Sequence[str] | None,
    model: Sequence[str] | None,
    development: Sequence[str] | None,
    evaluation: Sequence[str] | None,
) -> dict[int, "Source"]:
    """Return the system of each split, under 0 where the year has no splits.

    Raises
    ------
    CoppiceError
        If neither a run nor a model with predictions is given, both are, or splits are not named as they should be.
    """
    from coppice.challenge.submit import Source, source_of

    if bool(run) == bool(model):
        raise CoppiceError("give either --run, or --model with --development.")
    if bool(model) != bool(development):
        raise CoppiceError("--model and --development go together: the network, and its predictions with labels.")
    given = {
        option: _by_split(rules, values, f"--{option}")
        for option, values in (("run", run), ("model", model), ("development", development), ("evaluation", evaluation))
    }
    found: dict[int, Source] = {}
    for split, path in (given["run"] or given["model"]).items():
        heard = given["evaluation"].get(split)
        if run:
            found[split] = source_of(path, heard)
        elif split not in given["development"]:
            raise CoppiceError(f"there is no --development for the split {split}; give {split}=PATH.")
        else:
            found[split] = Source(path, given["development"][split], heard)
    return found


def _by_split(rules: "Rules", values: Sequence[str] | None, option: str) -> dict[int, Path]:
    if not values:
        return {}
    if not rules.splits:
        if len(values) > 1:
            raise CoppiceError(f"{option} is given {len(values)} times; in {rules.year} there is one.")
        return {0: Path(values[0])}
    found = {}
    for name, path in pairs(values, option, f"5={values[0].partition('=')[2] or values[0]}").items():
        if name not in {str(split) for split in rules.splits}:
            raise CoppiceError(
                f"{option} {name}={path}: the splits of {rules.year} are {', '.join(map(str, rules.splits))}."
            )
        found[int(name)] = Path(path)
    return found

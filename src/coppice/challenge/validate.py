"""The verb ``validate``: all that is wrong with a submission package, at once."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coppice.challenge.contents import Contents, open_contents
from coppice.challenge.inference_check import check_inference
from coppice.challenge.labels import Label, parse_label
from coppice.challenge.meta_check import check_meta
from coppice.challenge.output_rows import check_output
from coppice.challenge.problems import Problem, Problems
from coppice.challenge.rules import Rules, rules_of
from coppice.core.errors import CoppiceError

_REPORT = ".technical_report.pdf"


@dataclass(frozen=True)
class Validation:
    """What validation found.

    Attributes
    ----------
    rules : Rules
    systems : tuple of str
        Labels of the systems in the package.
    files : int
        How many files it holds.
    problems : tuple of Problem
    """

    rules: Rules
    systems: tuple[str, ...]
    files: int
    problems: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able data."""
        return {
            "rules": self.rules.name,
            "valid": self.valid,
            "systems": list(self.systems),
            "files": self.files,
            "problems": [{"file": one.file, "line": one.line, "message": one.message} for one in self.problems],
        }


def validate(
    path: str | Path, *, rules: str | None = None, clips: str | Path | Sequence[str] | None = None
) -> Validation:
    """Find everything that is wrong with a submission package; nothing in it is run or unpacked.

    Checked is what the official validators check and what they miss: limits, keys and values inside ``split_*``,
    probabilities that sum to 1 and agree with the label, repeated, missing and unknown clips and files, NaN, fields
    in each line, and that labels, file names and folders agree.

    Parameters
    ----------
    path : str or Path
        The zip file, or a folder with what is to be in it.
    rules : str, optional
        ``"dcase2021"`` to ``"dcase2025"``. Recognised from the package if not given.
    clips : str, Path or sequence of str, optional
        Names of the evaluation clips, or the evaluation set's list of files with a column ``filename``. Without it
        they are ``0.wav`` and so on, as many as the year had; in 2025 they are not known, and only repetitions are
        found.

    Returns
    -------
    Validation

    Raises
    ------
    CoppiceError
        If the package cannot be opened or trusted (damaged, too large, paths outside its folder), or the rules are
        unknown.

    Examples
    --------
    >>> import tempfile
    >>> [str(problem) for problem in validate(tempfile.mkdtemp(), rules="dcase2024").problems]
    ['there is no system: expected task1/<label>/<label>.meta.yaml in the package.']
    """
    problems = Problems()
    with open_contents(path) as contents:
        chosen = rules_of(rules) if rules is not None else _recognised(contents)
        expected = _expected(clips, chosen)
        check = _check_inference_package if chosen.year == 2025 else _check_package
        systems = check(contents, chosen, expected, problems)
        return Validation(chosen, tuple(systems), len(contents.names), tuple(problems))


def _recognised(contents: Contents) -> Rules:
    names = contents.names
    if any(name.startswith("predictions/") or name.endswith("/resources/dummy.wav") for name in names):
        return rules_of("dcase2025")
    if any(".output.split_" in name for name in names):
        return rules_of("dcase2024")
    if any("task1a" in name for name in names):
        return rules_of("dcase2021")
    metas = b"".join(contents.read(name)[:200_000] for name in names if name.endswith(".meta.yaml"))
    if re.search(rb"(?m)^\s+split_\d+:", metas):
        return rules_of("dcase2024")
    if b"energy_consumption" in metas or b"total_model_size" in metas:
        return rules_of("dcase2023")
    if b"memory_use" in metas:
        return rules_of("dcase2022")
    raise CoppiceError(f"{contents.path} does not show which year it is for; say --rules dcase2024.")


def _expected(clips: str | Path | Sequence[str] | None, rules: Rules) -> list[str] | None:
    if clips is None:
        return None if rules.evaluation_clips is None else [f"{number}.wav" for number in range(rules.evaluation_clips)]
    if not isinstance(clips, str | Path):
        return [str(name).removeprefix("audio/") for name in clips]
    from coppice.datasets.csv_table import read_table

    table = read_table(Path(clips))
    if "filename" not in table:
        raise CoppiceError(f"{clips} has no column 'filename'; its columns are {', '.join(table.columns)}.")
    return [name.removeprefix("audio/") for name in table["filename"]]


def _check_package(contents: Contents, rules: Rules, expected: list[str] | None, problems: Problems) -> list[str]:
    task = rules.task
    folders: dict[str, list[str]] = {}
    for name in contents.names:
        parts = name.split("/")
        if len(parts) == 3 and parts[0] == task:
            folders.setdefault(parts[1], []).append(parts[2])
        elif not (len(parts) == 2 and parts[0] == task and name.endswith(_REPORT)):
            problems.add(name, None, f"this file does not belong in the package; systems are in {task}/<label>/.")
    if not folders:
        problems.add("", None, f"there is no system: expected {task}/<label>/<label>.meta.yaml in the package.")
    teams: dict[str, str] = {}
    for folder, files in folders.items():
        try:
            teams.setdefault(parse_label(folder, rules).team, folder)
        except CoppiceError as error:
            problems.add(f"{task}/{folder}", None, str(error))
        _check_system(contents, folder, files, rules, expected, problems)
    if len(teams) > 1:
        problems.add("", None, f"the labels name {len(teams)} teams: {', '.join(sorted(teams))}; one package has one.")
    return sorted(folders)


def _check_system(
    contents: Contents, folder: str, files: list[str], rules: Rules, expected: list[str] | None, problems: Problems
) -> None:
    ends = [f"output.split_{percent}.csv" for percent in rules.splits] or ["output.csv"]
    wanted = [f"{folder}.{end}" for end in ends] + [f"{folder}.meta.yaml"]
    # A file that is called otherwise is noted, and its content looked at all the same.
    for name in files:
        if name not in wanted and not name.endswith(_REPORT):
            kind = next((end for end in [*ends, "meta.yaml"] if name.endswith(f".{end}")), None)
            why = f"it should be called {folder}.{kind}" if kind else "no file of that name belongs to a system"
            problems.add(f"{rules.task}/{folder}/{name}", None, f"{why}.")
    for name in wanted:
        path = f"{rules.task}/{folder}/{name}"
        if name not in files:
            problems.add(path, None, "this file is missing.")
        elif name.endswith(".csv"):
            check_output(contents.read(path), path, expected, problems)
        else:
            check_meta(contents.read(path), path, folder, rules, problems)


def _check_inference_package(
    contents: Contents, rules: Rules, expected: list[str] | None, problems: Problems
) -> list[str]:
    labels: dict[str, Label] = {}
    for name in contents.names:
        parts = name.split("/")
        stem = parts[1] if parts[0] == "predictions" and len(parts) > 2 else Path(parts[-1]).stem
        if parts[0] != "predictions" and not (len(parts) == 2 and re.search(r"_task1_[^_]*\.py$", name)):
            continue
        if stem in labels:
            continue
        try:
            labels[stem] = parse_label(stem, rules)
        except CoppiceError as error:
            problems.add(name, None, str(error))
    if not labels and not list(problems):
        problems.add("", None, "there is no system: expected <Team>_task1/<Team>_task1_1.py in the package.")
    for label in labels.values():
        check_inference(contents, label, rules, problems)
        output = f"predictions/{label}/output.csv"
        if output in contents.names:
            check_output(contents.read(output), output, expected, problems)
        else:
            problems.add(output, None, "this file is missing.")
    return sorted(labels)

"""What only a person knows of a submission, from a small YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coppice.challenge.labels import Label, parse_label
from coppice.challenge.rules import Rules
from coppice.challenge.yaml_lines import LinedYaml, read_lined_yaml
from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors
from coppice.energy.energy import Energy, one_mode

_AUTHOR = ("lastname", "firstname", "email", "affiliation")
_AFFILIATION = ("abbreviation", "institute", "location")
_KNOWN = (
    "name",
    "abbreviation",
    "authors",
    "external_datasets",
    "source_code",
    "inference_code",
    "description",
    "complexity",
    "energy_consumption",
)


@dataclass(frozen=True)
class People:
    """The authors file.

    Attributes
    ----------
    name, abbreviation : str
        Of the system.
    authors : list of dict
        As in the meta file.
    external_datasets : list of dict
    source_code : str or None
        Address of the code.
    inference_code : str or None
        Address of the inference package, in 2025.
    description, complexity : dict
        Entries that override what is read off the runs.
    energy_consumption : dict
        kWh, in 2023; what the file does not give is what a run measured.
    team : str
        Last name and institute of the corresponding author, the beginning of the label.
    measured : tuple of str
        Which energies are the run's, as the file does not give them.
    """

    name: str
    abbreviation: str
    authors: list[dict[str, Any]]
    external_datasets: list[dict[str, Any]]
    source_code: str | None
    inference_code: str | None
    description: dict[str, Any]
    complexity: dict[str, Any]
    energy_consumption: dict[str, Any]
    team: str
    measured: tuple[str, ...] = ()

    def label(self, index: int, rules: Rules) -> Label:
        """Return the label of the team's system of this number.

        Raises
        ------
        CoppiceError
            If last name, institute or number cannot stand in a label.
        """
        return parse_label(f"{self.team}_{rules.task}_{index}", rules)


def read_people(path: str | Path, rules: Rules, *, measured: Mapping[str, Energy] | None = None) -> People:
    """Read the authors file; ask by name for all that is missing.

    Parameters
    ----------
    path : str or Path
        A YAML file with the keys ``name``, ``abbreviation``, ``authors`` (a list; exactly one with ``corresponding:
        true``; each with ``lastname``, ``firstname``, ``email`` and ``affiliation`` of ``abbreviation``, ``institute``
        and ``location``), ``external_datasets`` (may be empty) and ``source_code`` (may be null). In 2023 also
        ``energy_consumption`` with ``training``, ``inference`` and ``baseline_inference`` in kWh; in 2024
        ``description`` with ``split_adaptations`` and ``system_adaptations``; in 2025 ``inference_code``, an address.
        Other entries of ``description`` and ``complexity`` override what is read off the runs.
    rules : Rules
        Of the year.
    measured : mapping, optional
        What a run says of ``energy_consumption``, for what the file does not give.

    Raises
    ------
    CoppiceError
        If the file cannot be read or something in it is missing or unknown: everything at once. If the energies that
        are taken from the run were measured in different ways.
    """
    path = Path(path)
    with plain_os_errors("read the authors file", path):
        data = path.read_bytes()
    try:
        found = read_lined_yaml(data)
    except CoppiceError as error:
        raise CoppiceError(f"the authors file {path} cannot be read: {error}") from error
    value = found.value
    if not isinstance(value, dict):
        raise CoppiceError(f"the authors file {path} is no table; begin with 'name:', the name of the system.")
    for key in value:
        if key not in _KNOWN:
            raise CoppiceError(f"the authors file {path} has the key {key!r}. {did_you_mean(str(key), _KNOWN)}")
    measured = {name: one for name, one in (measured or {}).items() if _empty(found, "energy_consumption", name)}
    missing = _missing(found, rules, measured)
    if missing:
        raise CoppiceError(f"the authors file {path} lacks {', '.join(missing)}; only you know them.")
    _check_lists(found, path)
    corresponding = [one for one in value["authors"] if one.get("corresponding") is True]
    if len(corresponding) != 1:
        raise CoppiceError(
            f"the authors file {path} marks {len(corresponding)} authors with 'corresponding: true'; mark exactly one."
        )
    return People(
        name=str(value["name"]),
        abbreviation=str(value["abbreviation"]),
        authors=value["authors"],
        external_datasets=value["external_datasets"] or [],
        source_code=value["source_code"],
        inference_code=value.get("inference_code"),
        description=_table(found, "description", path),
        complexity=_table(found, "complexity", path),
        energy_consumption=_energy(_table(found, "energy_consumption", path), measured, path),
        team=f"{corresponding[0]['lastname']}_{corresponding[0]['affiliation']['abbreviation']}",
        measured=tuple(measured),
    )


def _check_lists(found: LinedYaml, path: Path) -> None:
    for name in ("authors", "external_datasets"):
        listed = found.get(name) or []
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise CoppiceError(
                f"the authors file {path}: {name} is {str(listed)[:40]!r}; list tables, as in '- name: x'."
            )


def _empty(found: LinedYaml, *path: str | int) -> bool:
    return found.get(*path) in (None, "", [], {})


def _energy(given: dict[str, Any], measured: Mapping[str, Energy], path: Path) -> dict[str, Any]:
    """Return kWh: what the file gives, and for the rest what was measured, if in one way."""
    if measured:
        try:
            one_mode(measured.values())
        except CoppiceError as error:
            names = ", ".join(measured)
            raise CoppiceError(f"{names} of the run: {error} Or give energy_consumption in {path}.") from error
    return {**{name: float(f"{one.energy_kwh:.6g}") for name, one in measured.items()}, **_given(given)}


def _given(table: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value not in (None, "")}


def _missing(found: LinedYaml, rules: Rules, measured: Mapping[str, Energy]) -> list[str]:
    def empty(*path: str | int) -> bool:
        return _empty(found, *path)

    missing = [name for name in ("name", "abbreviation", "authors") if empty(name)]
    missing += [name for name in ("external_datasets", "source_code") if not found.has(name)]
    authors = found.get("authors")
    for position in range(len(authors) if isinstance(authors, list) else 0):
        place = f"authors[{position + 1}]"
        missing += [f"{place}.{name}" for name in _AUTHOR if empty("authors", position, name)]
        if not empty("authors", position, "affiliation"):
            missing += [
                f"{place}.affiliation.{name}"
                for name in _AFFILIATION
                if empty("authors", position, "affiliation", name)
            ]
    asked = [name for name in ("split_adaptations", "system_adaptations") if name in rules.description]
    missing += [f"description.{name}" for name in asked if not found.has("description", name)]
    missing += [name for name in rules.system if empty(name)]
    energy = [name for name in rules.energy if empty("energy_consumption", name) and name not in measured]
    missing += [f"energy_consumption.{name} (kWh)" for name in energy]
    return missing


def _table(found: LinedYaml, name: str, path: Path) -> dict[str, Any]:
    value = found.get(name)
    if value is not None and not isinstance(value, dict):
        raise CoppiceError(f"the authors file {path}: {name} is {str(value)[:40]!r}; give keys with values below it.")
    return value or {}

"""The meta file of a system: every key of the year, values that can be, limits."""

import math
from collections.abc import Iterable
from typing import Any

from coppice.challenge.labels import parse_label
from coppice.challenge.problems import Problems
from coppice.challenge.rules import DEVICES, SCENES, Rules
from coppice.challenge.yaml_lines import LinedYaml, Path, read_lined_yaml
from coppice.core.errors import CoppiceError

MOST_ABBREVIATION = 10
_AUTHOR = ("lastname", "firstname", "email", "affiliation")
_AFFILIATION = ("abbreviation", "institute", "location")
_DATASET = ("name", "url", "total_audio_length")
# Overall accuracy is the mean of the classes' accuracies; both are rounded by hand at times.
_MEAN_TOLERANCE = 0.5


def check_meta(data: bytes, file: str, label: str, rules: Rules, problems: Problems) -> None:
    """Note everything that is wrong with a meta file.

    Beside what the official validators check (keys, label, abbreviation, corresponding author), these are checked:
    values that are numbers and within the limits of the year, keys inside ``split_*``, accuracies in percent that
    agree with each other, e-mail addresses, energy figures above 0.

    Parameters
    ----------
    data : bytes
        The file.
    file : str
        What it is called in the package.
    label : str
        The label that its name and folder give.
    rules : Rules
        Of the year.
    problems : Problems
        Where they are noted.
    """
    try:
        found = read_lined_yaml(data)
    except CoppiceError as error:
        problems.add(file, None, str(error))
        return
    _Meta(found, file, rules, problems).check(label)


class _Meta:
    def __init__(self, found: LinedYaml, file: str, rules: Rules, problems: Problems) -> None:
        self.found, self.file, self.rules, self.problems = found, file, rules, problems

    def check(self, label: str) -> None:
        for name, line in self.found.twice:
            self.problems.add(self.file, line, f"the key {name!r} stands twice.")
        if not self._is_table():
            return
        if self._keys((), ("submission", "system", "results")):
            self._submission(label)
            self._system()
            for place in self._result_places():
                self._results(place)

    def _say(self, message: str, *path: str | int) -> None:
        self.problems.add(self.file, self.found.line(*path), message)

    def _is_table(self, *path: str | int) -> bool:
        value = self.found.get(*path)
        if isinstance(value, dict):
            return True
        if self.found.has(*path) or not path:
            self._say(f"{_name(path) or 'the file'} is {_short(value)}; it holds keys with values below it.", *path)
        return False

    def _keys(self, path: Path, names: Iterable[str]) -> bool:
        """Note keys that are missing below a path; say whether the path is a table at all."""
        if not self._is_table(*path):
            return False
        for name in names:
            if not self.found.has(*path, name):
                self._say(f"the key {_name((*path, name))!r} is missing.", *path)
        return True

    def _text(self, *path: str | int) -> None:
        value = self.found.get(*path)
        if self.found.has(*path) and not (isinstance(value, str | int | float) and str(value).strip()):
            self._say(f"{_name(path)} is {_short(value)}; give text.", *path)

    def _submission(self, label: str) -> None:
        top: Path = ("submission",)
        if not self._keys(top, ("label", "name", "abbreviation", "authors")):
            return
        if self.found.has(*top, "label"):
            given = self.found.get(*top, "label")
            try:
                parse_label(given, self.rules)
            except CoppiceError as error:
                self._say(str(error), *top, "label")
            if given != label:
                self._say(f"label is {_short(given)}, but file and folder are called {label!r}.", *top, "label")
        self._text(*top, "name")
        self._text(*top, "abbreviation")
        short = self.found.get(*top, "abbreviation")
        if short is not None and len(str(short)) > MOST_ABBREVIATION:
            self._say(
                f"abbreviation {_short(short)} has {len(str(short))} characters; use at most {MOST_ABBREVIATION}.",
                *top,
                "abbreviation",
            )
        if self.found.has(*top, "authors"):
            self._authors((*top, "authors"))

    def _authors(self, path: Path) -> None:
        authors = self.found.get(*path)
        if not isinstance(authors, list) or not authors:
            self._say(f"authors is {_short(authors)}; list at least one.", *path)
            return
        for position in range(len(authors)):
            one = (*path, position)
            if not self._keys(one, _AUTHOR):
                continue
            for name in ("lastname", "firstname", "email"):
                self._text(*one, name)
            email = self.found.get(*one, "email")
            if isinstance(email, str) and not ("@" in email[1:-1] and " " not in email.strip()):
                self._say(f"email {_short(email)} is no address.", *one, "email")
            if self.found.has(*one, "affiliation") and self._keys((*one, "affiliation"), _AFFILIATION):
                for name in _AFFILIATION:
                    self._text(*one, "affiliation", name)
            mark = self.found.get(*one, "corresponding")
            if mark is not None and not isinstance(mark, bool):
                self._say(f"corresponding is {_short(mark)}; write true.", *one, "corresponding")
        corresponding = sum(isinstance(one, dict) and one.get("corresponding") is True for one in authors)
        if corresponding != 1:
            self._say(f"{corresponding} authors have 'corresponding: true'; exactly one has to.", *path)

    def _system(self) -> None:
        top: Path = ("system",)
        energy = ("energy_consumption",) if self.rules.energy else ()
        if not self._keys(
            top, (*self.rules.system, "description", "complexity", "external_datasets", "source_code", *energy)
        ):
            return
        for name in self.rules.system:
            self._text(*top, name)
        if self.found.has(*top, "description"):
            self._keys((*top, "description"), self.rules.description)
        if self.found.has(*top, "complexity") and self._keys((*top, "complexity"), self.rules.complexity):
            self._complexity((*top, "complexity"))
        if self.found.has(*top, "external_datasets"):
            self._datasets((*top, "external_datasets"))
        if energy and self.found.has(*top, *energy) and self._keys((*top, *energy), self.rules.energy):
            for name in self.rules.energy:
                path = (*top, *energy, name)
                if self.found.has(*path) and not _is_number(self.found.get(*path), above=0):
                    self._say(f"{_name(path)} is {_short(self.found.get(*path))}; give kWh above 0.", *path)

    def _complexity(self, path: Path) -> None:
        for name in self.rules.complexity:
            if not self.found.has(*path, name):
                continue
            value = self.found.get(*path, name)
            if name == "model_size" and _is_number(value, above=0):
                continue
            if isinstance(value, bool) or not _is_number(value, above=0) or int(value) != value:
                self._say(f"{name} is {_short(value)}; give a whole number above 0.", *path, name)
        most = {limit.name: limit.most for limit in self.rules.limits}
        names = {"total_model_size": "size_bytes", "macs": "macs"}
        if "params" in most:
            names["total_parameters"] = "params"
        for name, limit in names.items():
            value, bound = self.found.get(*path, name), most.get(limit)
            if bound is not None and _is_number(value) and value > bound:
                self._say(f"{name} is {value:,}; the rules of {self.rules.year} allow {bound:,}.", *path, name)
        size = self.found.get(*path, "model_size")
        if "nonzero_bytes" in most and _is_number(size) and size > 128:
            self._say(f"model_size is {size:g} KB; the rules of {self.rules.year} allow 128.", *path, "model_size")
        total, kept = (self.found.get(*path, f"total_parameters{end}") for end in ("", "_non_zero"))
        if _is_number(total) and _is_number(kept) and kept > total:
            self._say(f"total_parameters_non_zero {kept:,} is more than total_parameters {total:,}.", *path)
        stored = self.found.get(*path, "total_model_size")
        if _is_number(total) and _is_number(stored) and 0 < 8 * stored < total:
            self._say(
                f"total_model_size is {stored:,} for {total:,} parameters, less than a bit each; give bytes.",
                *path,
                "total_model_size",
            )

    def _datasets(self, path: Path) -> None:
        listed = self.found.get(*path)
        if listed is None:
            return
        if not isinstance(listed, list):
            self._say(f"external_datasets is {_short(listed)}; give a list, empty where none was used.", *path)
            return
        for position in range(len(listed)):
            self._keys((*path, position), _DATASET)

    def _result_places(self) -> list[Path]:
        top: Path = ("results", "development_dataset")
        if not self._keys(("results",), ("development_dataset",)) or not self._is_table(*top):
            return []
        if not self.rules.results:
            return [top]
        self._keys(top, self.rules.results)
        return [(*top, name) for name in self.rules.results if self.found.has(*top, name)]

    def _results(self, path: Path) -> None:
        if not self._keys(path, ("overall", "class_wise", "device_wise")):
            return
        places = [(*path, "overall")]
        for part, names in (("class_wise", SCENES), ("device_wise", DEVICES)):
            if self.found.has(*path, part) and self._keys((*path, part), names):
                places += [(*path, part, name) for name in names]
        for place in places:
            if not self.found.has(*place) or not self._keys(place, ("accuracy", "logloss")):
                continue
            for name, most in (("accuracy", 100.0), ("logloss", math.inf)):
                value = self.found.get(*place, name)
                if value is None and self.rules.partial_results:
                    continue
                if self.found.has(*place, name) and not (_is_number(value, least=0) and value <= most):
                    unit = "percent from 0 to 100" if name == "accuracy" else "nats from 0"
                    self._say(f"{_name((*place, name))} is {_short(value)}; give {unit}.", *place, name)
        self._agreement(path)

    def _agreement(self, path: Path) -> None:
        overall = self.found.get(*path, "overall", "accuracy")
        classes = [self.found.get(*path, "class_wise", scene, "accuracy") for scene in SCENES]
        if not all(_is_number(value, least=0) and value <= 100 for value in (overall, *classes)):
            return
        if max(overall, *classes) <= 1:
            self._say(f"the accuracies below {_name(path)} are at most 1; they are in percent.", *path, "overall")
            return
        mean = sum(classes) / len(classes)
        if abs(mean - overall) > _MEAN_TOLERANCE:
            self._say(
                f"the overall accuracy {overall:g} is not the mean {mean:.2f} of those of the classes.",
                *path,
                "overall",
                "accuracy",
            )


def _is_number(value: Any, *, least: float = -math.inf, above: float = -math.inf) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= least and (above == -math.inf or value > above)


def _name(path: Path) -> str:
    return ".".join(str(part) if isinstance(part, str) else str(part + 1) for part in path)


def _short(value: Any) -> str:
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

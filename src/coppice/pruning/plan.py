"""The pruning plan: which filters of which layers stay. Pure data, JSON both ways."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors, write_text

VERSION = 2  # version 1 had neither decided_by nor remarks


@dataclass(frozen=True)
class LayerPlan:
    """What one layer keeps.

    Attributes
    ----------
    name : str
        Dotted name of a convolution or linear layer.
    filters : int >= 1
        How many filters it has before the cut.
    keep : tuple of int
        Indices that stay, ascending, each once, at least one.
    coupled : tuple of str
        Other layers that lose the filters coupled to these; they need no entry of their own.

    Raises
    ------
    CoppiceError
        If anything of this does not hold.

    Examples
    --------
    >>> LayerPlan("conv2", filters=4, keep=(0, 3)).removed
    (1, 2)
    """

    name: str
    filters: int
    keep: tuple[int, ...]
    coupled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise CoppiceError(f"a layer in the plan is called {self.name!r}; give its dotted name, such as 'conv2'.")
        if not _is_whole(self.filters) or self.filters < 1:
            raise CoppiceError(f"{self.name!r} has {self.filters!r} filters in the plan; give a whole number from 1.")
        if not isinstance(self.keep, tuple) or not all(_is_whole(index) for index in self.keep):
            raise CoppiceError(f"{self.name!r} keeps {_short(self.keep)} in the plan; give whole numbers.")
        if not self.keep:
            raise CoppiceError(f"{self.name!r} keeps no filter in the plan; a layer must keep at least one.")
        seen: set[int] = set()
        for index in self.keep:
            if not 0 <= index < self.filters:
                raise CoppiceError(
                    f"{self.name!r} keeps filter {_short(index)} in the plan but has filters 0 to "
                    f"{_short(self.filters - 1)}."
                )
            if index in seen:
                raise CoppiceError(f"{self.name!r} keeps filter {index} twice in the plan; name each filter once.")
            seen.add(index)
        if list(self.keep) != sorted(self.keep):
            raise CoppiceError(f"{self.name!r} keeps {_short(self.keep)} in the plan; sort the indices ascending.")
        if not isinstance(self.coupled, tuple) or not all(isinstance(name, str) for name in self.coupled):
            raise CoppiceError(f"{self.name!r} is coupled to {_short(self.coupled)} in the plan; give layer names.")
        if len({self.name, *self.coupled}) < 1 + len(self.coupled):
            raise CoppiceError(f"{self.name!r} is coupled to {list(self.coupled)} in the plan; name each layer once.")

    @property
    def removed(self) -> tuple[int, ...]:
        """Indices that go, ascending."""
        kept = set(self.keep)
        return tuple(index for index in range(self.filters) if index not in kept)


@dataclass(frozen=True)
class PruningPlan:
    """Which filters of which layers stay; layers that are not named lose nothing of their own accord.

    Attributes
    ----------
    criterion : str or None
        Which criterion chose; None when someone else did.
    layers : tuple of LayerPlan
        In the order in which the layers run. Coupled layers stand with the one that was decided on.
    decided_by : str or None
        What was asked for, and how filters of different layers were compared.
    remarks : tuple of str
        What came out, in sentences: costs before and after, layers that decide for others, what gains nothing.
    version : int
        Version of the format.

    Raises
    ------
    CoppiceError
        If a layer stands in it twice, or as its own entry and as coupled to another.

    Examples
    --------
    >>> plan = PruningPlan("l1", (LayerPlan("conv2", 4, (0, 3)),))
    >>> PruningPlan.from_json(plan.to_json()) == plan
    True
    """

    criterion: str | None
    layers: tuple[LayerPlan, ...]
    decided_by: str | None = None
    remarks: tuple[str, ...] = ()
    version: int = VERSION

    def __post_init__(self) -> None:
        if not _is_whole(self.version) or self.version != VERSION:
            raise CoppiceError(f"the plan has version {self.version!r}; this coppice writes version {VERSION}.")
        if self.criterion is not None and not isinstance(self.criterion, str):
            raise CoppiceError(f"the plan's criterion is {_short(self.criterion)}; give a name or null.")
        if self.decided_by is not None and not isinstance(self.decided_by, str):
            raise CoppiceError(f"the plan's decided_by is {_short(self.decided_by)}; give text or null.")
        if not isinstance(self.remarks, tuple) or not all(isinstance(remark, str) for remark in self.remarks):
            raise CoppiceError(f"the plan's remarks are {_short(self.remarks)}; give a list of texts.")
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise CoppiceError(f"{layer.name!r} stands twice in the plan; name each layer once.")
            seen.add(layer.name)
        for layer in self.layers:
            for name in layer.coupled:
                if name in seen:
                    raise CoppiceError(
                        f"{name!r} stands in the plan twice: on its own and coupled to {layer.name!r}; drop its entry."
                    )

    def keep(self, name: str) -> tuple[int, ...] | None:
        """Return the filters that a layer keeps; None when it has no entry of its own."""
        return next((layer.keep for layer in self.layers if layer.name == name), None)

    def to_json(self) -> str:
        """Return the plan as JSON text, one line per layer."""
        rows = [
            json.dumps(
                {
                    "name": layer.name,
                    "filters": layer.filters,
                    "keep": list(layer.keep),
                    "coupled": list(layer.coupled),
                },
                ensure_ascii=False,
            )
            for layer in self.layers
        ]
        body = "[\n    " + ",\n    ".join(rows) + "\n  ]" if rows else "[]"
        said = [
            f'"{name}": {json.dumps(getattr(self, name), ensure_ascii=False)}' for name in ("criterion", "decided_by")
        ]
        remarks = ",".join(f"\n    {json.dumps(remark, ensure_ascii=False)}" for remark in self.remarks)
        said += [f'"layers": {body}', f'"remarks": [{remarks}\n  ]' if remarks else '"remarks": []']
        return f'{{\n  "version": {self.version},\n  ' + ",\n  ".join(said) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "PruningPlan":
        """Read a plan from JSON text.

        Raises
        ------
        CoppiceError
            If it is not JSON or not a plan; the message says which entry is wrong.
        """
        try:
            value = json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise CoppiceError(f"the plan is not valid JSON: {error}.") from error
        return cls.from_data(value)

    @classmethod
    def from_data(cls, value: Any) -> "PruningPlan":
        """Read a plan from what a JSON parser returns.

        Raises
        ------
        CoppiceError
            If anything is missing, unknown, of the wrong type or contradictory.
        """
        known = {"version", "criterion", "decided_by", "layers", "remarks"}
        fields = _fields(value, "the plan", known, optional={"criterion", "decided_by", "remarks"})
        if not _is_whole(fields["version"]) or not 1 <= fields["version"] <= VERSION:
            raise CoppiceError(f"the plan has version {_short(fields['version'])}; this coppice reads up to {VERSION}.")
        rows = _list(fields["layers"], "the plan's layers")
        layers = []
        for row in rows:
            entry = _fields(row, "a layer in the plan", {"name", "filters", "keep", "coupled"}, optional={"coupled"})
            name = entry["name"]
            keep = tuple(_list(entry["keep"], f"what {name!r} keeps"))
            coupled = tuple(_list(entry.get("coupled", []), f"what {name!r} is coupled to"))
            layers.append(LayerPlan(name, entry["filters"], keep, coupled))
        remarks = tuple(_list(fields.get("remarks", []), "the plan's remarks"))
        return cls(fields.get("criterion"), tuple(layers), fields.get("decided_by"), remarks)

    def save(self, path: Path | str) -> None:
        """Write the plan as a JSON file; it appears whole or not at all."""
        write_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> "PruningPlan":
        """Read a plan from a JSON file.

        Raises
        ------
        CoppiceError
            If the file cannot be read or holds no valid plan.
        """
        path = Path(path)
        with plain_os_errors("read the plan", path):
            data = path.read_bytes()
        try:
            return cls.from_json(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise CoppiceError(f"{path} is not a plan: it is not UTF-8 text.") from error
        except CoppiceError as error:
            raise CoppiceError(f"{path} cannot be used: {error}") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else text[:77] + "..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise CoppiceError(f"the plan has the entry {_short(twice)} twice in one object; write it once.")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise CoppiceError(f"{what} is {_short(value)}; give a list.")
    return value


def _fields(value: Any, what: str, known: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CoppiceError(f"{what} is {_short(value)}; give an object with {', '.join(sorted(known))}.")
    for name in known - optional - value.keys():
        raise CoppiceError(f"{what} has no {name!r}; it needs {', '.join(sorted(known - optional))}.")
    for name in value.keys() - known:
        raise CoppiceError(f"{what} has an unknown entry {_short(name)}; known are {', '.join(sorted(known))}.")
    return value

"""YAML of which every key knows its line."""

from dataclasses import dataclass
from typing import Any

import yaml

from coppice.core.errors import CoppiceError

MOST_BYTES = 200_000
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class LinedYaml:
    """A YAML document.

    Attributes
    ----------
    value : Any
        As a safe loader reads it.
    lines : dict
        Path of keys and positions -> line, from 1.
    twice : tuple of (str, int)
        Keys that stand twice in a mapping, and where.
    """

    value: Any
    lines: dict[Path, int]
    twice: tuple[tuple[str, int], ...]

    def line(self, *path: str | int) -> int:
        """Return the line of a key, or of the nearest one around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def get(self, *path: str | int) -> Any:
        """Return what stands under a path, None where there is nothing."""
        value = self.value
        for part in path:
            is_there = isinstance(value, dict) or (isinstance(value, list) and isinstance(part, int))
            try:
                value = value[part] if is_there else None
            except (KeyError, IndexError):
                return None
        return value

    def has(self, *path: str | int) -> bool:
        """Say whether a key is there, be its value null."""
        return path in self.lines


def read_lined_yaml(data: bytes) -> LinedYaml:
    r"""Read a small YAML document without aliases.

    Raises
    ------
    CoppiceError
        If it is too large, not YAML, uses aliases (a few lines of which can stand for billions of values) or is
        nested too deeply.

    Examples
    --------
    >>> found = read_lined_yaml(b"submission:\n  label: A_B_task1_1\n  authors: [{lastname: A}]\n")
    >>> found.get("submission", "label"), found.line("submission", "authors", 0, "lastname")
    ('A_B_task1_1', 3)
    """
    if len(data) > MOST_BYTES:
        raise CoppiceError(f"it has {len(data):,} bytes; a YAML file here has at most {MOST_BYTES:,}.")
    try:
        text = data.decode("utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise CoppiceError("it uses YAML aliases (*name); write values out.")
        lines: dict[Path, int] = {}
        twice: list[tuple[str, int]] = []
        root = yaml.compose(text, yaml.SafeLoader)
        if root is not None:
            _walk(root, (), lines, twice)
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" on line {mark.line + 1}" if mark else ""
        raise CoppiceError(f"it is not valid YAML: {error.problem or 'an error'}{place}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CoppiceError(f"it is not valid YAML ({str(error)[:100] or type(error).__name__}).") from error
    return LinedYaml(value, lines, tuple(twice))


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], twice: list[tuple[str, int]]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            if (*path, name) in lines:
                twice.append((name, key.start_mark.line + 1))
            lines[(*path, name)] = key.start_mark.line + 1
            _walk(value, (*path, name), lines, twice)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            lines[(*path, position)] = value.start_mark.line + 1
            _walk(value, (*path, position), lines, twice)

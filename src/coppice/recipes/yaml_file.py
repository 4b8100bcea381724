"""YAML files that people write: read with care, changed by ``--set``; what is wrong with one in a sentence."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.files import plain_os_errors
from coppice.core.units import bytes_text

MOST_BYTES, MOST_VALUES, MOST_LEVELS = 1_000_000, 10_000, 20

# What pydantic writes for programmers, said plainly; and what it puts into a place that is no key.
_PLAIN = {
    "model_type": "give keys with values below it",
    "dict_type": "give keys with values below it",
    "list_type": "give a list",
    "too_short": "give at least one",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "string_type": "give text",
    "string_pattern_mismatch": "use at most 64 letters, digits, '.', '_' and '-', and begin with a letter or digit",
}
_NO_PLACES = {"[key]", "dict[str,float]", "float"}


class _Loader(yaml.SafeLoader):
    """YAML whose mappings name every key once; otherwise the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                twice = f"the key {key.value!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, twice, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, what: str, *, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file that holds keys and values.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it should be, for messages: ``"recipe"``.
    changes : sequence of str
        See :func:`apply_change`.

    Raises
    ------
    CoppiceError
        If the file cannot be read, is not YAML, names a key twice, or stands for too many values.
    """
    with plain_os_errors(f"read the {what}", path):
        if path.stat().st_size > MOST_BYTES:
            raise CoppiceError(f"{path} is not a {what}: it is larger than {bytes_text(MOST_BYTES)}.")
        data = path.read_bytes()
    try:
        value = yaml.load(data, _Loader)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = re.sub(r"\s+", " ", str(error).replace(' in "<byte string>"', ""))
        raise CoppiceError(f"{path} is not a {what}: it is not valid YAML ({reason}).") from error
    if not isinstance(value, dict):
        raise CoppiceError(f"{path} is not a {what}: it should be a mapping that begins with 'name:'.")
    for change in changes:
        apply_change(value, change)
    _check_size(value, path, what)
    return value


def apply_change(values: dict[str, Any], change: str, *, example: str = "training.epochs=50") -> None:
    """Apply ``"key.subkey=value"`` to a mapping in place; the value is read as YAML.

    Parameters
    ----------
    values : dict
    change : str
    example : str
        For the message that says what would do.

    Raises
    ------
    CoppiceError
        If it is not of that form, or the key leads through something that holds no keys.

    Examples
    --------
    >>> recipe = {"name": "mine"}
    >>> apply_change(recipe, "training.learning_rate=1e-4")
    >>> recipe
    {'name': 'mine', 'training': {'learning_rate': 0.0001}}
    """
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise CoppiceError(f"--set {change!r} is not KEY=VALUE; write for example --set {example}.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CoppiceError(f"--set {change!r}: {text!r} is not a YAML value.") from error
    if isinstance(value, str):
        value = _number(value)
    blocked = put(values, key.strip(), value)
    if blocked is not None:
        raise CoppiceError(f"--set {change!r}: {blocked!r} holds a value, not keys.")


def put(values: dict[str, Any], key: str, value: Any) -> str | None:
    """Put a value under a dotted key, in place; return the part of the key that holds no keys, if one does not.

    Examples
    --------
    >>> recipe = {"name": "mine"}
    >>> put(recipe, "training.epochs", 5), recipe["training"]
    (None, {'epochs': 5})
    >>> put(recipe, "name.first", 5)
    'name'
    """
    *parents, last = key.split(".")
    place: Any = values
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            return parent
    place[last] = value
    return None


def _number(text: str) -> str | float:
    # YAML 1.1 reads 1e-3 as text; people who write it mean a number.
    try:
        return float(text) if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text) else text
    except ValueError:
        return text


def _check_size(mapping: dict[str, Any], path: Path, what: str) -> None:
    # A few lines of YAML aliases can stand for billions of values, or for one that holds itself.
    waiting: list[tuple[Any, int]] = [(mapping, 0)]
    for _ in range(MOST_VALUES):
        value, depth = waiting.pop()
        if depth > MOST_LEVELS:
            raise CoppiceError(f"{path} is not a {what}: its values are nested more than {MOST_LEVELS} deep.")
        if isinstance(value, dict | list):
            inside = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(part, depth + 1) for part in inside]
        if not waiting:
            return
    raise CoppiceError(f"{path} is not a {what}: it stands for more than {MOST_VALUES} values.")


def sentence(what: str, error: ValidationError, siblings: Callable[[tuple[int | str, ...]], list[str]]) -> str:
    """Say in one sentence what is wrong first, and how much more there is.

    Parameters
    ----------
    what : str
        What was checked, such as ``"recipe esc10.yaml"``.
    error : ValidationError
        What pydantic found.
    siblings : callable
        Takes the place of an unknown key; returns the keys that are known there.
    """
    # Of a value that may be a mapping or a number, pydantic says both; the one that was meant is enough.
    errors = [
        one
        for one in error.errors()
        if one["loc"][-1:] != ("dict[str,float]",)
        and not (one["loc"][-1:] == ("float",) and isinstance(one["input"], dict))
    ]
    # A misspelt key is unknown, and the right one is missing: the first of the two says what to do.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    misspelt = first["type"] == "extra_forbidden"
    twins = [one for one in errors if misspelt and one["type"] == "missing" and one["loc"][:-1] == first["loc"][:-1]]
    more = len(errors) - 1 - len(twins)
    tail = f" ({more} more to correct after this.)" if more else ""
    place = tuple(part for part in first["loc"] if str(part) not in _NO_PLACES)
    where = ".".join(str(part) for part in place)
    if misspelt:
        hint = did_you_mean(str(place[-1]), siblings(place))
        return f"{what} has no key {where!r}. {hint}{tail}"
    if first["type"] == "missing":
        return f"{what} lacks the key {where!r}.{tail}"
    message = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    message = message[0].lower() + message[1:]
    valueless = first["type"] == "invalid_key" or isinstance(first["input"], dict | BaseModel)
    end = "" if message.endswith((".", "?")) else "."
    shown = f" is {_short(first['input'])}" if where and not valueless else ""
    return f"{what}: {where + shown + ': ' if where else ''}{message}{end}{tail}"


def _short(value: Any) -> str:
    text = "empty" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

"""The inference package of 2025: an importable module with four functions, complexity within the limits."""

import ast
import json
from typing import Any

from coppice.challenge.contents import Contents
from coppice.challenge.labels import Label
from coppice.challenge.meta_check import check_meta
from coppice.challenge.problems import Problems
from coppice.challenge.rules import DEVICES_2025, MOST_BYTES, MOST_MACS, Rules

# What the test scripts of CPJKU/dcase2025_task1_inference call, and the arguments by name.
FUNCTIONS = {
    "predict": ("file_paths", "device_ids", "model_file_path", "use_cuda"),
    "load_model": (),
    "load_inputs": ("file_paths", "device_ids", "model"),
    "get_model_for_device": ("model", "device_id"),
}


def check_inference(contents: Contents, label: Label, rules: Rules, problems: Problems) -> None:
    """Note everything that is wrong with one system of an inference package, whose code is read and never run.

    Parameters
    ----------
    contents : Contents
        The package.
    label : Label
        Of the system.
    rules : Rules
        Of the year.
    problems : Problems
        Where they are noted.
    """
    package = f"{label.team}_{label.task}"
    module = f"{package}/{label}.py"
    for name in (f"{package}/__init__.py", module, f"{package}/resources/dummy.wav", f"{package}/resources/test.csv"):
        if name not in contents.names:
            problems.add(name, None, "this file is missing.")
    if not any(name in contents.names for name in ("setup.py", "pyproject.toml")):
        problems.add("pyproject.toml", None, "this file, or setup.py, is missing; the package has to be installable.")
    if module in contents.names:
        _check_module(contents.read(module), module, problems)
    complexity = f"predictions/{label}/complexity.json"
    if complexity not in contents.names:
        problems.add(complexity, None, "this file is missing.")
    else:
        _check_complexity(contents.read(complexity), complexity, problems)
    accuracy = f"predictions/{label}/test_accuracy.json"
    if accuracy in contents.names:
        found = _json(contents.read(accuracy), accuracy, problems)
        value = found.get("Test Accuracy") if isinstance(found, dict) else None
        if found is not None and not (isinstance(value, int | float) and 0 <= value <= 100):
            problems.add(accuracy, None, f"'Test Accuracy' is {value!r}; give percent from 0 to 100.")
    # The task does not say where in the package it stands.
    metas = [name for name in contents.names if name.rpartition("/")[2] == f"{label}.meta.yaml"]
    if not metas:
        problems.add(f"predictions/{label}/{label}.meta.yaml", None, "this file is missing.")
    for name in metas:
        check_meta(contents.read(name), name, str(label), rules, problems)


def _check_module(data: bytes, file: str, problems: Problems) -> None:
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problems.add(file, getattr(error, "lineno", None), f"this is no Python: {str(error)[:80]}.")
        return
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, arguments in FUNCTIONS.items():
        if name not in found:
            problems.add(file, None, f"the function {name} is missing; the evaluation calls it.")
            continue
        given = found[name].args
        names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        for argument in arguments:
            if argument not in names and given.kwarg is None:
                problems.add(
                    file, found[name].lineno, f"{name} takes no argument {argument!r}; the evaluation gives it."
                )


def _check_complexity(data: bytes, file: str, problems: Problems) -> None:
    found = _json(data, file, problems)
    if found is None:
        return
    devices = found.get("per_device") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(devices, dict):
        problems.add(file, None, "it lacks 'per_device', with MACs and Params for each recording device.")
        return
    for device in DEVICES_2025:
        if device not in devices:
            problems.add(file, None, f"'per_device' lacks the device {device!r}.")
    for key, most in (("MACs", MOST_MACS), ("Params", MOST_BYTES)):
        values = {}
        for device, figures in devices.items():
            value = figures.get(key) if isinstance(figures, dict) else None
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                problems.add(file, None, f"{key} of device {device!r} is {value!r}; give a whole number above 0.")
            else:
                values[device] = value
                if value > most:
                    problems.add(file, None, f"{key} of device {device!r} is {value:,}; the rules allow {most:,}.")
        if values and found.get(f"max_{key}") != max(values.values()):
            problems.add(
                file, None, f"max_{key} is {found.get(f'max_{key}')!r}, but the largest is {max(values.values())}."
            )


def _json(data: bytes, file: str, problems: Problems) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        problems.add(file, getattr(error, "lineno", None), f"this is not valid JSON: {str(error)[:80]}.")
        return None

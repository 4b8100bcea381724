"""A criterion in a module of the user's own, by ``package.module:function``."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coppice.core.errors import CoppiceError, did_you_mean


def import_function(path: str) -> Callable[..., Any]:
    """Return the function that ``package.module:function`` names; the current folder is searched first.

    Importing a module runs it: name only modules that you trust.

    Raises
    ------
    CoppiceError
        If the path is not of that form, there is no such module or function, or importing it fails.

    Examples
    --------
    >>> import_function("coppice.criteria.l1:l1").__name__
    'l1'
    >>> import_function("coppice.criteria.l1:l")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there is no function 'l' in coppice.criteria.l1. Did you mean 'l1'?
    """
    module_name, _, function_name = path.partition(":")
    if not (module_name and function_name):
        raise CoppiceError(f"{path!r} is not package.module:function; write for example mycriteria:heaviest.")
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except CoppiceError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and module_name.startswith(str(error.name)):
            raise CoppiceError(
                f"there is no module {module_name!r} in the current folder or in the environment of coppice."
            ) from error
        raise CoppiceError(f"importing {module_name!r} fails: {type(error).__name__}: {error}.") from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise CoppiceError(
            f"there is no function {function_name!r} in {module_name}. {did_you_mean(function_name, own)}"
        )
    found: Callable[..., Any] = function
    return found

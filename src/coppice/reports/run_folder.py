"""Which of the two kinds of folder a report is asked for."""

import json
from pathlib import Path


def is_cross_validation(folder: Path) -> bool:
    """Tell whether a folder's summary is that of a cross-validation.

    Examples
    --------
    >>> is_cross_validation(Path("nowhere"))
    False
    """
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False  # reading it as a run says what is wrong with it
    return isinstance(summary, dict) and summary.get("kind") == "cross_validation"

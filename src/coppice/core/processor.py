"""The processor this runs on."""

import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's name as the system gives it.

    Examples
    --------
    >>> processor() != ""
    True
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

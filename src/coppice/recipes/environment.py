"""What a run ran on, for its record."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch

from coppice import __version__
from coppice.core.processor import processor
from coppice.native.tensors import compiles
from coppice.native.toolchain import compiler
from coppice.training.devices.machines import ONE_DEVICE, Machines
from coppice.training.precision import choose_precision

_PACKAGES = ("torch", "lightning", "numpy", "pandas", "scikit-learn", "soundfile", "soxr", "safetensors", "altair")


def environment(precision: str = "auto", machines: Machines = ONE_DEVICE) -> dict[str, str]:
    """Return versions, processor, threads and arithmetic as text; and the devices of the fits, where there are several.

    Examples
    --------
    >>> "torch" in environment()
    True
    """
    chosen = choose_precision(precision)
    facts = {
        "coppice": __version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "C library": " ".join(platform.libc_ver()).strip() or "unknown",
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "training arithmetic": f"{chosen.name} ({chosen.reason})",
        "training layers": _layers(),
        "evaluation arithmetic": "float32, scores in float64",
    }
    if machines.processes > 1:
        where = f" on each of {machines.num_nodes} machines" if machines.num_nodes > 1 else ""
        facts["training devices"] = f"{machines.devices}{where}"
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not found"
    return facts


def _layers() -> str:
    if not compiles():
        return "PyTorch's, as there is no C compiler here that makes quicker ones"
    return f"Winograd's convolutions and our own batch normalisation where they are quicker ({compiler().version})"

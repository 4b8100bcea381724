"""Where a fit runs: on how many devices of how many machines."""

import os
from dataclasses import dataclass

from joblib import cpu_count

from coppice.core.errors import CoppiceError

_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


@dataclass(frozen=True)
class Machines:
    """Devices that share every batch of a fit.

    Where a fit runs is not part of what it is: the numbers are the same up to rounding, and a fit that was interrupted
    goes on with another number of devices.

    Attributes
    ----------
    devices : int >= 1
        GPUs of each machine; where there is no GPU, processes that divide its cores.
    num_nodes : int >= 1
        Machines. From two on, ``MASTER_ADDR`` and ``MASTER_PORT`` say where the first one is reached, and ``NODE_RANK``
        which one this is, from 0.

    Raises
    ------
    CoppiceError
        If a value is impossible.

    Examples
    --------
    >>> Machines(devices=2).processes
    2
    >>> Machines(devices=0)
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: devices is 0; give a whole number from 1 upwards.
    """

    devices: int = 1
    num_nodes: int = 1

    def __post_init__(self) -> None:
        for name in ("devices", "num_nodes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise CoppiceError(f"{name} is {value!r}; give a whole number from 1 upwards.")

    @property
    def processes(self) -> int:
        """How many share a batch."""
        return self.devices * self.num_nodes

    @property
    def node(self) -> int:
        """Which machine this is, from 0."""
        return int(os.environ["NODE_RANK"]) if self.num_nodes > 1 else 0

    @property
    def leads(self) -> bool:
        """Whether this is the machine that carries out the call, and writes; the others only help."""
        said = os.environ.get("NODE_RANK", "")
        return self.num_nodes == 1 or (said.isdecimal() and int(said) == 0)

    @property
    def address(self) -> tuple[str, int]:
        """Where the first of several machines is reached."""
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])

    def check(self, batch_size: int | None = None) -> None:
        """Refuse what this machine does not have.

        Parameters
        ----------
        batch_size : int, optional
            Of the fit.

        Raises
        ------
        CoppiceError
            If there are fewer devices, if the variables that lead machines to each other are missing or impossible, or
            if a batch has fewer clips than there are processes.
        """
        if self.processes == 1:
            return
        if batch_size is not None and batch_size < self.processes:
            raise CoppiceError(
                f"batch_size is {batch_size}, which {self.processes} processes cannot share; give a batch_size of at "
                f"least {self.processes}, or fewer devices."
            )
        there, what = devices_here()
        if self.devices > there:
            raise CoppiceError(f"devices is {self.devices} but this machine has {what}; give at most {there}.")
        if self.num_nodes > 1:
            self._check_variables()

    def _check_variables(self) -> None:
        missing = [name for name in _VARIABLES if not os.environ.get(name)]
        if missing:
            raise CoppiceError(
                f"num_nodes is {self.num_nodes} but the environment lacks {', '.join(missing)}; set MASTER_ADDR and "
                "MASTER_PORT to where the first machine is reached, the same on all, and NODE_RANK to 0 there, 1 on "
                "the second, and so on."
            )
        for name, most in (("MASTER_PORT", 65535), ("NODE_RANK", self.num_nodes - 1)):
            said, least = os.environ[name], 1 if name == "MASTER_PORT" else 0
            if not said.isdecimal() or not least <= int(said) <= most:
                raise CoppiceError(f"{name} is {said!r}; give a whole number from {least} to {most}.")


ONE_DEVICE = Machines()


def devices_here() -> tuple[int, str]:
    """Return how many devices this machine has for a fit, and what they are.

    Examples
    --------
    >>> devices_here()[0] >= 1
    True
    """
    import torch

    if torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        return gpus, f"{gpus} GPU{'s' if gpus > 1 else ''}"
    cores = cpu_count()
    return cores, f"{cores} core{'s' if cores > 1 else ''} and no GPU"

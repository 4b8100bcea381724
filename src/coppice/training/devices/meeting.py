"""Where the processes of a fit find each other: a store that the first machine keeps."""

import atexit
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from torch.distributed import DistNetworkError, FileStore, PrefixStore, Store, TCPStore

from coppice.core.errors import CoppiceError
from coppice.core.progress import say
from coppice.training.devices.machines import Machines

_ASK = timedelta(seconds=10)
_GOODBYE_S = 5.0
_GATHER = timedelta(minutes=10)  # for processes of all machines to load PyTorch


class Meeting:
    """Where several machines meet for all fits of a program, one after the other.

    Parameters
    ----------
    store : TCPStore
        Kept by the first machine.
    machines : Machines
        Who meets.
    """

    def __init__(self, store: TCPStore, machines: Machines) -> None:
        self._store, self._machines, self._fits = store, machines, 0

    def next_fit(self) -> "FitMeeting":
        """Return the place of the next fit; every machine counts for itself."""
        self._fits += 1
        return FitMeeting(self._store, self._fits)

    @property
    def ended(self) -> bool:
        """Whether the program of the first machine has come to its end.

        Raises
        ------
        CoppiceError
            If it is gone without a word.
        """
        with _first_machine_there():
            return bool(self._store.check(["ended"]))

    def leave(self) -> None:
        """Let the others know that nothing comes any more, and keep the store until they know; or say goodbye."""
        if not self._machines.leads:
            with suppress(DistNetworkError):
                self._store.add("left", 1)
            return
        self._store.set("ended", "")
        until = time.monotonic() + _GOODBYE_S
        while self._store.add("left", 0) < self._machines.num_nodes - 1 and time.monotonic() < until:
            time.sleep(0.1)


class FitMeeting:
    """What the machines of one fit tell each other; values are JSON.

    Parameters
    ----------
    store : Store
        What all of them can reach.
    number : int
        Of the fit, from 1.
    """

    def __init__(self, store: Store, number: int = 1) -> None:
        self.number = number
        self._store = PrefixStore(f"fit{number}", store)

    @property
    def of_processes(self) -> Store:
        """Where the processes find each other."""
        return PrefixStore("processes", self._store)

    def tell(self, key: str, value: Any) -> None:
        """Write a value for all to read.

        Raises
        ------
        CoppiceError
            If the first machine is gone.
        """
        with _first_machine_there():
            self._store.set(key, json.dumps(value))

    def told(self, key: str) -> Any:
        """Return a value, or None as long as nobody has told it.

        Raises
        ------
        CoppiceError
            If the first machine is gone.
        """
        with _first_machine_there():
            return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def count(self, key: str, more: int = 1) -> int:
        """Count one more, or none with ``more`` 0, and return how many there are.

        Raises
        ------
        CoppiceError
            If the first machine is gone.
        """
        with _first_machine_there():
            return int(self._store.add(key, more))


@contextmanager
def _first_machine_there() -> Iterator[None]:
    try:
        yield
    except DistNetworkError as error:
        raise CoppiceError("the first machine is gone; start the same command again on every machine.") from error


def on_this_machine(folder: Path) -> FitMeeting:
    """Return the meeting of processes of one machine: a file, so that no port is opened for it."""
    return FitMeeting(FileStore(str(folder / "meeting"), -1))


def led_by(address: tuple[str, int], number: int) -> FitMeeting:
    """Return the meeting of a fit whose first machine is known to listen."""
    host, port = address
    return FitMeeting(TCPStore(host, port, is_master=False, timeout=_GATHER), number)


@cache
def between(machines: Machines) -> Meeting:
    """Open the meeting of several machines, or come to it; it lasts as long as the program of the first machine.

    Raises
    ------
    CoppiceError
        If the port is taken on the first machine, or its address is none.
    """
    store = _keep(*machines.address) if machines.leads else _come_to(*machines.address, machines)
    meeting = Meeting(store, machines)
    atexit.register(meeting.leave)
    return meeting


def _keep(host: str, port: int) -> TCPStore:
    try:
        return TCPStore(host, port, is_master=True, wait_for_workers=False, timeout=_ASK)
    except RuntimeError as error:
        raise CoppiceError(
            f"port {port} (MASTER_PORT) cannot be had on this machine; choose another one, the same on all machines."
        ) from error


def _come_to(host: str, port: int, machines: Machines) -> TCPStore:
    """Wait until the first machine listens, however long that takes, and come to its store."""
    say(f"machine {machines.node + 1} of {machines.num_nodes}: looking for the first one at {host}:{port}")
    while True:
        try:
            socket.create_connection((host, port), timeout=_ASK.total_seconds()).close()
            break
        except socket.gaierror as error:
            raise CoppiceError(f"there is no machine {host!r} (MASTER_ADDR); give its name or address.") from error
        except OSError:
            time.sleep(1)
    found: list[TCPStore] = []

    def come() -> None:
        with suppress(RuntimeError):
            found.append(TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=_ASK))

    # In a thread: before something else that listens there and never answers, torch would wait for ever.
    coming = threading.Thread(target=come, daemon=True)
    coming.start()
    coming.join(2 * _ASK.total_seconds())
    if not found:
        raise CoppiceError(f"what listens at {host}:{port} is no fit of coppice; correct MASTER_ADDR and MASTER_PORT.")
    return found[0]

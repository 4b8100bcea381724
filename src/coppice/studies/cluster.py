"""Tasks on a Ray cluster: as many at a time as its processors carry, each again where its worker was lost."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from coppice.core.errors import CoppiceError
from coppice.core.files import digest, make_folder
from coppice.core.progress import say
from coppice.core.units import bytes_text
from coppice.datasets.cache import cache_folder
from coppice.studies.exchange import Exchange
from coppice.studies.tasks import Outcome, Task, do_task, failed, read_outcome, record

RETRIES = 3  # after a worker or its machine was lost
_PASSED_ON = ("COPPICE_CACHE",)
_CLIENT_PORT, _KNOCK_S = 10001, 10.0


class Cluster:
    """A Ray cluster that carries out tasks; see :func:`connected`.

    Attributes
    ----------
    where : str
        What it is made of.
    """

    def __init__(self, ray: Any, exchange: Exchange | None = None) -> None:
        self._ray, self._exchange = ray, exchange
        self.nodes = [node for node in ray.nodes() if node["Alive"]]
        processors = int(ray.cluster_resources().get("CPU", 0))
        self.where = f"Ray {ray.__version__}, machines: {len(self.nodes)}, processors: {processors}"

    def do(self, tasks: list[Task], each_bytes: int) -> Iterator[tuple[Task, Outcome]]:
        """Carry out tasks; give each with its outcome as it ends.

        Every task takes one processor and ``each_bytes`` of memory. When a worker or its machine is lost, Ray does
        the task again elsewhere, and it goes on where the lost one stopped.

        Parameters
        ----------
        tasks : list of Task
            Each stands alone. All machines see the recordings under the same paths, and the study's folder, too,
            unless there is an exchange.
        each_bytes : int
            What one run needs; a machine with less free memory is not given one.
        """
        largest = max((node["Resources"].get("memory", 0) for node in self.nodes), default=0)
        if each_bytes > largest:
            say(f"a run takes about {bytes_text(each_bytes)}, and the largest machine has {bytes_text(largest)}")
        remote = self._ray.remote(num_cpus=1, memory=int(min(each_bytes, largest)), max_retries=RETRIES)(
            _from_elsewhere
        )
        self._deliver_bases(tasks)
        here = os.getcwd()  # noqa: PTH109
        waiting = {}
        for task in tasks:
            outcome = self._arrived(task)  # for a driver that was lost since
            if outcome is not None and (outcome.status, outcome.coppice_version) == ("done", task.version):
                yield task, outcome
            else:
                waiting[remote.remote(task, here, self._exchange)] = task
        while waiting:
            (ended,), _ = self._ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(ended)
            try:
                outcome = self._ray.get(ended)
                self._arrived(task)
            except self._ray.exceptions.RayError as error:
                outcome = failed(task, f"lost on the cluster {RETRIES + 1} times: {str(error).splitlines()[0][:300]}")
                record(task, outcome)
            yield task, outcome

    def _deliver_bases(self, tasks: list[Task]) -> None:
        """Give the exchange the unpruned networks that were trained without it."""
        if self._exchange is None:
            return
        for base in dict.fromkeys(task.base for task in tasks if task.base is not None):
            if not self._exchange.is_same(_name(base), base):
                self._exchange.deliver(base, _name(base))

    def _arrived(self, task: Task) -> Outcome | None:
        """Fetch what a task has left in the exchange; None if nothing of this task is there."""
        if self._exchange is None or not self._exchange.fetch(_name(task.folder), task.folder):
            return None
        return read_outcome(task.folder, task.key)


@contextmanager
def connected(address: str, *, exchange: Exchange | None = None) -> Iterator[Cluster]:
    """Connect to a Ray cluster while the block runs.

    Parameters
    ----------
    address : str
        ``"auto"``: the cluster that this machine belongs to (``ray start``), or, where there is none, this machine
        alone; ``"ray://host:10001"``: from outside; ``"host:6379"``: as a member.
    exchange : Exchange, optional
        Where run folders go through when the machines share no folder.

    Raises
    ------
    CoppiceError
        If Ray is not installed or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise CoppiceError(
            "a cluster needs Ray, which is not installed; pip install 'coppice[cluster]', or leave out --cluster."
        ) from error
    _refuse_silent(address)
    variables = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    variables |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": variables},
        "log_to_driver": False,
        "logging_level": "error",
    }
    try:
        if address == "auto":
            try:
                ray.init(address="auto", **options)
            except ConnectionError:
                say("no Ray cluster is running here; this machine alone is used")
                ray.init(address="local", include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError, ImportError) as error:
        raise _no_answer(address, " ".join(str(error).split())[:200].rstrip(".")) from error
    try:
        yield Cluster(ray, exchange)
    finally:
        ray.shutdown()


def _refuse_silent(address: str) -> None:
    """Refuse an address at which nobody listens; Ray would knock there for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").partition(":")
    if not host or not (port.isdecimal() or (address.startswith("ray://") and not port)):
        raise _no_answer(address, "it is not an address")
    try:
        socket.create_connection((host, int(port or _CLIENT_PORT)), timeout=_KNOCK_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_answer(address, getattr(error, "strerror", None) or str(error)) from error


def _no_answer(address: str, reason: str) -> CoppiceError:
    return CoppiceError(f"no Ray cluster answers at {address!r} ({reason}); give auto, ray://host:10001 or host:6379.")


def _from_elsewhere(task: Task, folder: str, exchange: Exchange | None) -> Outcome:
    if exchange is not None:
        return do_through(exchange, task)
    os.chdir(folder)  # where paths in the recipe begin
    return do_task(task)


def do_through(exchange: Exchange, task: Task) -> Outcome:
    """Carry out a task in a folder of this machine's own, with what it needs from an exchange and its run folder there.

    Parameters
    ----------
    exchange : Exchange
        Holds the unpruned network that the task goes on from; gets the run folder.
    task : Task
        As the driver has it: with folders of that machine.
    """
    study = make_folder(cache_folder() / "studies" / digest([exchange.url, str(task.folder.parents[1])]))
    own = replace(task, folder=study / _name(task.folder), base=task.base and study / _name(task.base))
    make_folder(own.folder.parent)
    if own.base is not None:
        with FileLock(make_folder(own.base.parent) / ".lock"):  # others on this machine go on from it as well
            if not exchange.is_same(_name(own.base), own.base):
                exchange.fetch(_name(own.base), own.base)
    outcome = do_task(own)
    exchange.deliver(own.folder, _name(task.folder))
    return outcome


def _name(folder: Path) -> str:
    """Return the place of a run folder in its study: ``"runs/DIGEST"``, ``"base/fold1-seed0"``."""
    return f"{folder.parent.name}/{folder.name}"

"""Tasks on a Ray cluster: as many at a time as its processors carry, each again where its worker was lost."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.core.progress import say
from coppice.core.units import bytes_text
from coppice.studies.tasks import Outcome, Task, do_task, failed, record

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

    def __init__(self, ray: Any) -> None:
        self._ray = ray
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
            Each stands alone. All machines see the study's folder and the recordings under the same paths.
        each_bytes : int
            What one run needs; a machine with less free memory is not given one.
        """
        largest = max((node["Resources"].get("memory", 0) for node in self.nodes), default=0)
        if each_bytes > largest:
            say(f"a run takes about {bytes_text(each_bytes)}, and the largest machine has {bytes_text(largest)}")
        remote = self._ray.remote(num_cpus=1, memory=int(min(each_bytes, largest)), max_retries=RETRIES)(
            _from_elsewhere
        )
        here = os.getcwd()  # noqa: PTH109
        waiting = {remote.remote(task, here): task for task in tasks}
        while waiting:
            (ended,), _ = self._ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(ended)
            try:
                outcome = self._ray.get(ended)
            except self._ray.exceptions.RayError as error:
                outcome = failed(task, f"lost on the cluster {RETRIES + 1} times: {str(error).splitlines()[0][:300]}")
                record(task, outcome)
            yield task, outcome


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to a Ray cluster while the block runs.

    Parameters
    ----------
    address : str
        ``"auto"``: the cluster that this machine belongs to (``ray start``), or, where there is none, this machine
        alone; ``"ray://host:10001"``: from outside; ``"host:6379"``: as a member.

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
        yield Cluster(ray)
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


def _from_elsewhere(task: Task, folder: str) -> Outcome:
    os.chdir(folder)  # where paths in the recipe begin
    return do_task(task)

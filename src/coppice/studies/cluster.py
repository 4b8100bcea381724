"""Tasks on a Ray cluster: as many at a time as its processors carry, each again where its worker was lost."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from coppice.core.errors import CoppiceError
from coppice.core.progress import say
from coppice.core.units import bytes_text
from coppice.studies.tasks import Outcome, Task, do_task, failed, record

RETRIES = 3  # after a worker or its machine was lost
_PASSED_ON = ("COPPICE_CACHE",)


def on_cluster(tasks: Iterable[Task], address: str, *, each_bytes: int) -> Iterator[tuple[Task, Outcome]]:
    """Carry out tasks on a Ray cluster; give each with its outcome as it ends.

    Every task takes one processor and ``each_bytes`` of memory. All machines see the study's folder and the recordings
    under the same paths, and have the same version of Coppice.

    Parameters
    ----------
    tasks : iterable of Task
        Each stands alone.
    address : str
        ``"auto"``: the cluster that this machine belongs to (``ray start``), or, where there is none, this machine
        alone; ``"ray://host:10001"``: from outside; ``"host:6379"``: as a member.
    each_bytes : int
        What one run needs; a machine with less free memory is not given one.

    Raises
    ------
    CoppiceError
        If Ray is not installed, no cluster answers, or no machine of it is large enough.
    """
    ray = _connected(address)
    try:
        memory = _checked_bytes(ray, each_bytes)
        remote = ray.remote(num_cpus=1, memory=memory, max_retries=RETRIES)(_from_elsewhere)
        here = os.getcwd()  # noqa: PTH109
        waiting = {remote.remote(task, here): task for task in tasks}
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            task = waiting.pop(ended)
            try:
                outcome = ray.get(ended)
            except ray.exceptions.RayError as error:
                outcome = failed(task, f"lost {RETRIES + 1} times: {str(error).strip().splitlines()[0][:300]}")
                record(task, outcome)
            yield task, outcome
    finally:
        ray.shutdown()


def cluster_text(address: str) -> str:
    """Say what a cluster is made of, for the study's record.

    Raises
    ------
    CoppiceError
        As :func:`on_cluster`.
    """
    ray = _connected(address)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        processors = int(ray.cluster_resources().get("CPU", 0))
        return f"Ray {ray.__version__}, {len(nodes)} machines, {processors} processors"
    finally:
        ray.shutdown()


def _connected(address: str) -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise CoppiceError(
            "a cluster needs Ray, which is not installed; pip install 'coppice[cluster]', or leave out --cluster."
        ) from error
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **passed_on}},
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
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise CoppiceError(
            f"no Ray cluster answers at {address!r} ({reason}); give auto, ray://host:10001 or host:6379."
        ) from error
    return ray


def _checked_bytes(ray: Any, each_bytes: int) -> int:
    largest = max((node["Resources"].get("memory", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if largest and each_bytes > largest:
        say(
            f"a run takes about {bytes_text(each_bytes)}, more than the {bytes_text(largest)} of the largest machine; "
            "it may be killed"
        )
        return int(largest)
    return each_bytes


def _from_elsewhere(task: Task, folder: str) -> Outcome:
    os.chdir(folder)  # where paths in the recipe begin
    return do_task(task)

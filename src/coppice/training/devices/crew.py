"""The processes of a fit on this machine: started, listened to, ended together."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger

from coppice.core.errors import CoppiceError
from coppice.core.progress import say
from coppice.training.devices.failure import Failure, worst
from coppice.training.devices.machines import Machines
from coppice.training.devices.meeting import FitMeeting, between, on_this_machine
from coppice.training.devices.parcel import drop_clips, pack, unpack_looped
from coppice.training.loop import FitJob, Looped, is_resume_point

_LOOK_S = 0.2  # how often is looked at the processes
_GRACE_S = 5.0  # for others to say what was the matter, where one has only lost the connection
_FAILED = "failed"
_INTERRUPTED = Failure(
    "the fit was interrupted on another machine; the same command, on every machine, goes on where it stopped.",
    plain=True,
    again=True,
)

Advance = Callable[[int, str], None]


def loop_together(
    job: FitJob, machines: Machines, *, advance: Advance, loggers: Sequence[Logger] = (), description: str = "training"
) -> Looped:
    """Do what :func:`coppice.training.loop.loop` does, in several processes that share every batch.

    The processes are fresh ones, so that a script needs no ``if __name__ == "__main__"``; they take the job from files.
    The job of the first machine counts: what another one gives is not looked at.

    Parameters
    ----------
    job : FitJob
        What to fit to what.
    machines : Machines
        Checked.
    advance : callable
        Moves the progress bar.
    loggers : sequence of Logger
        Stay in this process.
    description : str
        Told to other machines.

    Raises
    ------
    CoppiceError
        If the loop raises it in any process, or a process or machine is lost.
    """
    if machines.num_nodes == 1:
        if job.resume is not None:
            is_resume_point(job.resume)
        with _folder() as folder:
            pack(job, folder)
            return _work(machines, on_this_machine(folder), folder, advance, loggers)
    fit = between(machines).next_fit()
    if not machines.leads:
        return join(machines, fit)
    _gather(fit, machines, description)
    with _folder() as folder:
        try:
            if job.resume is not None:
                is_resume_point(job.resume)
            pack(job, folder)
        except CoppiceError as error:
            fit.tell(_FAILED, Failure.of(error).to_dict())
            raise
        return _work(machines, fit, folder, advance, loggers)


def join(machines: Machines, fit: FitMeeting) -> Looped:
    """Take part in a fit that the first machine leads, as soon as it begins.

    Raises
    ------
    CoppiceError
        If this machine was started with other numbers, or the fit ends with an error.
    """
    while (told := fit.told("call")) is None:
        time.sleep(_LOOK_S)
    ours = {"devices": machines.devices, "num_nodes": machines.num_nodes}
    for name, value in ours.items():
        if told[name] != value:
            _refuse(fit, f"{name} is {told[name]} on the first machine and {value} on machine {machines.node + 1}")
    if fit.count(f"here{machines.node}") > 1:
        _refuse(fit, f"two machines have NODE_RANK {machines.node}")
    say(f"helping with fit {fit.number}: {told['description']}")
    with _folder() as folder:
        return _work(machines, fit, folder, lambda steps, note: None, ())


def _refuse(fit: FitMeeting, what: str) -> None:
    error = CoppiceError(f"{what}; start the same command on every machine, each with its own NODE_RANK.")
    fit.tell(_FAILED, Failure.of(error).to_dict())
    raise error


def _gather(fit: FitMeeting, machines: Machines, description: str) -> None:
    call = {"devices": machines.devices, "num_nodes": machines.num_nodes, "description": description}
    fit.tell("call", call)
    missing, begun, said = list(range(1, machines.num_nodes)), time.monotonic(), False
    while missing:
        _raise_if_failed(fit)
        missing = [node for node in missing if not fit.count(f"here{node}", 0)]
        if missing and not said and time.monotonic() - begun > _GRACE_S:
            say(f"waiting for machine {', '.join(str(node + 1) for node in missing)} of {machines.num_nodes}")
            said = True
        time.sleep(_LOOK_S if missing else 0)


def _raise_if_failed(fit: FitMeeting) -> None:
    if (told := fit.told(_FAILED)) is not None:
        Failure(**told).throw()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="coppice-fit-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _work(machines: Machines, fit: FitMeeting, folder: Path, advance: Advance, loggers: Sequence[Logger]) -> Looped:
    crew = _start(machines, fit, folder)
    try:
        heard = _listen(crew[0])
        dropped, running = False, True
        while running:
            running = any(process.poll() is None for process in crew)
            _pass_on(heard, advance, loggers)
            if any(process.returncode for process in crew) or (running and fit.told(_FAILED) is not None):
                raise _why(crew, fit, folder).error()
            if not dropped and fit.count(f"loaded{machines.node}", 0) == len(crew):
                drop_clips(folder)
                dropped = True
        _pass_on(heard, advance, loggers)
        return unpack_looped(folder)
    except KeyboardInterrupt:
        with suppress(CoppiceError):
            fit.tell(_FAILED, _INTERRUPTED.to_dict())
        raise
    finally:
        for process in crew:
            process.kill()
        for process in crew:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _start(machines: Machines, fit: FitMeeting, folder: Path) -> list[subprocess.Popen[bytes]]:
    """Start a process for each device; it dies when its standard input ends, that is, with this process."""
    threads = max(1, torch.get_num_threads() // machines.devices)
    environment = {
        **os.environ,
        # What can be imported here can be there.
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "OMP_NUM_THREADS": str(threads),
        "NODE_RANK": str(machines.node),
    }
    crew = []
    for local in range(machines.devices):
        place = {
            "folder": str(folder),
            "leader": _leader(machines),
            "fit": fit.number,
            "devices": machines.devices,
            "num_nodes": machines.num_nodes,
            "node": machines.node,
            "local": local,
        }
        with (folder / f"said-{local}.txt").open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "coppice.training.devices.worker", json.dumps(place)],
                env={**environment, "LOCAL_RANK": str(local)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if local == 0 else subprocess.DEVNULL,
                stderr=said,
            )
        crew.append(process)
    return crew


def _leader(machines: Machines) -> tuple[str, int] | None:
    if machines.num_nodes == 1:
        return None
    host, port = machines.address
    return host if machines.node else "127.0.0.1", port


def _listen(process: subprocess.Popen[bytes]) -> "queue.SimpleQueue[dict[str, Any]]":
    heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in process.stdout or ():
            with suppress(ValueError):  # something printed while modules were loaded
                heard.put(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    return heard


def _pass_on(heard: "queue.SimpleQueue[dict[str, Any]]", advance: Advance, loggers: Sequence[Logger]) -> None:
    """Wait a moment for what the first process says, and pass it on."""
    try:
        said = heard.get(timeout=_LOOK_S)
        while True:
            if "advance" in said:
                advance(*said["advance"])
            else:
                for logger in loggers:
                    logger.log_metrics(said["metrics"], step=said["step"])
            said = heard.get_nowait()
    except queue.Empty:
        return


def _why(crew: Sequence[subprocess.Popen[bytes]], fit: FitMeeting, folder: Path) -> Failure:
    """Find out why a process ended: what it, another one or another machine says of it; and let all know."""
    until = time.monotonic() + _GRACE_S
    while True:
        codes = [process.poll() for process in crew]
        told = [Failure.read(folder, local, code) for local, code in enumerate(codes) if code]
        elsewhere = fit.told(_FAILED)
        failure = worst([*told, *([Failure(**elsewhere)] if elsewhere is not None else [])])
        if not failure.lost or time.monotonic() > until:
            break
        time.sleep(_LOOK_S)
    if elsewhere is None:
        fit.tell(_FAILED, failure.to_dict())
    return failure

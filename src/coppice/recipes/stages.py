"""Stages of a run: each a folder that appears complete or not at all, and is not done again unchanged."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coppice import __version__
from coppice.core.errors import CoppiceError
from coppice.core.files import digest, file_digest, make_folder, plain_os_errors, read_json, write_json
from coppice.core.progress import say
from coppice.energy.energy import Energy, energy_of
from coppice.recipes.attempts import CLAIM, claimed_by, counted_attempt

_RECORD = "stage.json"


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes
    ----------
    folder : Path
        Its files.
    digest : str
        Of everything the stage depends on; goes into the inputs of the next stage.
    ran : bool
        False when it stood there already, unchanged.
    """

    folder: Path
    digest: str
    ran: bool


def stage_energy(folder: Path) -> Energy | None:
    """Return what a finished stage took, interrupted attempts included; None where no record tells."""
    try:
        record = read_json(folder / _RECORD)
    except CoppiceError:
        return None
    return energy_of(record.get("energy")) if isinstance(record, dict) else None


def do_stage(run: Path, name: str, inputs: dict[str, Any], work: Callable[[Path], None], *, jobs: int = 1) -> Stage:
    """Do a stage, unless it stands in the run folder with the same inputs and undamaged files.

    The work happens in ``run/.partial/name``, which moves to ``run/name`` when it is complete. After a kill, the same
    call finds what the work left there (a training's resume point, say) and goes on; if the inputs have changed, it
    starts afresh.

    Parameters
    ----------
    run : Path
        The run folder.
    name : str
        The stage's folder below it.
    inputs : dict
        JSON-able: settings, digests of earlier stages.
    work : callable
        Takes the folder to fill.
    jobs : int >= 1
        How many jobs run side by side on this machine, for the energy that is counted.

    Returns
    -------
    Stage
    """
    key = digest({"coppice": __version__, "stage": name, **inputs})
    final, partial = run / name, run / ".partial" / name
    if _is_whole(final, key):
        return Stage(final, key, ran=False)
    refuse_foreign(final)
    with plain_os_errors("write the stage", final):
        if partial.exists() and claimed_by(partial) != key:
            shutil.rmtree(partial)
        make_folder(partial)
        for leftover in partial.glob(".*"):  # half-written when a process was killed
            leftover.unlink(missing_ok=True)
        start = time.monotonic()
        try:
            with counted_attempt(partial, key, jobs=jobs) as attempt:
                work(partial)
        except CoppiceError as error:
            if not isinstance(error.__cause__, OSError):  # with space on the disk the same work may go on
                _remove_work(partial, run)
            raise
        seconds = round(time.monotonic() - start, 2)
        energy = attempt.stage_energy()
        (partial / CLAIM).unlink()
        files = {file.name: file_digest(file) for file in sorted(partial.iterdir()) if file.is_file()}
        record = {"digest": key, "seconds": seconds, "energy": energy.to_dict(), "files": files}
        write_json(partial / _RECORD, record)
        make_folder(final.parent)
        if final.exists():
            old = run / ".partial" / "replaced"
            shutil.rmtree(old, ignore_errors=True)
            final.replace(old)
            partial.replace(final)
            shutil.rmtree(old, ignore_errors=True)
        else:
            partial.replace(final)
    return Stage(final, key, ran=True)


@contextmanager
def locked_run(run: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Keep a second process out of a run folder while the block runs.

    Parameters
    ----------
    run : Path
        Is created.
    wait_s : float
        How long to wait for a process that is in it.

    Raises
    ------
    CoppiceError
        If another process is in it.
    """
    make_folder(run)
    if (run / "recipe.yaml").exists() and not (run / "environment.json").exists():
        raise CoppiceError(f"{run} holds a recipe.yaml but no run, which would write over it; choose another --out.")
    with _locked(run / ".lock", run, wait_s):
        yield


@contextmanager
def _locked(file: Path, place: Path, wait_s: float = 0.0) -> Iterator[None]:
    lock = FileLock(file)
    with plain_os_errors("lock", place):
        try:
            lock.acquire(timeout=wait_s)
        except Timeout as error:
            raise CoppiceError(
                f"another process is working in {place}; wait for it, or choose another folder with --out."
            ) from error
    try:
        yield
    finally:
        # Before the release: whoever comes after it must not lock a name that then goes away.
        with suppress(OSError):  # Windows keeps the name of an open file
            file.unlink()
        lock.release()


def do_single_stage(folder: Path, inputs: dict[str, Any], work: Callable[[Path], None]) -> Stage:
    """Do a stage that stands alone, outside of a run (see :func:`do_stage`).

    Parameters
    ----------
    folder : Path
        What it becomes. An interrupted call goes on from what lies in ``.partial`` beside it.
    inputs, work
        As for :func:`do_stage`.

    Raises
    ------
    CoppiceError
        If something else stands there, or another process is doing the same stage.
    """
    place = folder.resolve()
    make_folder(place.parent)
    with _locked(place.with_name(f".{place.name}.lock"), folder):
        try:
            stage = do_stage(place.parent, place.name, inputs, work)
            if stage.ran:
                say(f"energy: {stage_energy(stage.folder)}")
            return stage
        finally:
            with suppress(OSError):  # others, or this one when it was interrupted, may have work there
                (place.parent / ".partial").rmdir()


def share_stages(source: Path, run: Path) -> None:
    """Give a run the data, the training and the unpruned stages of another, so that it need not do them.

    Where the file system can, files are linked, not copied; stages are replaced whole and never written into, so
    neither run can change what the other has. A stage of another digest is done anew by :func:`do_stage`.

    Parameters
    ----------
    source : Path
        A run folder in which these stages are done.
    run : Path
        The run folder that is to have them.

    Raises
    ------
    CoppiceError
        If the training is not there.
    """
    if not (source / "train" / _RECORD).exists():
        raise CoppiceError(f"{source} holds no finished training.")
    for record in [file for pattern in ("data", "train", "unpruned/*") for file in source.glob(f"{pattern}/{_RECORD}")]:
        final = run / record.parent.relative_to(source)
        if _same_record(record, final / _RECORD):
            continue
        refuse_foreign(final)
        shared = run / ".partial" / "shared"
        shutil.rmtree(shared, ignore_errors=True)
        with plain_os_errors("write the stage", final):
            make_folder(shared)
            for file in record.parent.iterdir():
                _link(file, shared / file.name)
            shutil.rmtree(final, ignore_errors=True)
            make_folder(final.parent)
            shared.replace(final)


def _same_record(one: Path, other: Path) -> bool:
    try:
        return bool(read_json(one) == read_json(other))
    except CoppiceError:
        return False


def _link(file: Path, to: Path) -> None:
    try:
        to.hardlink_to(file)
    except OSError:  # another file system, or one without links
        shutil.copy2(file, to)


def tidy(run: Path, keep: set[str]) -> None:
    """Remove what an earlier recipe left: stage folders that are not in ``keep``, and partial work."""
    stale = run / ".partial" / "stale"
    # Only where a run's own stages lie: other runs may have their folders below this one.
    for pattern in ("data", "train", "unpruned/*", "systems/*/*"):
        for record in run.glob(f"{pattern}/{_RECORD}"):
            if record.parent.relative_to(run).as_posix() not in keep:
                shutil.rmtree(stale, ignore_errors=True)
                make_folder(stale.parent)
                record.parent.replace(stale)
                with suppress(OSError):  # the folder of a system whose last stage this was
                    record.parent.parent.rmdir()
    shutil.rmtree(run / ".partial", ignore_errors=True)
    for leftover in run.glob(".partial-*"):  # half-written when a process was killed
        leftover.unlink(missing_ok=True)


def refuse_foreign(final: Path) -> None:
    """Refuse to replace what is not a stage, such as a user's own folder of that name.

    Raises
    ------
    CoppiceError
        If something stands there that is neither a stage nor an empty folder.
    """
    with plain_os_errors("write the stage", final):
        own = (final / _RECORD).exists() or (final.is_dir() and not any(final.iterdir()))
        foreign = final.exists() and not own
    if foreign:
        raise CoppiceError(
            f"{final} is there already and is not a stage of a run; move it away, or choose another folder with --out."
        )


def _remove_work(partial: Path, run: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    with suppress(OSError):  # the folders above it, as far as they are empty
        for parent in partial.parents:
            if parent == run:
                break
            parent.rmdir()


def _is_whole(folder: Path, key: str) -> bool:
    try:
        record = read_json(folder / _RECORD)
        return record["digest"] == key and all(
            file_digest(folder / file) == known for file, known in record["files"].items()
        )
    except (CoppiceError, KeyError, TypeError, AttributeError):
        return False

"""The job of a fit as files in a folder, from which processes take it; and on to other machines."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copyfile
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch import Tensor, distributed

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.training.loop import FitJob, Looped

RESUME = "resume.ckpt"
_JOB, _LOOPED = "job.pkl", "looped.pt"
_PIECE_BYTES = 2**26  # of a file on its way to another machine


def pack(job: FitJob, folder: Path) -> None:
    """Write a job into a folder that no other user can write to.

    Clips lie in files of their own, which all processes of a machine map into memory and none copies. The network is
    pickled, which is safe where the file comes from the process that started its reader.

    Raises
    ------
    CoppiceError
        If the disk is full, or the network cannot be pickled.
    """
    arrays: dict[str, Any] = {}
    for side in ("train", "validation"):
        arrays[f"{side}_inputs"], arrays[f"{side}_targets"] = (tensor.numpy() for tensor in getattr(job, side))
    if job.soft is not None:
        arrays["soft"] = job.soft.numpy()
    augmenter = job.augmenter
    if augmenter is not None and augmenter.copies is not None:
        arrays["copies"] = augmenter.copies.log_mel
        augmenter = replace(augmenter, copies=replace(augmenter.copies, log_mel=np.empty((0, 0, 0), np.float32)))
    nothing = (torch.empty(0), torch.empty(0, dtype=torch.int64))
    rest = replace(job, train=nothing, validation=nothing, soft=None, augmenter=augmenter)
    try:
        pickled = cloudpickle.dumps(rest)
    except Exception as error:  # whatever a network of the user's holds
        raise CoppiceError(
            f"the network cannot be sent to other processes ({' '.join(str(error).split())[:200]}); fit it on one "
            "device."
        ) from error
    with plain_os_errors("write the clips for several processes (TMPDIR chooses the folder)", folder):
        (folder / _JOB).write_bytes(pickled)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        if job.resume is not None and job.resume.exists():
            copyfile(job.resume, folder / RESUME)


def unpack(folder: Path) -> FitJob:
    """Take a job out of the folder, its clips mapped into memory.

    Raises
    ------
    CoppiceError
        If the class of the network is not to be found here.
    """
    try:
        job: FitJob = pickle.loads((folder / _JOB).read_bytes())
    except (ImportError, AttributeError) as error:
        raise CoppiceError(
            f"the network cannot be loaded in another process ({error}); its class must be importable on every machine."
        ) from error

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))

    augmenter = job.augmenter
    if augmenter is not None and augmenter.copies is not None:
        log_mel = np.load(folder / "copies.npy", mmap_mode="r", allow_pickle=False)
        augmenter = replace(augmenter, copies=replace(augmenter.copies, log_mel=log_mel))
    return replace(
        job,
        train=(tensor("train_inputs"), tensor("train_targets")),
        validation=(tensor("validation_inputs"), tensor("validation_targets")),
        soft=tensor("soft") if (folder / "soft.npy").exists() else None,
        augmenter=augmenter,
    )


def drop_clips(folder: Path) -> None:
    """Delete the clips, which every process that has mapped them keeps until it ends; where the system allows it."""
    for file in folder.glob("*.npy"):
        try:
            file.unlink()
        except OSError:
            return


def send_on(folder: Path, leaders: Sequence[int]) -> None:
    """Copy the files from the folder of the first process to those of one process on each other machine.

    Called by all processes; they leave together.

    Parameters
    ----------
    folder : Path
        Of this process's machine.
    leaders : sequence of int
        The first process of each machine, which receives for the others there.
    """
    everyone = distributed.new_group(backend="gloo")
    between = distributed.new_group(list(leaders), backend="gloo")
    rank = distributed.get_rank()
    if rank in leaders:
        files: list[Any] = [
            [(file.name, file.stat().st_size) for file in sorted(folder.iterdir())] if rank == 0 else []
        ]
        distributed.broadcast_object_list(files, 0, group=between)
        for name, size in files[0]:
            with (folder / name).open("rb" if rank == 0 else "wb") as file:
                for begin in range(0, size, _PIECE_BYTES):
                    piece = torch.empty(min(_PIECE_BYTES, size - begin), dtype=torch.uint8)
                    if rank == 0:
                        file.readinto(piece.numpy())
                    distributed.broadcast(piece, 0, group=between)
                    if rank != 0:
                        file.write(piece.numpy())
    distributed.barrier(group=everyone)


def pack_looped(looped: Looped, folder: Path) -> None:
    """Write what the loop leaves."""
    kept = [list(one) for one in looped.kept]
    torch.save({"kept": kept, "rows": looped.rows, "reason": looped.reason}, folder / _LOOPED)


def unpack_looped(folder: Path) -> Looped:
    """Read what the loop has left."""
    found = torch.load(folder / _LOOPED, map_location="cpu", weights_only=True)
    return Looped([(epoch, weights) for epoch, weights in found["kept"]], found["rows"], found["reason"])

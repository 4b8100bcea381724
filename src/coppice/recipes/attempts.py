"""Attempts at a stage: what the interrupted ones spent goes into the energy of the one that ends well."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.core.files import read_json, write_json
from coppice.energy.energy import Energy, add_up, energy_of, kwh_text
from coppice.energy.meter import Meter, metered

CLAIM = "inputs.json"
_SAVE_S = 60.0


@dataclass(frozen=True)
class Attempt:
    """One attempt at a stage, and what was spent on those before it.

    Attributes
    ----------
    meter : Meter
        Counts this attempt.
    earlier : tuple of Energy
        Of attempts that were interrupted.
    """

    meter: Meter
    earlier: tuple[Energy, ...]

    def stage_energy(self) -> Energy:
        """Return what all attempts took; those measured in another way are named and not added."""
        own = self.meter.energy
        same = [part for part in self.earlier if part.mode == own.mode]
        other = [part for part in self.earlier if part.mode != own.mode]
        total = add_up([*same, own])
        missing = list(total.missing)
        for part in other:
            missing += [
                f"{kwh_text(part.energy_kwh)} of an interrupted attempt were measured in another way ({part.mode})",
                *part.missing,
            ]
        return replace(total, missing=tuple(missing))


@contextmanager
def counted_attempt(partial: Path, key: str, *, jobs: int = 1) -> Iterator[Attempt]:
    """Claim the folder of a stage's work for its inputs, and count what the block spends.

    What was spent is written into the claim every minute and when the block is interrupted, so that the next attempt
    knows it.

    Parameters
    ----------
    partial : Path
        The folder in which the work is done.
    key : str
        Digest of the stage's inputs.
    jobs : int >= 1
        How many jobs run side by side on this machine.
    """
    earlier = _spent_before(partial)
    with metered(jobs=jobs) as meter:
        _write_claim(partial, key, earlier, running=meter.energy)
        done = threading.Event()
        saver = threading.Thread(target=_save, args=(done, partial, key, earlier, meter), daemon=True)
        saver.start()
        try:
            yield Attempt(meter, earlier)
        except BaseException:
            _end(done, saver)
            with suppress(CoppiceError):  # a full disk, say: what was saved last counts
                _write_claim(partial, key, (*earlier, meter.stop()), running=None)
            raise
        finally:
            _end(done, saver)


def claimed_by(partial: Path) -> str | None:
    """Return the digest for whose stage a folder holds work; None where none tells."""
    try:
        return str(read_json(partial / CLAIM)["digest"])
    except (CoppiceError, KeyError, TypeError):
        return None


def _spent_before(partial: Path) -> tuple[Energy, ...]:
    """Read what earlier attempts spent, and what one that was killed had spent when it last said so."""
    if not (partial / CLAIM).exists():
        return ()
    try:
        claim = read_json(partial / CLAIM)
    except CoppiceError:
        return ()
    spent = claim.get("spent") if isinstance(claim, dict) else None
    found = [energy for one in (spent if isinstance(spent, list) else []) if (energy := energy_of(one)) is not None]
    killed = energy_of(claim.get("running")) if isinstance(claim, dict) else None
    if killed is not None:
        lost = f"an attempt was killed: what it spent after the first {killed.seconds:.0f} s is not known"
        found.append(replace(killed, missing=(*killed.missing, lost)))
    return tuple(found)


def _write_claim(partial: Path, key: str, spent: tuple[Energy, ...], *, running: Energy | None) -> None:
    claim = {
        "digest": key,
        "spent": [energy.to_dict() for energy in spent],
        "running": None if running is None else running.to_dict(),
    }
    write_json(partial / CLAIM, claim)


def _save(done: threading.Event, partial: Path, key: str, earlier: tuple[Energy, ...], meter: Meter) -> None:
    while not done.wait(_SAVE_S):
        with suppress(CoppiceError):
            _write_claim(partial, key, earlier, running=meter.energy)


def _end(done: threading.Event, saver: threading.Thread) -> None:
    done.set()
    saver.join()

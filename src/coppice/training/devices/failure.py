"""Why a process of a fit ended, as it is passed on to the others."""

import json
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch.distributed import DistError

from coppice.core.errors import CoppiceError


@dataclass(frozen=True)
class Failure:
    """What to say of a fit that failed.

    Attributes
    ----------
    text : str
        A sentence for the user, or the traceback of a mistake of ours.
    plain : bool
        Whether it is a sentence.
    again : bool
        Whether the same fit may go on, so that its resume point is kept.
    lost : bool
        Whether it says only that others are gone.
    """

    text: str
    plain: bool
    again: bool = False
    lost: bool = False

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Return what an exception says."""
        if isinstance(error, CoppiceError):
            return cls(str(error), plain=True, again=isinstance(error.__cause__, OSError))
        lost = isinstance(error, DistError) or "gloo" in str(error)
        return cls("".join(traceback.format_exception(error)), plain=False, lost=lost)

    @classmethod
    def read(cls, folder: Path, local: int, code: int) -> "Failure":
        """Return what a process has left that ended with a code other than 0."""
        file = folder / f"failure-{local}.json"
        if file.exists():
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        if code < 0:
            return cls(
                f"process {local + 1} of the fit was killed (signal {-code}), as systems do when memory is short; the "
                "same call goes on, with a smaller batch_size or fewer devices if that was the reason.",
                plain=True,
                again=True,
            )
        said = (folder / f"said-{local}.txt").read_text(encoding="utf-8", errors="replace")
        return cls(f"process {local + 1} of the fit ended with code {code}:\n{said}", plain=False)

    def write(self, folder: Path, local: int) -> None:
        """Leave it for the process that started this one."""
        (folder / f"failure-{local}.json").write_text(json.dumps(self.to_dict()), encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    def error(self) -> Exception:
        """Return what is raised where the fit was called."""
        if self.lost:
            text = "a process or machine of the fit is gone; the same call, on every machine, goes on where it stopped."
            error: Exception = CoppiceError(text)
            error.__cause__ = ConnectionError(self.text)
        elif self.plain:
            error = CoppiceError(self.text)
            error.__cause__ = OSError() if self.again else None
        else:
            error = RuntimeError(f"a process of the fit failed:\n{self.text}")
        return error

    def throw(self) -> NoReturn:
        """Raise it."""
        raise self.error()


def worst(failures: Sequence[Failure]) -> Failure:
    """Return the failure that says most: a sentence, then a traceback, then that others are gone.

    Examples
    --------
    >>> worst([Failure("gone", plain=False, lost=True), Failure("batch_size is 0.", plain=True)]).text
    'batch_size is 0.'
    """
    ranked = sorted(failures, key=lambda one: (one.lost, not one.plain, one.again))
    return ranked[0] if ranked else Failure("", plain=False, lost=True)

"""Where the trials of a search are kept, for one process or for many machines: an Optuna study in a database."""

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, OptunaError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from coppice.core.errors import CoppiceError
from coppice.studies.trials import AGAIN, DROPPED

BEAT_S, LOST_S = 60, 600  # a machine that is silent for so long is lost, and its trial is tried again elsewhere
_BUSY_S = 60  # how long a process waits for another one that writes to an SQLite file
_TABLE_TRIES, _MADE_TWICE = 20, ("already exists", "UNIQUE", "duplicate")
_WAIT_S = 5.0  # for the process that has just begun the search to say what it is
Direction = Literal["minimize", "maximize"]

_SAID, _FOUNDER = "coppice", "founder"


def default_url(folder: Path) -> str:
    """Return the address of the storage in a search's own folder."""
    return f"sqlite:///{folder / 'search.db'}"


def shown_url(url: str) -> str:
    """Return an address without its password.

    Examples
    --------
    >>> shown_url("postgresql://me:secret@host/name")
    'postgresql://me:***@host/name'
    """
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def open_search(
    url: str, name: str, *, identity: Mapping[str, str], directions: list[Direction], worker: str, params: Iterable[str]
) -> tuple[Study, bool]:
    """Open the search of a name in a storage, or begin it.

    Parameters
    ----------
    url : str
        Of a database, as SQLAlchemy takes it.
    name : str
        Of the search.
    identity : mapping
        Part of the search → digest; all must be the same to join.
    directions : list of {"minimize", "maximize"}
        Of the objectives.
    worker : str
        Who asks.
    params : iterable of str
        Names of all that a point has.

    Returns
    -------
    Study
        Optuna's.
    bool
        Whether this worker began it.

    Raises
    ------
    CoppiceError
        If the storage does not open, or holds another search of that name.
    """
    shown = shown_url(url)
    with plain_storage_errors(shown):
        try:
            storage = _storage(url, frozenset(params))
        except (ImportError, RuntimeError) as error:  # no driver, or tables of another version of Optuna
            raise _unusable(shown, error) from error
        try:
            study = optuna.create_study(storage=storage, study_name=name, directions=directions)
            study.set_user_attr(_FOUNDER, worker)
            study.set_user_attr(_SAID, dict(identity))
        except DuplicatedStudyError:
            study = optuna.load_study(storage=storage, study_name=name)
        said = _said(study)
    if said is None:
        raise CoppiceError(
            f"{shown} holds a study {name!r} that Coppice did not begin; give the search another name, or another "
            "--storage."
        )
    other = [part for part in dict.fromkeys([*identity, *said]) if identity.get(part) != said.get(part)]
    if other:
        are = "is" if len(other) == 1 else "are"
        raise CoppiceError(
            f"{shown} holds another search {name!r}: {_listed(other)} {are} not the same; "
            "give this one another name, or another --out or --storage."
        )
    return study, study.user_attrs[_FOUNDER] == worker


@contextmanager
def plain_storage_errors(shown: str) -> Iterator[None]:
    """Say in one sentence what is wrong with a storage.

    Raises
    ------
    CoppiceError
        In place of what Optuna and SQLAlchemy raise.
    """
    try:
        yield
    except sqlalchemy.exc.ArgumentError as error:
        raise CoppiceError(
            f"storage {shown!r} is no address of a database; give for example sqlite:////shared/search.db or "
            "postgresql://user@host/name."
        ) from error
    except (OptunaError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise _unusable(shown, error) from error


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from writing what Coppice says itself."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def enqueue_again(study: Study, trial: FrozenTrial, params: frozenset[str]) -> None:
    """Let a trial that was lost or failed be tried again by whoever asks next, if it had got as far as a point."""
    if params <= trial.params.keys() and DROPPED not in trial.user_attrs:
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})


def _storage(url: str, params: frozenset[str]) -> RDBStorage:
    for _ in range(_TABLE_TRIES):
        try:
            return _opened(url, params)
        except (OptunaError, sqlalchemy.exc.SQLAlchemyError) as error:
            if not any(word in str(error) for word in _MADE_TWICE):
                raise
            time.sleep(0.2)  # another process makes the tables at the same moment
    return _opened(url, params)


def _opened(url: str, params: frozenset[str]) -> RDBStorage:
    sqlite = sqlalchemy.make_url(url).get_backend_name() == "sqlite"
    return RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": _BUSY_S}} if sqlite else None,
        heartbeat_interval=BEAT_S,
        grace_period=LOST_S,
        heartbeat_stale_trial_callback=lambda study, trial: enqueue_again(study, trial, params),
    )


def _unusable(shown: str, error: BaseException) -> CoppiceError:
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ModuleNotFoundError):
        return CoppiceError(
            f"the storage {shown} cannot be used: its driver {error.name!r} is not installed; install that package, or "
            "name another driver in the address, such as postgresql+psycopg2://."
        )
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return CoppiceError(f"the storage {shown} cannot be used: {reason[0].rstrip('.')}.")


def _said(study: Study) -> dict[str, Any] | None:
    """Return what the process that began a search has said of it; it may be saying it just now."""
    for _ in range(int(10 * _WAIT_S)):
        said = study.user_attrs.get(_SAID)
        if isinstance(said, dict):
            return said
        if study.get_trials(deepcopy=False):
            return None
        time.sleep(0.1)
    return None


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

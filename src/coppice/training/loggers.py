"""Loggers of other projects that a fit may write to beside its own history: TensorBoard, MLflow, Weights & Biases."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from coppice.core.errors import CoppiceError
from coppice.core.files import make_folder, plain_os_errors

LoggerName = Literal["tensorboard", "mlflow", "wandb"]

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",), "wandb": ("wandb",)}


def check_loggers(names: Sequence[LoggerName]) -> None:
    """Refuse loggers whose package is missing.

    Parameters
    ----------
    names : sequence of {"tensorboard", "mlflow", "wandb"}

    Raises
    ------
    CoppiceError
        Naming the package.

    Examples
    --------
    >>> check_loggers([])
    """
    for name in names:
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise CoppiceError(
                f"loggers names {name}, which is not installed; pip install 'coppice[{name}]', or leave it out: every "
                "run has its history.csv and report without it."
            )


@contextmanager
def open_loggers(names: Sequence[LoggerName], folder: Path, *, project: str, stage: str) -> Iterator[list[Logger]]:
    """Open loggers for one fit, and close them at its end.

    What they write stays on this machine unless their own variables say otherwise: MLflow writes where
    ``MLFLOW_TRACKING_URI`` says, and Weights & Biases is offline unless ``WANDB_MODE`` is set.

    Parameters
    ----------
    names : sequence of {"tensorboard", "mlflow", "wandb"}
    folder : Path
        Where they write, each into a folder of its name.
    project : str
        What the experiment (MLflow) or project (Weights & Biases) is called.
    stage : str
        What this fit is called in it.

    Raises
    ------
    CoppiceError
        If a package is missing, a logger does not open, or the folder cannot be written.

    Examples
    --------
    >>> with open_loggers([], Path("logs"), project="esc10", stage="train") as loggers:
    ...     len(loggers)
    0
    """
    check_loggers(names)
    with ExitStack() as stack:
        opened = []
        for name in names:
            with plain_os_errors("write the log", folder / name):
                place = make_folder(folder / name)
            try:
                logger, close = _OPENED[name](place, project, stage)
            except Exception as error:  # each has its own, for a server that does not answer and much else
                said = " ".join(str(error).split())[:200]
                raise CoppiceError(f"the logger {name} does not open ({said}); leave it out of loggers.") from error
            stack.callback(close)
            opened.append(logger)
        yield opened


def _tensorboard(folder: Path, project: str, stage: str) -> tuple[Logger, Callable[[], Any]]:
    logger = TensorBoardLogger(folder, name=None, version=stage.replace("/", "-"))
    return logger, lambda: logger.finalize("success")


def _mlflow(folder: Path, project: str, stage: str) -> tuple[Logger, Callable[[], Any]]:
    where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder / 'mlflow.db').resolve()}"
    logger = MLFlowLogger(experiment_name=project, run_name=stage, tracking_uri=where)
    return logger, lambda: logger.finalize("success")


def _wandb(folder: Path, project: str, stage: str) -> tuple[Logger, Callable[[], Any]]:
    logger = WandbLogger(name=stage, save_dir=folder, project=project, offline="WANDB_MODE" not in os.environ)
    return logger, lambda: logger.experiment.finish()


_OPENED = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}

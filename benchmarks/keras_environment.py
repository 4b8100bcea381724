"""Keras' own environment for bench_keras.py, and the processes in it that train."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coppice.core.files import write_text
from coppice.core.progress import say

REQUIREMENTS = Path(__file__).with_name("keras_requirements.txt")
CHILD = Path(__file__).with_name("keras_child.py")
# glibc takes them from the environment; ours calls mallopt with the same values.
KEEP_FREED_MEMORY = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(2**31 - 1))


def is_installed(environment: Path) -> bool:
    """Say whether the environment is whole, and has what the requirements say."""
    marker = environment / REQUIREMENTS.name
    return marker.is_file() and marker.read_bytes() == REQUIREMENTS.read_bytes()


def install(environment: Path) -> None:
    """Make the environment, unless it is there."""
    if is_installed(environment):
        return
    if environment.exists() and not (environment / "pyvenv.cfg").is_file():
        raise SystemExit(f"{environment} is there and holds something else; give another --environment.")
    say(f"installing Keras and tensorflow-cpu in {environment}: 1.6 GB")
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [str(interpreter(environment)), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)],
    ):
        if subprocess.run(command, env=_own_environment(), check=False).returncode:
            raise SystemExit(f"that failed: {' '.join(command)}")
    # The last thing to appear: it says that the rest is whole.
    write_text(environment / REQUIREMENTS.name, REQUIREMENTS.read_text(encoding="utf-8"))


def interpreter(environment: Path) -> Path:
    """Return the environment's Python."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _own_environment() -> dict[str, str]:
    # Neither Coppice's constraints nor its path are for Keras' environment.
    return {name: value for name, value in os.environ.items() if name not in ("PIP_CONSTRAINT", "PYTHONPATH")}


@dataclass(frozen=True)
class Setting:
    """How Keras trains: its policy, with XLA or in graphs, and what glibc does with freed memory."""

    policy: str
    xla: bool = False
    keep: bool = False

    def __str__(self) -> str:
        return f"{self.policy}{', XLA' * self.xla}{', freed memory kept' * self.keep}"


class KerasProcess:
    """A process that trains with one setting; it compiles and warms up at once, beside whatever else goes on."""

    def __init__(self, environment: Path, setting: Setting, *, threads: int, batches: Sequence[int]) -> None:
        self.setting, self.errors = setting, tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        arguments = ["--policy", setting.policy, "--threads", str(threads), "--batches", *map(str, batches)]
        self.process = subprocess.Popen(
            [interpreter(environment), CHILD, *arguments, *(["--xla"] if setting.xla else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=_own_environment() | {"OMP_NUM_THREADS": str(threads)} | (KEEP_FREED_MEMORY if setting.keep else {}),
        )

    def answer(self) -> Any:
        """Wait for the next line that the process says; the first comes when it is ready, with the versions."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"Keras ({self.setting}) ended unasked:\n{self.errors.read()[-2000:]}")
        return json.loads(line)

    def steps(self, batch: int, count: int) -> list[float]:
        """Return the seconds of so many training steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{batch} {count}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """End the process, if it has not ended."""
        if self.process.poll() is None:
            self.process.communicate()
        self.errors.close()

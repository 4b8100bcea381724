import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from coppice.cli.main import main

RATE = 44100


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What a refused command says: one line, and nothing on standard output."""
        assert self.code == 2, self
        assert not self.out
        lines = self.err.splitlines()
        assert [line for line in lines if line.startswith("coppice: ")] == lines[-1:], self.err
        assert "Traceback" not in self.err
        return lines[-1].removeprefix("coppice: ")


@pytest.fixture
def coppice(monkeypatch, capsys) -> Callable[..., Answer]:
    """Run a command line as the installed command does, in this process."""

    def run(*argv: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["coppice", *map(str, argv)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            return Answer(int(end.code or 0), *capsys.readouterr())
        raise AssertionError("main() always exits")

    return run


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPPICE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    random = np.random.default_rng(int(hertz))
    samples = round(seconds * rate)
    return 0.2 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate) + 0.01 * random.standard_normal(samples)


@pytest.fixture(scope="session")
def make_folder() -> Callable[..., Path]:
    """Write a folder of short sounds, some files per class."""

    def make(root: Path, **classes: int) -> Path:
        for index, (label, count) in enumerate((classes or {"dog": 5, "rain": 5, "saw": 5}).items()):
            (root / label).mkdir(parents=True)
            for number in range(count):
                soundfile.write(root / label / f"{number}.wav", tone(400 * 3**index + 11 * number), RATE)
        return root

    return make


@pytest.fixture(scope="session")
def sounds(make_folder, tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("sounds") / "three")


@pytest.fixture(scope="session")
def trained(sounds, tmp_path_factory) -> Path:
    """A checkpoint that the command line trained."""
    folder = tmp_path_factory.mktemp("trained") / "train"
    argv = ["coppice", "train", "--data", str(sounds), "--out", str(folder), "--duration", "0.5", "--epochs", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*argv, "--widths", "4,6,8", "--dense", "12"])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code
    return folder / "checkpoint.safetensors"

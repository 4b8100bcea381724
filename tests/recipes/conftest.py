import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coppice.core.errors import CoppiceError
from coppice.recipes.recipe import Recipe, load_recipe

TINY = """\
name: tiny
data: {source: synthetic, synthetic: {clips_per_class: 5, duration_s: 0.5}}
split: {strategy: folds}
front_end: {preset: dcase2021, duration_s: 0.5}
network: {name: dcase2021, widths: [4, 6, 8], dense: 12}
training: {epochs: 3, patience: 3, precision: float32}
systems:
  cosine:
    - prune: {criterion: cosine_similarity, keep: {conv2: 4}}
    - finetune: {epochs: 2, patience: 2, precision: float32}
"""
# What a run must leave the same however often it was interrupted.
RESULTS = ("metrics.json", "predictions.csv", "checkpoint.safetensors", "plan.json", "clips.csv", "data.json")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A recipe that takes a second or two."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def forked():
    """Run a command line in a child of its own; see forked_commands.py."""
    program = Path(__file__).with_name("forked_commands.py")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # the networks are too small for more
    with subprocess.Popen(
        [sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as served:

        def run(*argv, **job):
            served.stdin.write(json.dumps({"argv": list(map(str, argv)), **job}, default=str) + "\n")
            served.stdin.flush()
            return json.loads(served.stdout.readline())

        yield run
        served.stdin.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def whole_run(tiny, forked, cache, tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    place = tmp_path_factory.mktemp("whole")
    answer = forked("run", tiny, "--out", "run", cwd=place, env={"COPPICE_CACHE": str(cache)})
    assert answer["code"] == 0, answer
    return place / "run"


@pytest.fixture(scope="session")
def results():
    """Return the bytes of everything in a run folder that must not depend on interruptions."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (file for file in folder.rglob("*") if file.name in RESULTS)
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}

    return read


@pytest.fixture
def parsed(tmp_path):
    """Read a recipe from text; return the sentence if it is refused."""

    def read(content: str | bytes, *changes: str) -> Recipe | str:
        path = tmp_path / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            return load_recipe(path, changes=changes)
        except CoppiceError as error:
            return str(error)

    return read

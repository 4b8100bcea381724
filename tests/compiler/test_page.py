"""What docs/compiler.md shows has to work."""

import re
from pathlib import Path

import pytest

import coppice as cp

PAGE = Path(__file__).parents[2] / "docs" / "compiler.md"
pytestmark = pytest.mark.usefixtures("cc")


@pytest.mark.proof
def test_the_example_of_the_page_runs(classifier, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cp.quantize_int8(classifier, "int8.onnx", clips=sounds)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    known = {"cp": cp, "small": classifier}
    exec(block, known)
    clips = classifier.normalise(cp.log_mel(sounds[0], classifier.front_end)[None]).numpy()
    assert known["fast"](clips).shape == (1, len(classifier.labels))
    assert Path("c/front_end.c").exists() and "int8" in Path("mcu/README.txt").read_text()

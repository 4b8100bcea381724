import re
from pathlib import Path

import numpy as np
import pytest

from coppice.networks.checkpoint import save

PAGE = Path(__file__).parents[2] / "docs" / "listening.md"


def test_the_example_of_the_page_runs(classifier, wav, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(classifier, tmp_path / "net.safetensors")
    file, _ = wav(1.2)
    file.rename("kitchen.wav")
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    blocks = [np.full((4800, 2), 0.1, np.float32)] * 15
    exec(example, {"blocks": blocks})
    first, *windows = capsys.readouterr().out.splitlines()
    assert first.split()[0] in classifier.labels
    assert first.endswith(" 4")
    assert [float(line.split()[0]) for line in windows] == pytest.approx([0.5, 1.0])

"""What docs/int8.md shows has to work."""

import re
from pathlib import Path

import torch

import coppice as cp

PAGE = Path(__file__).parents[2] / "docs" / "int8.md"


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    ear = cp.front_end("dcase2021", duration_s=0.5)
    data = cp.prepare("synthetic", clips_per_class=5, duration_s=0.5, front_end=ear)
    network = cp.build_network("dcase2021", widths=(2, 3, 4), dense=5, frames=25)
    net = cp.Classifier(network.eval(), ear, data.dataset.labels, torch.zeros(40), torch.ones(40))
    known = {"cp": cp, "net": net, "data": data}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, known)
    assert known["small"].stored_as == "dynamic_int8" and known["done"].int8_layers
    assert Path("small.safetensors").exists() and Path("model.int8.onnx").exists()

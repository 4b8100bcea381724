"""Files of any format are recognised by their endings, and the page that describes them tells their limits truly."""

import re
from pathlib import Path

import pytest

from coppice.cli.export import TARGETS
from coppice.core.errors import CoppiceError
from coppice.export import openvino
from coppice.export.litert import export as litert
from coppice.export.model_files import read_model_file, runs_in
from coppice.export.runtimes import RUNTIMES
from coppice.export.verify import TOLERANCES

PAGE = (Path(__file__).parents[2] / "docs" / "exporting.md").read_text(encoding="utf-8")


def test_the_page_lists_every_target_and_tolerance():
    rows = dict(re.findall(r"^\| `(\w+)` \| .*? \| .*? \| (.*?) \|", PAGE, flags=re.MULTILINE))
    assert set(rows) == set(TARGETS)
    assert rows["openvino"] == ", ".join(openvino.PRECISIONS)
    assert rows["litert"] == ", ".join(litert.PRECISIONS)
    said = dict(re.findall(r"^\| (float32|float16|int8) \| ([\d.]+) \|", PAGE, flags=re.MULTILINE))
    assert {name: float(value) for name, value in said.items()} == TOLERANCES


def test_a_network_runs_everywhere_and_a_file_where_it_is_read(classifier, model):
    assert runs_in(classifier) == tuple(RUNTIMES)
    assert runs_in(model) == ("onnxruntime", "openvino", "c")


@pytest.mark.parametrize("ending", [".onnx", ".xml", ".tflite"])
def test_a_missing_file_is_named(tmp_path, ending):
    with pytest.raises(CoppiceError, match=f"cannot read the model .*gone{ending}: no such file or folder"):
        read_model_file(tmp_path / f"gone{ending}")

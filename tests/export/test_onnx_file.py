"""ONNX files that are cut off, damaged or not what they say."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from coppice.core.errors import CoppiceError
from coppice.export.onnx_file import parse_onnx, read_onnx
from coppice.export.runtimes import onnxruntime_call


def small(*, inputs=1, kind=TensorProto.FLOAT, shape=("clips", 3), op="Relu"):
    given = [helper.make_tensor_value_info(f"x{i}", kind, shape) for i in range(inputs)]
    nodes = [helper.make_node(op, [value.name], [value.name.replace("x", "y")]) for value in given]
    made = [helper.make_tensor_value_info(f"y{i}", kind, shape) for i in range(inputs)]
    graph = helper.make_graph(nodes, "g", given, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_damaged_file_is_refused_in_one_sentence_or_still_runs(model, data):
    content = bytearray(model.content)
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        opened = parse_onnx(bytes(content), "damaged.onnx")
        onnxruntime_call(opened, np.zeros((1, *opened.clip_shape), np.float32), threads=1)()
    except CoppiceError as error:
        assert "damaged.onnx" in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_off_is_refused_by_name(model, tmp_path, share):
    path = tmp_path / "half.onnx"
    path.write_bytes(model.content[: int(share * len(model.content))])
    with pytest.raises(CoppiceError, match=r"half\.onnx is not a whole ONNX model"):
        read_onnx(path)


@pytest.mark.parametrize(
    "content, sentence",
    [(b"", "is empty"), (b"RIFF....WAVE", "is not a whole ONNX model"), (b"\0" * 100, "is not a whole ONNX model")],
)
def test_another_file_is_refused(tmp_path, content, sentence):
    path = tmp_path / "not.onnx"
    path.write_bytes(content)
    with pytest.raises(CoppiceError, match=sentence):
        read_onnx(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CoppiceError, match=r"cannot read the model .*gone\.onnx: no such file"):
        read_onnx(tmp_path / "gone.onnx")


def test_weights_in_other_files_are_not_read(tmp_path):
    made = small(op="Identity")
    weight = onnx.numpy_helper.from_array(np.ones(3, np.float32), "w")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../secret")
    weight.ClearField("raw_data")
    inner = helper.make_node("Constant", [], ["c"], value=weight)
    made.graph.node.append(inner)
    with pytest.raises(CoppiceError, match="keeps weights in other files"):
        parse_onnx(made.SerializeToString(), "outside.onnx")


@pytest.mark.parametrize(
    "made, sentence",
    [
        ({"inputs": 2}, "has 2 inputs"),
        ({"kind": TensorProto.DOUBLE}, "one input of float32"),
        ({"shape": ("clips", "any")}, "takes an input of clips × any values"),
        ({"shape": (4, 3)}, "takes an input of 4 × 3 values"),
        ({"shape": ("clips",)}, "takes an input of clips values"),
        ({"shape": ("clips", 1 << 20, 1 << 20)}, "takes an input of"),
    ],
)
def test_an_input_that_cannot_be_measured_is_refused(made, sentence):
    with pytest.raises(CoppiceError, match=sentence):
        parse_onnx(small(**made).SerializeToString(), "odd.onnx")


def test_an_operator_that_is_not_onnx_is_named():
    with pytest.raises(CoppiceError, match="Relux"):
        parse_onnx(small(op="Relux").SerializeToString(), "odd.onnx")


def test_an_operator_that_the_runtime_lacks_is_named():
    made = small()
    made.graph.node[0].domain = "my.own"
    made.opset_import.append(helper.make_opsetid("my.own", 1))
    opened = parse_onnx(made.SerializeToString(), "own.onnx")
    with pytest.raises(CoppiceError, match=r"ONNX Runtime cannot run own\.onnx: .*Relu"):
        onnxruntime_call(opened, np.zeros((1, 3), np.float32), threads=1)

import pytest
import tflite
import torch
from torch import nn
from torch.nn import functional as F

from coppice.complexity.folding import fold_batch_norm
from coppice.complexity.nessi import count_nessi
from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.surrey2022 import Surrey2022

# Filters, NeSsi's MACs (the files have a RESHAPE) and bytes of Singh and Plumbley's DCASE 2022 networks, counted on
# the released files.
SURREY = {
    "unpruned": ((16, 16, 32), 5_404_520, 15_152),
    "C1": ((12, 16, 32), 4_156_040, 14_524),
    "C2": ((16, 12, 32), 4_129_320, 13_408),
    "C3": ((16, 16, 22), 5_286_520, 11_672),
    "C12": ((12, 12, 32), 3_174_600, 12_924),
    "C23": ((16, 12, 22), 4_040_120, 10_288),
    "C123": ((12, 12, 22), 3_085_400, 9_804),
}


def test_the_dcase_2022_baseline_has_its_published_rows():
    count = count_nessi(DCASE2021(frames=51), torch.zeros(1, 1, 40, 51))
    assert count.by_layer == {
        "conv1": 1_599_360,
        "conv2": 25_589_760,
        "pool2": 32_000,
        "conv3": 2_007_040,
        "pool3": 2_560,
        "dense1": 3_200,
        "dense2": 1_000,
    }
    assert count.bytes_by_layer == {
        "conv1": 848,
        "conv2": 12_608,
        "conv3": 25_216,
        "dense1": 6_800,
        "dense2": 1_040,
    }
    assert (count.macs, count.size_bytes) == (29_234_920, 46_512)


def test_a_reshape_before_the_dense_layer_gives_it_all_its_inputs():
    count = count_nessi(DCASE2021(frames=51), torch.zeros(1, 1, 40, 51), flatten="reshape")
    assert (count.macs, count.by_layer["dense1"], count.size_bytes) == (29_238_120, 6_400, 46_512)


@pytest.mark.parametrize("name", SURREY)
def test_the_2022_networks_have_their_numbers(name):
    widths, macs, size = SURREY[name]
    count = count_nessi(Surrey2022(widths=widths), torch.zeros(1, 1, 40, 51), flatten="reshape")
    assert (count.macs, count.size_bytes) == (macs, size)


def walk(data: bytes) -> tuple[int, int]:
    """NeSsi's rules applied to the operators of a TFLite file: MACs, and bytes if it were int8 with int32 biases."""
    model = tflite.Model.GetRootAs(data)
    graph = model.Subgraphs(0)
    macs = size = 0
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        inputs = [[int(n) for n in graph.Tensors(i).ShapeAsNumpy()] for i in operator.InputsAsNumpy()]
        out = [int(n) for n in graph.Tensors(operator.Outputs(0)).ShapeAsNumpy()]
        elements = out[0] * out[-1] * (out[1] * out[2] if len(out) == 4 else 1)
        if kind == tflite.BuiltinOperator.CONV_2D:
            _, height, width, channels = inputs[1]
            macs += elements * height * width * channels
            size += inputs[1][0] * height * width * channels + 4 * inputs[2][0]
        elif kind == tflite.BuiltinOperator.AVERAGE_POOL_2D:
            options = tflite.Pool2DOptions()
            options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
            macs += elements * options.FilterHeight() * options.FilterWidth()
        elif kind == tflite.BuiltinOperator.FULLY_CONNECTED:
            macs += elements * inputs[0][-1]
            size += inputs[1][0] * inputs[1][1] + 4 * inputs[2][0]
    return macs, size


@pytest.mark.parametrize("name", SURREY)
def test_a_walk_through_the_released_file_finds_the_same(shared_data, name):
    widths, _, _ = SURREY[name]
    count = count_nessi(Surrey2022(widths=widths), torch.zeros(1, 1, 40, 51), flatten="reshape")
    file = shared_data / "surrey2022" / name / "float32.tflite"
    assert walk(file.read_bytes()) == (count.macs, count.size_bytes)


class Step(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("network", "shape", "macs", "size"),
    [
        (nn.Conv2d(4, 8, 3, bias=False), (1, 4, 5, 5), 9 * 8 * 4 * 9, 288 + 32),  # TFLite adds a bias
        (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 5, 5), 9 * 8 * 9, 72 + 32),
        (nn.Conv1d(2, 3, 4), (1, 2, 9), 6 * 3 * 2 * 4, 24 + 12),
        (nn.ConvTranspose2d(4, 6, 2, groups=2), (1, 4, 3, 3), 0, 48 + 24),
        (nn.MaxPool2d(3, 2, 1), (1, 2, 9, 9), 2 * 25 * 9, 0),
        (nn.MaxPool1d(3), (1, 2, 9), 2 * 3 * 3, 0),
        (nn.AvgPool1d(2), (1, 2, 9), 2 * 4 * 2, 0),
        (nn.AvgPool2d((4, 10)), (1, 2, 8, 20), 2 * 4 * 40, 0),
        (nn.AdaptiveAvgPool2d(1), (1, 3, 5, 7), 105, 0),
        (nn.AdaptiveAvgPool2d(2), (1, 3, 4, 8), 96, 0),
        (nn.AdaptiveMaxPool2d(1), (1, 3, 5, 7), 105, 0),
        (Step(lambda x: x.mean((2, 3))), (1, 3, 5, 7), 105, 0),
        (Step(lambda x: x + x), (1, 3, 5), 15, 0),
        (Step(lambda x: x + 1.0), (1, 3, 5), 15, 0),
        (Step(lambda x: torch.relu(x) * x - x), (1, 3, 5), 0, 0),
        (Step(lambda x: x @ x.transpose(1, 2)), (1, 3, 5), 0, 0),
        (Step(lambda x: torch.zeros(3, 5).add_(x[0]).add_(x[0])), (1, 3, 5), 30, 0),
        (nn.Linear(5, 4), (1, 5), 20, 20 + 16),
        (nn.Linear(5, 4), (1, 3, 5), 60, 20 + 16),
        (nn.Linear(5, 4, bias=False), (1, 5), 20, 20),
        (nn.Sequential(nn.Flatten(), nn.Linear(24, 2)), (1, 4, 3, 2), 8, 48 + 8),
        (nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Identity(), nn.Linear(24, 2)), (1, 4, 3, 2), 8, 48 + 8),
        (nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(24, 2)), (1, 4, 3, 2), 48, 48 + 8),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)), (1, 1, 3, 3), 36, 4 + 16),
        (nn.BatchNorm2d(4), (1, 4, 3, 3), 36, 8),
    ],
)
def test_each_operator_has_its_rule(network, shape, macs, size):
    count = count_nessi(network, torch.zeros(shape))
    assert (count.macs, count.size_bytes) == (macs, size)


def test_a_dense_layer_that_reads_a_flattened_transpose_counts_like_one_that_is_written_as_a_function():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.zeros(2, 24)), nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return F.linear(x.flatten(1), self.weight, self.bias)

    count = count_nessi(Written(), torch.zeros(1, 4, 3, 2).to(memory_format=torch.channels_last))
    assert (count.macs, count.size_bytes) == (8, 56)


def test_folding_first_changes_nothing():
    network, example = DCASE2021(widths=(3, 4, 5), frames=25), torch.zeros(1, 1, 40, 25)
    assert count_nessi(network, example) == count_nessi(fold_batch_norm(network, example), example)


def test_what_does_not_depend_on_the_input_counts_nothing():
    # An average that leaves its zeros out: the second pool is the same for every clip.
    def average(x):
        inside = x.new_ones((1, 1, *x.shape[2:]))
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2) / F.avg_pool2d(F.pad(inside, (0, 1, 0, 1)), 3, 2)

    count = count_nessi(Step(average), torch.zeros(1, 2, 6, 6))
    assert (count.macs, count.size_bytes) == (2 * 9 * 9, 0)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_recurrent_layer_is_refused_by_name(kind):
    with pytest.raises(CoppiceError, match=f"no rule for the recurrent layer '0' \\({kind.__name__}\\)"):
        count_nessi(nn.Sequential(kind(5, 3)), torch.zeros(1, 4, 5))


def test_an_unknown_way_of_flattening_is_refused():
    with pytest.raises(CoppiceError, match="flatten is 'none'; give 'folded' or 'reshape'"):
        count_nessi(nn.Flatten(), torch.zeros(1, 2), flatten="none")


def test_the_network_is_left_as_it_is():
    network = DCASE2021(frames=25).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_nessi(network, torch.randn(1, 1, 40, 25))
    assert network.training and all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()

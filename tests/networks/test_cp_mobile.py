import pytest
import torch
import torchinfo
from torch.nn import functional as F

from coppice.complexity.macs import count_macs
from coppice.complexity.params import count_params
from coppice.core.errors import CoppiceError
from coppice.networks.cp_mobile import CPMobile, divisible_by_8
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune

EXAMPLE = torch.zeros(1, 1, 256, 65)


def lively(network: CPMobile) -> CPMobile:
    for tensor in network.state_dict().values():
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def written_out(network: CPMobile, x: torch.Tensor, strides: dict[str, tuple[int, int]]) -> torch.Tensor:
    """Compute the published layers in float64 from the state dict, by the names it is published with."""
    state = {name: tensor.double() for name, tensor in network.state_dict().items()}

    def layer(x: torch.Tensor, name: str, **options) -> torch.Tensor:
        x = F.conv2d(x, state[f"{name}.0.weight"], **options)
        scale = state[f"{name}.1.weight"] / (state[f"{name}.1.running_var"] + 1e-5).sqrt()
        shift = state[f"{name}.1.bias"] - state[f"{name}.1.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = layer(x.double(), "in_c.0", stride=2, padding=1).relu()
    x = layer(x, "in_c.1", stride=2, padding=1).relu()
    for name in ("s1.b1", "s1.b2", "s1.b3", "s2.b4", "s2.b5", "s3.b6"):
        stride = strides.get(name.partition(".")[2], (1, 1))
        block = f"stages.{name}.block"
        inside = layer(x, f"{block}.0").relu()
        inside = layer(inside, f"{block}.1", stride=stride, padding=1, groups=inside.shape[1]).relu()
        inside = layer(inside, f"{block}.2")
        if inside.shape[1] == x.shape[1]:
            inside = inside + (x if stride == (1, 1) else F.avg_pool2d(x, 3, stride, padding=1))
        x = inside.relu()
    return layer(x, "feed_forward").mean((2, 3))


def test_parameters_and_macs_are_the_published_ones():
    network = CPMobile()
    assert count_params(network, EXAMPLE).trainable == 61_148
    assert count_macs(network, EXAMPLE).total == 29_416_448
    counted = torchinfo.summary(network, input_size=(1, 1, 256, 65), verbose=0)
    assert (counted.total_params, counted.total_mult_adds) == (61_148, 29_419_156)


def test_as_float16_it_takes_the_published_bytes_and_buffers():
    network = CPMobile().half()
    assert sum(p.numel() * p.element_size() for p in network.parameters()) == 122_296
    assert sum(buffer.numel() for buffer in network.buffers()) == 2_729


def test_names_are_those_of_the_published_checkpoints():
    names = CPMobile().state_dict().keys()
    layers = [f"in_c.{number}" for number in (0, 1)]
    layers += [
        f"stages.{block}.block.{n}"
        for block in ("s1.b1", "s1.b2", "s1.b3", "s2.b4", "s2.b5", "s3.b6")
        for n in (0, 1, 2)
    ]
    layers += ["feed_forward"]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert set(names) == {f"{layer}.0.weight" for layer in layers} | {f"{la}.1.{key}" for la in layers for key in norm}


def test_logits_equal_the_layers_written_out_in_float64():
    network = lively(CPMobile(base_channels=16))
    clips = torch.randn(2, 1, 64, 33)
    reference = written_out(network, clips, {"b3": (1, 2), "b4": (2, 1)})
    torch.testing.assert_close(network.double()(clips.double()), reference, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(network.float()(clips).double(), reference, rtol=1e-4, atol=1e-4)


def test_factors_give_widths_in_steps_of_eight():
    config = CPMobile(base_channels=24, channels_multiplier=2.3, expansion_rate=3.0, blocks=(1, 2)).config()
    assert config["blocks"] == [1, 2] and config["stem"] == [6, 24]
    assert config["widths"] == [24, 56, 56] and config["expanded"] == [72, 72, 168]
    assert config["shortcuts"] == [True, False, True] and config["strides"] == {"b3": [1, 2]}
    assert [divisible_by_8(channels) for channels in (0.1, 12, 19, 20, 67.2)] == [8, 16, 24, 24, 64]


def test_strides_are_those_asked_for_and_none_are_added():
    assert CPMobile(strides={"b1": (2, 2)}).config()["strides"] == {"b1": [2, 2]}
    assert CPMobile(strides={}).config()["strides"] == {}
    assert CPMobile(strides={"b3": (1, 1)}).config()["strides"] == {}


def test_widths_that_become_equal_by_pruning_get_no_shortcut():
    network = lively(CPMobile(base_channels=8, bands=32, frames=17))
    example = torch.randn(1, 1, 32, 17)
    decided = plan(network, "l1", keep={"in_c.1.0": 6, "stages.s2.b4.block.2.0": 6}, example=example)
    small = prune(network, decided, example=example)
    assert small.config()["widths"] == [6, 6, 6, 6, 6, 24]
    assert small.config()["shortcuts"] == [True, True, True, False, True, False]
    again = CPMobile(**small.config()).eval()
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(example), small(example))


def test_each_block_can_have_its_own_width_inside():
    network = lively(CPMobile(base_channels=8, bands=32, frames=17))
    example = torch.randn(1, 1, 32, 17)
    keep = {f"stages.s1.b{number}.block.0.0": 8 + number for number in (1, 2, 3)}
    small = prune(network, plan(network, "l1", keep=keep, example=example), example=example)
    assert small.config()["expanded"] == [9, 10, 11, 16, 32, 32]


@pytest.mark.parametrize(
    "config, words",
    [
        ({"base_channels": 0}, "0 units in base_channels"),
        ({"channels_multiplier": 0}, "channels_multiplier 0"),
        ({"channels_multiplier": float("nan")}, "as channels_multiplier but got nan"),
        ({"channels_multiplier": 16, "blocks": (1,) * 16}, "131072 units in b4"),
        ({"expansion_rate": "big"}, "as expansion_rate but got 'big'"),
        ({"expansion_rate": -2}, "expansion_rate -2"),
        ({"blocks": ()}, r"blocks \(\)"),
        ({"blocks": (3, 0)}, r"blocks \(3, 0\)"),
        ({"blocks": 3}, "blocks 3"),
        ({"strides": {"b7": (1, 2)}}, "no block 'b7'"),
        ({"strides": {"b3": 2}}, "stride 2 in b3"),
        ({"strides": {"b3": (0, 1)}}, r"stride \(0, 1\) in b3"),
        ({"strides": (1, 2)}, r"strides \(1, 2\)"),
        ({"stem": (8,)}, "2 numbers in stem"),
        ({"widths": (32, 32)}, "6 numbers in widths"),
        ({"expanded": (64, 64, 64, 64, 120, 0)}, "0 units in b6"),
        ({"shortcuts": (True,)}, "each of 6 shortcuts"),
        ({"shortcuts": (True, True, True, True, True, False)}, "add 32 channels to 56 in b4"),
        ({"classes": 1}, "1 classes"),
        ({"bands": 0}, "0×65"),
        ({"frames": 0}, "256×0"),
    ],
)
def test_an_impossible_size_is_refused_by_name(config, words):
    with pytest.raises(CoppiceError, match=words):
        CPMobile(**config)

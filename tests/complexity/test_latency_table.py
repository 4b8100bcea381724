import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from coppice.complexity.latency_table import LatencyTable, TorchRuntime
from coppice.complexity.product import Product
from coppice.core.errors import CoppiceError


@dataclass
class Fixed:
    name: str = "fixed"
    asked: int = 0

    def product_ms(self, product):
        self.asked += 1
        return float(product.weight[0])

    def networks_ms(self, networks, example):
        return dict.fromkeys(networks, 1.0)


PRODUCT = Product("matrix", (1, 8), (8, 4))


def test_times_are_kept_for_each_runtime_and_measured_once(tmp_path):
    table = LatencyTable.on_disk(Fixed(), folder=tmp_path)
    with table.saved():
        assert table.ms(PRODUCT) == table.ms(PRODUCT) == 8.0
    again = LatencyTable.on_disk(Fixed(), folder=tmp_path)
    assert again.ms(PRODUCT) == 8.0 and again.runtime.asked == 0
    assert LatencyTable.on_disk(Fixed("another"), folder=tmp_path).times_ms == {}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: "{",
        lambda data: "[]",
        lambda data: json.dumps(data | {"version": 99}),
        lambda data: json.dumps(data | {"runtime": "another"}),
        lambda data: json.dumps(data | {"times_ms": {"a": "fast"}}),
        lambda data: '{"version": 1, "runtime": "fixed", "times_ms": {"a": NaN}}',
    ],
)
def test_a_damaged_file_is_said_and_measured_anew(tmp_path, damage, capsys):
    table = LatencyTable.on_disk(Fixed(), folder=tmp_path)
    with table.saved():
        table.ms(PRODUCT)
    (file,) = tmp_path.iterdir()
    file.write_text(damage(json.loads(file.read_text())))
    again = LatencyTable.on_disk(Fixed(), folder=tmp_path)
    assert again.times_ms == {} and "measured anew" in capsys.readouterr().err
    with again.saved():
        assert again.ms(PRODUCT) == 8.0
    assert LatencyTable.on_disk(Fixed(), folder=tmp_path).times_ms == again.times_ms


def test_torch_times_products_and_networks_and_leaves_everything_as_it_was():
    runtime = TorchRuntime(seconds=0.001)
    network = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Dropout()).train()
    threads = torch.get_num_threads()
    times = runtime.networks_ms({"one": network, "other": network}, torch.zeros(1, 1, 8))
    assert set(times) == {"one", "other"} and all(ms > 0 for ms in times.values())
    assert network.training and torch.get_num_threads() == threads
    convolution = Product(
        "convolution", (1, 2, 8), (4, 2, 3), bias=True, stride=(1,), padding=(0,), dilation=(1,), output_padding=(0,)
    )
    assert runtime.product_ms(convolution) > 0
    assert "torch" in runtime.name and runtime.name.endswith("1 thread")
    assert TorchRuntime(threads=2).name.endswith("2 threads")


def test_a_product_of_another_kind_is_refused():
    with pytest.raises(CoppiceError, match="'attention'"):
        Product("attention", (1,), (1,))

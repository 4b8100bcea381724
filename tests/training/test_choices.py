import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.training import precision
from coppice.training.batches import EpochOrder, ordered_batches, shuffled_batches
from coppice.training.layout import training_layout
from coppice.training.precision import choose_precision
from coppice.training.settings import TrainingSettings


@pytest.fixture
def processor(monkeypatch):
    """Pretend to run on a processor with these instructions."""

    def be(*, amx=False, avx512_bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)

    return be


@pytest.mark.parametrize("instructions, word", [({"amx": True}, "AMX"), ({"avx512_bf16": True}, "AVX-512")])
def test_bfloat16_is_chosen_where_the_processor_has_it(processor, instructions, word):
    processor(**instructions)
    chosen = choose_precision("auto")
    assert (chosen.name, chosen.lightning) == ("bfloat16", "bf16-mixed") and word in chosen.reason
    assert choose_precision("bfloat16").name == "bfloat16"
    assert choose_precision("float32").name == "float32"


def test_without_bfloat16_instructions_float32_is_chosen_and_the_wish_refused(processor):
    processor()
    chosen = choose_precision("auto")
    assert (chosen.name, chosen.lightning) == ("float32", "32-true") and "no bfloat16" in chosen.reason
    with pytest.raises(CoppiceError, match="no bfloat16 instructions"):
        choose_precision("bfloat16")


@pytest.mark.parametrize("emulated, name", [(True, "float32"), (False, "bfloat16")])
def test_a_gpu_that_only_emulates_bfloat16_gets_float32(monkeypatch, emulated, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not emulated)
    assert choose_precision("auto").name == name


def test_float16_is_not_offered():
    with pytest.raises(CoppiceError, match=r"no precision 'float16'. Did you mean 'bfloat16'\?"):
        choose_precision("float16")
    assert "float16" not in precision.CHOICES


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 0},
        {"epochs": 2.0},
        {"batch_size": True},
        {"patience": -1},
        {"learning_rate": 0.0},
        {"learning_rate": 10.0},
        {"learning_rate": float("nan")},
        {"seed": -1},
        {"precision": "float16"},
    ],
)
def test_an_impossible_setting_is_refused_by_name(given):
    (name,) = given
    with pytest.raises(CoppiceError, match=f"^{name} is "):
        TrainingSettings(**given)


WIDE, NARROW = ((16, 16, 32), (24, 16, 32)), ((16, 11, 32), (8, 8, 16))


@pytest.mark.parametrize("widths", WIDE + NARROW)
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("compiler", [False, True])
def test_channels_lie_last_unless_pytorch_itself_has_to_normalise_few_of_them_in_float32(
    widths, half, compiler, monkeypatch
):
    monkeypatch.setattr("coppice.training.layout.compiles", lambda: compiler)
    layout = torch.contiguous_format if widths in NARROW and not half and not compiler else torch.channels_last
    assert training_layout(DCASE2021(widths=widths), half=half) is layout


def test_a_network_without_two_dimensional_convolutions_stays_contiguous():
    assert training_layout(nn.Sequential(nn.Conv1d(1, 16, 3), nn.Linear(16, 16))) is torch.contiguous_format


def epochs_of(order, count):
    found = []
    for epoch in range(count):
        order.set_epoch(epoch)
        found.append(list(order))
    return found


def test_every_clip_comes_once_an_epoch_in_an_order_of_seed_and_epoch_alone():
    first, second = (epochs_of(EpochOrder(11, batch_size=4, seed=5), 3) for _ in range(2))
    assert first == second
    assert all(sorted(clip for batch in epoch for clip in batch) == list(range(11)) for epoch in first)
    assert [len(batch) for batch in first[0]] == [4, 4, 3] and len(EpochOrder(11, batch_size=4, seed=5)) == 3
    assert first[0] != first[1] != first[2]
    assert epochs_of(EpochOrder(11, batch_size=4, seed=6), 1) != first[:1]


def test_batches_hold_the_clips_that_the_order_names():
    inputs, targets = torch.arange(11.0).reshape(11, 1, 1, 1), torch.arange(11)
    for batch in shuffled_batches(inputs, targets, batch_size=4, seed=0):
        assert torch.equal(batch[0].flatten().long(), batch[1])
    together = [batch[1] for batch in ordered_batches(inputs, targets, batch_size=4)]
    assert torch.equal(torch.cat(together), targets)

import hashlib

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.networks.audioset import audioset_labels
from coppice.networks.cnn6 import CNN6
from coppice.networks.cnn10 import CNN10
from coppice.networks.cnn14 import CNN14
from coppice.networks.foreign.panns import from_panns, is_panns
from coppice.networks.foreign.torch_files import import_torch

KINDS = {
    CNN14: [3, 4, 5, 6, 7, 8, 2, 3, 4, 5, 6, 7],
    CNN10: [3, 4, 5, 6, 7, 8, 2, 3],
    CNN6: [3, 4, 5, 6],
}
REAL, IMAG = (f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))
MELW = "logmel_extractor.melW"
RATES = {32000: (1024, 14000), 16000: (512, 8000), 8000: (256, 4000)}


def trained(kind=CNN6, *, bands=64, classes=527):
    """A narrow network whose batch normalisations have seen something."""
    network = kind(widths=KINDS[kind], dense=9, classes=classes, bands=bands)
    for name, tensor in network.state_dict().items():
        if "bn" in name and tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return network.eval()


def frozen_front_end(rate, bands=64, **mel):
    """Fourier kernels and mel filterbank as the published files hold them, by librosa and an FFT of unit impulses."""
    n_fft, fmax = RATES[rate]
    kernels = np.fft.fft(np.eye(n_fft))[: n_fft // 2 + 1] * librosa.filters.get_window("hann", n_fft, fftbins=True)
    bank = librosa.filters.mel(**{"sr": rate, "n_fft": n_fft, "n_mels": bands, "fmin": 50, "fmax": fmax, **mel})
    return {
        REAL: torch.tensor(kernels.real[:, None], dtype=torch.float32),
        IMAG: torch.tensor(kernels.imag[:, None], dtype=torch.float32),
        MELW: torch.tensor(bank.T, dtype=torch.float32),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_architecture_and_every_width_are_read_from_the_tensors(kind):
    network = trained(kind)
    imported = from_panns(network.state_dict())
    assert type(imported.network) is kind
    assert imported.network.config() == network.config()
    assert not imported.network.training
    clips = torch.randn(2, 1, 64, 40)
    with torch.no_grad():
        assert torch.equal(imported.network(clips), network(clips))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(1, 6), min_size=12, max_size=12),
    dense=st.integers(1, 9),
    classes=st.integers(2, 9),
    bands=st.sampled_from([32, 64]),
)
def test_any_pruned_shape_is_imported(widths, dense, classes, bands):
    network = CNN14(widths=widths, dense=dense, classes=classes, bands=bands)
    assert from_panns(network.state_dict()).network.config() == network.config()


def test_what_the_file_settles_is_said():
    imported = from_panns(trained().state_dict() | frozen_front_end(32000))
    assert (imported.format, imported.score, imported.normalised) == ("panns", "sigmoid", True)
    assert imported.labels == audioset_labels()
    assert imported.layer_names == {
        name: name
        for name in (
            "bn0",
            "fc1",
            "fc_audioset",
            *(f"conv_block{i}.{part}1" for i in range(1, 5) for part in ("conv", "bn")),
        )
    }


def test_other_classes_have_no_labels_and_a_note_says_that_sigmoid_is_assumed():
    imported = from_panns(trained(classes=10).state_dict())
    assert imported.labels is None and imported.score == "sigmoid"
    assert any("10 classes" in note and "assumed" in note for note in imported.notes)


def test_narrowed_networks_warn_of_the_softmax_in_the_demo_of_e_panns():
    assert any("softmax" in note for note in from_panns(trained().state_dict()).notes)


@pytest.mark.parametrize(
    "rate, expected",
    [(32000, front_end("panns32k")), (16000, front_end("panns16k"))],
)
def test_the_frozen_tensors_tell_the_front_end(rate, expected):
    frozen = frozen_front_end(rate)
    imported = from_panns(trained().state_dict() | frozen)
    assert imported.front_end == expected
    size = sum(4 * tensor.numel() for tensor in frozen.values())
    assert any(note.startswith(f"{size} bytes") for note in imported.notes)


def test_the_frozen_front_end_of_cnn14_has_the_published_size():
    assert sum(tensor.numel() for tensor in frozen_front_end(32000).values()) == 81_837_071 - 80_753_615


@pytest.mark.parametrize("rate, bands", [(8000, 64), (32000, 32), (32000, 128), (16000, 32)])
def test_published_front_ends_without_a_preset_are_built_from_their_constants(rate, bands):
    found = from_panns(trained(bands=bands).state_dict() | frozen_front_end(rate, bands)).front_end
    n_fft, fmax = RATES[rate]
    assert (found.sample_rate, found.n_fft, found.win_length, found.hop_length) == (rate, n_fft, n_fft, rate // 100)
    assert (found.n_mels, found.fmin_hz, found.fmax_hz, found.log, found.log_floor) == (
        bands,
        50,
        fmax,
        "decibel",
        1e-10,
    )
    assert found.shape == (bands, 1001)


def test_without_the_frozen_tensors_32_khz_is_assumed_and_said():
    imported = from_panns(trained().state_dict())
    assert imported.front_end == front_end("panns32k")
    assert any("32 kHz is assumed" in note for note in imported.notes)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_frozen_front_end_in_16_bits_is_recognised(half):
    frozen = {name: tensor.to(half) for name, tensor in frozen_front_end(32000).items()}
    assert from_panns(trained().state_dict() | frozen).front_end == front_end("panns32k")


@pytest.mark.parametrize(
    "other",
    [
        frozen_front_end(32000, fmax=16000),
        frozen_front_end(32000, sr=44100),
        frozen_front_end(32000, htk=True),
        frozen_front_end(32000, norm=None),
        frozen_front_end(32000) | {REAL: frozen_front_end(32000)[REAL].roll(1, dims=2)},
        frozen_front_end(32000) | {IMAG: -frozen_front_end(32000)[IMAG]},
        frozen_front_end(32000) | {IMAG: torch.full((513, 1, 1024), float("nan"))},
    ],
    ids=["fmax", "rate", "htk", "norm", "window", "sign", "nan"],
)
def test_another_front_end_is_refused_in_one_sentence(other):
    with pytest.raises(CoppiceError, match=r"differs from ours by .* not the front end of PANNs at 32000 Hz"):
        from_panns(trained().state_dict() | other)


@pytest.mark.parametrize(
    "frozen, words",
    [
        ({MELW: torch.zeros(513, 64)}, "has only 'logmel_extractor.melW'"),
        (frozen_front_end(32000) | {"logmel_extractor.other": torch.zeros(1)}, "unknown tensor"),
        (frozen_front_end(32000, bands=40), r"shape \(513, 40\), not \(513, 64\)"),
        ({**frozen_front_end(32000), REAL: torch.zeros(1025, 1, 2048)}, "2048 samples at a time"),
    ],
)
def test_an_incomplete_or_odd_front_end_is_refused(frozen, words):
    with pytest.raises(CoppiceError, match=words):
        from_panns(trained().state_dict() | frozen)


@pytest.mark.parametrize("dtype, width", [(torch.float32, 4), (torch.float16, 2), (torch.bfloat16, 2)])
def test_stored_bytes_count_the_parameters_in_the_stored_format(dtype, width):
    network = trained()
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in network.state_dict().items()}
    imported = from_panns(state | frozen_front_end(32000))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert imported.stored_bytes == {str(dtype).removeprefix("torch."): width * parameters}
    assert {t.dtype for t in imported.network.parameters()} == {torch.float32}


def test_a_file_from_before_batches_were_counted_is_imported():
    network = trained()
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    clips = torch.randn(1, 1, 64, 40)
    with torch.no_grad():
        assert torch.equal(from_panns(state).network(clips), network(clips))


def test_published_files_of_both_kinds_are_imported_from_disk(tmp_path):
    state = trained(CNN14).state_dict() | frozen_front_end(16000)
    torch.save({"iteration": 600_000, "model": state}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    torch.save(state, tmp_path / "b.pt")
    clips = torch.randn(1, 1, 64, 40)
    first, second = (import_torch(tmp_path / name) for name in ("a.pth", "b.pt"))
    with torch.no_grad():
        assert torch.equal(first.network(clips), second.network(clips))
    assert first.front_end == second.front_end == front_end("panns16k")


@pytest.mark.parametrize(
    "name, words",
    [
        ("pre_conv0.weight", "Wavegram"),
        ("att_block.att.weight", "DecisionLevelAtt"),
        ("resnet.layer1.0.conv1.weight", "ResNet"),
        ("features.0.0.weight", "MobileNet"),
        ("fc_transfer.weight", "Transfer"),
    ],
)
def test_other_networks_of_the_repository_are_refused_by_name(name, words):
    state = trained(CNN14).state_dict() | {name: torch.zeros(4, 4)}
    assert is_panns(state)
    with pytest.raises(CoppiceError, match=f"{words}.*{name}.*CNN14 can be imported"):
        from_panns(state)


def test_a_network_that_scores_frames_is_told_by_its_file_name():
    with pytest.raises(CoppiceError, match="scores every frame"):
        from_panns(trained(CNN14).state_dict(), file_name="Cnn14_DecisionLevelMax_mAP=0.385.pth")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"fc1.bias": None}, "'fc1.bias' is missing"),
        ({"fc1.weight": None}, "'fc1.weight' should have 2 dimensions but is missing"),
        ({"bn0.weight": None}, "'bn0.weight' should have 1 dimensions but is missing"),
        ({"fc_audioset.bias": torch.zeros(3)}, r"'fc_audioset.bias' should have shape \(527,\) but is \(3,\)"),
        ({"conv_block2.conv1.weight": torch.zeros(4, 9, 5, 5)}, r"shape \(4, 3, 5, 5\) but is \(4, 9, 5, 5\)"),
        ({"conv_block2.conv1.weight": torch.zeros(4, 3, 5)}, "4 dimensions"),
        ({"conv_block4.conv1.weight": None}, "3 blocks with 3 convolutions"),
        ({"conv_block1.conv1.weight": torch.zeros(3, 1, 7, 7)}, "7×7"),
        ({"conv_block1.conv1.bias": torch.zeros(3)}, "'conv_block1.conv1.bias' belongs to none"),
        ({"bn0.running_mean": torch.full((64,), float("nan"))}, "'bn0.running_mean' holds NaN"),
        ({"bn0.running_var": torch.full((64,), -1.0)}, "variances below 0"),
        ({"fc1.bias": torch.zeros(9, dtype=torch.int8)}, "'fc1.bias' is stored as torch.int8"),
        ({"bn0.num_batches_tracked": torch.tensor(1.0)}, "stored as torch.float32; int64"),
        ({"fc_audioset.weight": torch.zeros(0, 9)}, "0 classes"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change, words):
    state = {name: tensor for name, tensor in (trained().state_dict() | change).items() if tensor is not None}
    with pytest.raises(CoppiceError, match=words):
        from_panns(state)


def test_the_labels_are_those_of_audioset_in_their_order():
    labels = audioset_labels()
    assert len(labels) == len(set(labels)) == 527
    assert labels[:1] + labels[-1:] == ("Speech", "Field recording")
    assert labels[20:527:40] == (
        "Belly laugh",
        "Fart",
        "Cluck",
        "Guitar",
        "Marimba, xylophone",
        "Heavy metal",
        "Music of Asia",
        "Vehicle",
        "Fixed-wing aircraft, airplane",
        "Coin (dropping)",
        "Jackhammer",
        "Thump, thud",
        "Silence",
    )
    assert hashlib.sha256("\n".join(labels).encode()).hexdigest()[:16] == "0b14c3a038e68262"

import pandas as pd
import pytest

from coppice.networks.checkpoint import load


def test_any_key_of_a_fit_in_a_recipe_can_be_set(coppice, trained, sounds, tmp_path):
    keys = ["mixup=0.3", "learning_rate=1e-4", "augment.gain.decibels=3", "choose=last"]
    sets = [word for key in keys for word in ("--set", key)]
    args = ("finetune", trained, "--data", sounds, "--epochs", "2", "--out", tmp_path / "tuned")
    assert coppice(*args, *sets).code == 0
    said = load(tmp_path / "tuned/checkpoint.safetensors").lineage[-1]["settings"]
    assert (said["epochs"], said["mixup"], said["learning_rate"], said["choose"]) == (2, 0.3, 1e-4, "last")
    assert said["augment"] == {"gain": {"decibels": 3.0}}
    before = (tmp_path / "tuned/stage.json").read_bytes()
    assert coppice(*args, *sets).code == 0
    assert (tmp_path / "tuned/stage.json").read_bytes() == before
    assert coppice(*args, *sets[:-2]).code == 0
    assert (tmp_path / "tuned/stage.json").read_bytes() != before


def test_a_fit_stops_at_the_price_that_is_set(coppice, trained, sounds, tmp_path):
    dear = ["--set", "stop.gain_per_tmac=1e9", "--set", "stop.window=3"]
    assert coppice("finetune", trained, "--data", sounds, "--epochs", "9", *dear, "--out", tmp_path / "tuned").code == 0
    assert len(pd.read_csv(tmp_path / "tuned/history.csv")) == 3


def test_a_network_learns_from_a_teacher_from_the_start(coppice, trained, sounds, tmp_path):
    sizes = ("--duration", "0.5", "--widths", "3,4,5", "--dense", "6")
    args = ("train", "--data", sounds, *sizes, "--epochs", "1", "--teacher", trained, "--out", tmp_path / "taught")
    assert coppice(*args, "--set", "normalisation=none").code == 0
    taught = load(tmp_path / "taught/checkpoint.safetensors")
    assert taught.lineage[-1]["teacher"]["verbs"] == ["train"]
    assert taught.band_std.unique().tolist() == [1.0]


def test_any_architecture_is_trained_with_what_it_takes(coppice, sounds, tmp_path):
    args = ("train", "--data", sounds, "--duration", "0.5", "--epochs", "1", "--out", tmp_path / "five")
    assert coppice(*args, "--network", "surrey2022", "--widths", "3,4,5", "--set", "network.kernel=5").code == 0
    five = load(tmp_path / "five/checkpoint.safetensors").network
    assert type(five).__name__ == "Surrey2022"
    assert (five.conv1.kernel_size, five.conv3.out_channels, five.dense1.out_features) == ((5, 5), 5, 100)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--network", "dcase21"], "there is no network 'dcase21'. Did you mean 'dcase2021'?"),
        (
            ["--network", "chain"],
            "network 'chain' lacks 'layers', 'input_shape'; give that, or a network with defaults",
        ),
        (["--network", "cp_mobile", "--dense", "5"], "network 'cp_mobile' takes no 'dense'. Known: "),
        (["--set", "network.kernel=3"], "network 'dcase2021' takes no 'kernel'. Known: "),
        (["--network", "surrey2022", "--set", "network.kernel=4"], "cannot have a kernel of 4; give an odd number"),
        (["--set", "network.kernel"], "--set 'kernel' is not KEY=VALUE; write for example --set network.kernel=5."),
        (
            ["--set", "network.classes=3"],
            "--set network.classes: the clips and their front end say that; leave it out.",
        ),
    ],
)
def test_an_architecture_that_cannot_be_is_refused_before_clips_are_read(coppice, tmp_path, given, sentence):
    args = ("train", "--data", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert sentence in coppice(*args, *given).sentence


def test_what_has_an_option_is_not_set_and_what_a_command_does_not_have_is_no_key(coppice, trained, tmp_path):
    args = ("--data", tmp_path / "nowhere", "--out", tmp_path / "out", "--set", "fraction=0.5")
    assert "there is an option for that, --fraction." in coppice("finetune", trained, *args).sentence
    assert "the fit has no key 'fraction'." in coppice("train", *args).sentence


@pytest.mark.parametrize("command", ["train", "finetune"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("mixupp=0.3", "the fit has no key 'mixupp'. Did you mean 'mixup'?"),
        ("mixup", "--set 'mixup' is not KEY=VALUE; write for example --set mixup=0.3."),
        ("mixup=-1", "the fit: mixup is -1: "),
        ("epochs=5", "--set 'epochs=5': there is an option for that, --epochs."),
        ("distil.weight=1", "--set 'distil.weight=1': there is an option for that, --teacher."),
        ("stop.gain=3", "the fit has no key 'stop.gain'. Known: 'gain_per_tmac', 'window'."),
        ("augment.gian={}", "the fit has no key 'augment.gian'. Did you mean 'gain'?"),
        ("choose_from=5", "choose_from is 5 but there are 4 epochs, from 0; give a smaller one."),
        ("augment.device_ir.folder=nowhere", "there is no folder of impulse responses 'nowhere'"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(coppice, trained, sounds, tmp_path, command, change, sentence):
    model = [trained] if command == "finetune" else []
    args = (command, *model, "--data", sounds, "--epochs", "4", "--out", tmp_path / "out", "--set", change)
    assert sentence in coppice(*args).sentence
    assert not (tmp_path / "out").exists()

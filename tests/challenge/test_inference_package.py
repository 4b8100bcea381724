import copy
import importlib
import json
import sys
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
import yaml

import coppice as cp
from coppice.audio.decode import decode
from coppice.challenge.device_models import weight_sharing
from coppice.challenge.inference_package import write_inference_package
from coppice.challenge.posteriors import read_posteriors
from coppice.challenge.rules import DEVICES_2025, SCENES
from coppice.complexity.torchinfo_count import count_torchinfo
from coppice.core.errors import CoppiceError
from coppice.evaluation.metrics import log_loss, macro_accuracy
from coppice.networks.checkpoint import save


@pytest.fixture(scope="module")
def module(package):
    """The package's module, imported as the evaluation does."""
    folder = package(2025)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("Muster_UOE_task1.Muster_UOE_task1_1")
    finally:
        sys.path.remove(str(folder))
        for name in [one for one in sys.modules if one.startswith("Muster_UOE_task1")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(44_100), 44_100, subtype="PCM_24")
    return [str(folder / f"{number}.wav") for number in range(3)]


def test_the_package_predicts_what_the_classifier_does(module, package, sounds):
    logits, classes = module.predict(sounds, ["a", "d", "s1"], use_cuda=False, batch_size=2)
    assert tuple(classes) == SCENES
    stored = cp.load(package(2025).parent / "run0" / "checkpoint.safetensors")
    for file, found in zip(sounds, logits, strict=True):
        wave = torch.from_numpy(decode(file, sample_rate=32_000, resampler="sinc_hann"))
        expected = stored.logits(cp.log_mel(wave, stored.front_end)[None])[0]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.stack(logits).shape == (3, 10)


def test_each_device_gets_its_own_model_and_unknown_ones_the_base(module):
    model = module.load_model()
    assert module.get_model_for_device(model, "a") is model.model["a"]
    assert module.get_model_for_device(model, "s9") is model.model["base"]
    assert {parameter.dtype for parameter in model.model.parameters()} == {torch.float16}


def test_what_the_complexity_test_of_the_task_would_count_stands_in_the_package(module, package):
    model = module.load_model()
    dummy = package(2025) / "Muster_UOE_task1" / "resources" / "dummy.wav"
    (given,) = module.load_inputs([str(dummy)], ["b"], model)
    net = module.get_model_for_device(model, "b")
    size = sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())
    stated = json.loads((package(2025) / "predictions/Muster_UOE_task1_1/complexity.json").read_text())
    assert list(stated["per_device"]) == list(DEVICES_2025)
    assert stated["per_device"]["b"] == {"MACs": count_torchinfo(net.float(), given).mult_adds, "Params": size}
    assert stated["max_Params"] == size


def test_the_meta_file_tells_the_general_model_from_those_of_devices(package):
    folder = package(2025)
    meta = yaml.safe_load((folder / "predictions/Muster_UOE_task1_1/Muster_UOE_task1_1.meta.yaml").read_text())
    assert meta["system"]["inference_code"] == "https://example.org/package"
    said = meta["system"]["description"]
    assert said["device_information"] == "per-device end-to-end fine-tuning"
    assert (said["num_models_at_inference"], said["model_weight_sharing"]) == (2, "fully shared")
    for name, file in (("general", "run0/predictions.csv"), ("device_specific", "by-device.csv")):
        found = read_posteriors(folder.parent / file)
        overall = meta["results"]["development_dataset"][name]["overall"]
        assert overall["accuracy"] == pytest.approx(100 * macro_accuracy(found.values, found.targets), abs=1e-4)
        assert overall["logloss"] == pytest.approx(log_loss(found.values, found.targets), abs=1e-4)
    stated = json.loads((folder / "predictions/Muster_UOE_task1_1/test_accuracy.json").read_text())
    assert stated["Test Accuracy"] == round(overall["accuracy"], 2)


def test_without_models_of_devices_their_results_are_null_and_the_package_valid(sources, authors, clip_list, tmp_path):
    made = write_inference_package(sources(tmp_path, 2025, ())[0], authors=authors, out=tmp_path / "p", clips=clip_list)
    assert made.validation.valid
    (meta,) = made.folder.rglob("*.meta.yaml")
    found = yaml.safe_load(meta.read_text())
    assert found["system"]["description"]["num_models_at_inference"] == 1
    specific = found["results"]["development_dataset"]["device_specific"]
    assert specific["device_wise"]["s6"] == {"accuracy": None, "logloss": None}


def test_how_models_of_devices_came_about_is_asked_for(sources, authors, tmp_path):
    source = sources(tmp_path, 2025, ())[0]
    path = tmp_path / "authors.yaml"
    path.write_text(authors.read_text().replace("device_information: per-device end-to-end fine-tuning", "x: y"))
    with pytest.raises(CoppiceError, match=r"lacks description\.device_information"):
        write_inference_package(source, authors=path, out=tmp_path / "p", devices={"a": source.model})


@pytest.mark.parametrize("changed, said", [(0, "fully shared"), (1, "partially shared"), (99, "fully device-specific")])
def test_weights_that_models_share_are_told(classifier, changed, said):
    base = classifier(2025)
    other = replace(base, network=copy.deepcopy(base.network))
    with torch.no_grad():
        for parameter in list(other.network.parameters())[:changed]:
            parameter += 1
    assert weight_sharing({"base": base, "a": other}) == said


def test_the_package_is_installable(package):
    project = tomllib.loads((package(2025) / "pyproject.toml").read_text())
    assert project["project"]["name"] == "Muster_UOE_task1"
    assert project["tool"]["setuptools"]["packages"] == ["Muster_UOE_task1"]
    assert project["tool"]["setuptools"]["package-data"]["Muster_UOE_task1"] == ["ckpts/*", "resources/*"]


def test_a_model_that_cannot_listen_is_refused(sources, classifier, authors, tmp_path):
    source = sources(tmp_path, 2025, ())[0]
    deaf = replace(classifier(2025), front_end=None, band_mean=None, band_std=None)
    with pytest.raises(CoppiceError, match="no front end"):
        path = save(deaf, tmp_path / "deaf.safetensors")
        write_inference_package(replace(source, model=path), authors=authors, out=tmp_path / "p")
    dogs = replace(classifier(2025), labels=tuple(f"dog{number}" for number in range(10)))
    path = save(dogs, tmp_path / "dogs.safetensors")
    with pytest.raises(CoppiceError, match="the scenes of the task are"):
        write_inference_package(replace(source, model=path), authors=authors, out=tmp_path / "p")


def test_a_label_that_is_no_module_name_is_refused(sources, authors, tmp_path):
    path = tmp_path / "authors.yaml"
    path.write_text(authors.read_text().replace("lastname: Muster", "lastname: Muster-Frei"))
    with pytest.raises(CoppiceError, match="names a Python module"):
        write_inference_package(sources(tmp_path, 2025, ())[0], authors=path, out=tmp_path / "p")


def test_an_unknown_recording_device_is_refused(sources, authors, tmp_path):
    source = sources(tmp_path, 2025, ())[0]
    with pytest.raises(CoppiceError, match="no recording device 's11'"):
        write_inference_package(source, authors=authors, out=tmp_path / "p", devices={"s11": source.model})


def test_a_device_model_over_the_limit_is_refused(sources, classifier, authors, tmp_path):
    source = sources(tmp_path, 2025, ())[0]
    large = replace(classifier(2025), network=cp.build_network("cp_mobile", base_channels=40).eval())
    path = save(large, tmp_path / "large.safetensors")
    with pytest.raises(CoppiceError, match="not legal in 2025"):
        write_inference_package(source, authors=authors, out=tmp_path / "p", devices={"b": path})

import json
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

from coppice.challenge.figures import memory_use_bytes
from coppice.challenge.heard import hear
from coppice.challenge.people import read_people
from coppice.challenge.posteriors import devices_of, read_posteriors
from coppice.challenge.rules import COLUMNS, DEVICES, SCENES, rules_of
from coppice.challenge.submit import Source, source_of, submit
from coppice.core.errors import CoppiceError
from coppice.evaluation.classify import classify
from coppice.evaluation.metrics import log_loss, macro_accuracy
from coppice.networks.checkpoint import save
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network


def meta_of(folder):
    (path,) = folder.rglob("*.meta.yaml")
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("year", [2021, 2022, 2023, 2024, 2025])
def test_the_meta_file_has_every_key_of_its_year_and_no_other(package, year):
    rules, meta = rules_of(f"dcase{year}"), meta_of(package(year))
    assert tuple(meta["system"]["description"]) == rules.description
    assert tuple(meta["system"]["complexity"]) == rules.complexity
    assert tuple(meta["system"].get("energy_consumption", ())) == rules.energy
    results = meta["results"]["development_dataset"]
    assert list(results) == list(rules.results or ["overall", "class_wise", "device_wise"])
    for one in results.values() if rules.results else [results]:
        assert tuple(one["class_wise"]) == SCENES
        assert tuple(one["device_wise"]) == DEVICES


def test_the_results_in_the_meta_file_are_those_of_the_predictions(package):
    folder = package(2023)
    found = read_posteriors(folder.parent / "run0" / "predictions.csv")
    results = meta_of(folder)["results"]["development_dataset"]
    assert results["overall"]["accuracy"] == pytest.approx(100 * macro_accuracy(found.values, found.targets), abs=1e-4)
    assert results["overall"]["logloss"] == pytest.approx(log_loss(found.values, found.targets), abs=1e-4)
    device = np.array(devices_of(found, folder.parent / "run0" / "predictions.csv")) == "s4"
    right = found.values.argmax(axis=1) == found.targets
    assert results["device_wise"]["s4"]["accuracy"] == pytest.approx(100 * right[device].mean(), abs=1e-4)
    tram = found.targets == 9
    expected = -np.log(found.values[tram, 9]).mean()
    assert results["class_wise"]["tram"]["logloss"] == pytest.approx(expected, abs=1e-4)


def test_the_meta_file_is_filled_from_the_checkpoint(package, classifier):
    system = meta_of(package(2024))["system"]
    net = classifier(2024).network
    params = sum(parameter.numel() for parameter in net.parameters())
    assert system["complexity"]["total_parameters"] == params
    assert system["complexity"]["total_model_size"] == 2 * params
    assert system["description"]["input_sampling_rate"] == "32kHz"
    assert system["description"]["data_augmentation"] == "mixup"
    assert system["description"]["complexity_management"] == "weight quantization (float16)"
    assert system["description"]["external_data_usage"] == "MicIRP"
    assert meta_of(package(2023))["system"]["energy_consumption"]["baseline_inference"] == 0.068


def test_the_output_file_has_the_official_columns_and_the_label_of_the_largest(package):
    (path,) = package(2023).rglob("*.output.csv")
    table = pd.read_csv(path, sep="\t")
    assert tuple(table.columns) == COLUMNS
    values = table[list(SCENES)].to_numpy()
    assert list(table["scene_label"]) == [SCENES[best] for best in values.argmax(axis=1)]
    given = pd.read_csv(package(2023).parent / "run0" / "evaluation.csv")[list(SCENES)].to_numpy()
    np.testing.assert_allclose(values, given, atol=1e-9)


def test_the_zip_holds_one_folder_for_each_system_and_is_the_same_each_time(sources, authors, clip_list, tmp_path):
    source = sources(tmp_path, 2023, ())[0]
    first = submit(source, rules="dcase2023", authors=authors, out=tmp_path / "p", clips=clip_list)
    once = first.archive.read_bytes()
    assert (
        submit(source, rules="dcase2023", authors=authors, out=tmp_path / "p", clips=clip_list).archive.read_bytes()
        == once
    )
    second = submit(source, rules="dcase2023", authors=authors, out=tmp_path / "p", index=2, clips=clip_list)
    assert second.validation.valid
    assert second.validation.systems == ("Muster_UOE_task1_1", "Muster_UOE_task1_2")
    with zipfile.ZipFile(second.archive) as archive:
        assert archive.namelist() == [
            f"task1/Muster_UOE_task1_{index}/Muster_UOE_task1_{index}.{end}"
            for index in (1, 2)
            for end in ("meta.yaml", "output.csv")
        ]


def test_2024_asks_for_a_system_for_each_split(sources, authors, tmp_path):
    given = sources(tmp_path, 2024, (5, 10, 25, 50))
    with pytest.raises(CoppiceError, match="splits 5, 10, 25, 50, 100; given: 5, 10, 25, 50"):
        submit(given, rules="dcase2024", authors=authors, out=tmp_path / "p")
    with pytest.raises(CoppiceError, match="given: one without a split"):
        submit(given[5], rules="dcase2024", authors=authors, out=tmp_path / "p")


def test_an_illegal_system_is_not_packed(sources, classifier, authors, tmp_path):
    source = sources(tmp_path, 2023, ())[0]
    with pytest.raises(CoppiceError, match="not legal in 2022: number_format is float16"):
        submit(source, rules="dcase2022", authors=authors, out=tmp_path / "p")
    large = replace(classifier(2024), network=build_network("cp_mobile", base_channels=48).eval())
    path = save(large, tmp_path / "large.safetensors")
    with pytest.raises(CoppiceError, match="not legal in 2023: size_bytes is"):
        submit(replace(source, model=path), rules="dcase2023", authors=authors, out=tmp_path / "p")
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"name": None}, "lacks name"),
        ({"authors": None}, "lacks authors"),
        ({"source_code": ...}, "lacks source_code"),
        ({"external_datasets": ..., "abbreviation": ""}, "lacks abbreviation, external_datasets"),
        (
            {"energy_consumption": {"training": 1.0}},
            r"lacks energy_consumption.inference \(kWh\), energy_consumption.b",
        ),
        ({"autors": []}, "has the key 'autors'. Did you mean 'authors'"),
        ({"description": 3}, "description is '3'"),
        ({"authors": "Eva"}, "authors is 'Eva'; list tables"),
        ({"external_datasets": ["MicIRP"]}, "external_datasets is"),
    ],
)
def test_what_only_a_person_knows_is_asked_for_by_name(authors, tmp_path, change, asked):
    given = {**yaml.safe_load(authors.read_text()), **change}
    path = tmp_path / "authors.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in given.items() if value is not ...}))
    with pytest.raises(CoppiceError, match=asked):
        read_people(path, rules_of("dcase2023"))


def test_everything_that_is_missing_of_the_authors_is_asked_for_at_once(authors, tmp_path):
    given = yaml.safe_load(authors.read_text())
    del given["authors"][0]["email"], given["authors"][1]["affiliation"]["location"]
    path = tmp_path / "authors.yaml"
    path.write_text(yaml.safe_dump(given))
    with pytest.raises(CoppiceError, match=r"lacks authors\[1\]\.email, authors\[2\]\.affiliation\.location; only you"):
        read_people(path, rules_of("dcase2024"))
    given = yaml.safe_load(authors.read_text())
    del given["authors"][0]["corresponding"]
    path.write_text(yaml.safe_dump(given))
    with pytest.raises(CoppiceError, match="marks 0 authors"):
        read_people(path, rules_of("dcase2024"))


def test_a_run_gives_its_headline_system(sources, tmp_path):
    sources(tmp_path, 2023, ())
    stage = tmp_path / "systems" / "cosine" / "float16"
    stage.parent.mkdir(parents=True)
    (tmp_path / "run0").rename(stage)
    stages = [{"system": None, "folder": "train"}, {"system": "cosine", "folder": "systems/cosine/float16"}]
    (tmp_path / "summary.json").write_text(
        json.dumps({"headline_system": "cosine", "stages": [*stages, {"system": "l1", "folder": "x"}]})
    )
    assert source_of(tmp_path).model == stage / "checkpoint.safetensors"
    assert source_of(stage, "eval.csv").evaluation.name == "eval.csv"
    with pytest.raises(CoppiceError, match=r"has no checkpoint\.safetensors"):
        source_of(stage.parent)


def predictions(path, rows, columns=("filename", *SCENES)):
    path.write_text("\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n")
    return path


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["0.wav", *[0.1] * 9, "nan"], "line 2 are not all numbers"),
        (["0.wav", *[0.1] * 9, "x"], "line 2 are not all numbers"),
        (["0.wav", 4.2, -1.5, *[0.0] * 8], "if they are logits, give their softmax"),
        (["0.wav", *[0.2] * 10], "sum to 2"),
    ],
)
def test_predictions_that_are_no_probabilities_are_refused(tmp_path, row, said):
    with pytest.raises(CoppiceError, match=said):
        read_posteriors(predictions(tmp_path / "p.csv", [row]))


def test_predictions_of_other_classes_are_refused(tmp_path):
    with pytest.raises(CoppiceError, match="no probabilities of 'tram'"):
        read_posteriors(predictions(tmp_path / "p.csv", [["0.wav", *[0.1] * 10]], ("filename", *SCENES[:-1], "train")))
    with pytest.raises(CoppiceError, match="class 'beach', which is no scene"):
        read_posteriors(predictions(tmp_path / "p.csv", [["0.wav", *[0.1] * 11]], ("filename", *SCENES, "p_beach")))


def test_columns_in_another_order_are_taken_by_name(tmp_path):
    found = read_posteriors(predictions(tmp_path / "p.csv", [["0.wav", 1, *[0] * 9]], ("filename", *SCENES[::-1])))
    assert found.values[0, 9] == 1


def test_clips_without_a_known_device_are_refused(tmp_path):
    path = predictions(tmp_path / "p.csv", [["kitchen.wav", *[0.1] * 10]])
    with pytest.raises(CoppiceError, match="recording device"):
        devices_of(read_posteriors(path), path)


def test_a_folder_of_evaluation_clips_is_heard_in_the_order_of_their_numbers(classifier, tmp_path):
    made = replace(classifier(2023), labels=SCENES[::-1])
    rng = np.random.default_rng(0)
    for number in (0, 2, 10):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * rng.standard_normal(44_100), 44_100)
    found = hear(made, tmp_path)
    assert found.names == ("0.wav", "2.wav", "10.wav")
    expected = classify(made, tmp_path / "10.wav").posteriors
    np.testing.assert_allclose(found.values[2], [expected[scene] for scene in SCENES], atol=1e-6)
    with pytest.raises(CoppiceError, match=r"holds no \.wav"):
        hear(made, tmp_path / "nothing")


def test_memory_use_is_that_of_the_2022_baseline():
    assert memory_use_bytes(build_network("dcase2021", frames=51), example=torch.zeros(1, 1, 40, 51)) == 65_280


def test_a_submission_without_evaluation_clips_is_refused(sources, authors, tmp_path):
    source = sources(tmp_path, 2023, ())[0]
    with pytest.raises(CoppiceError, match="no predictions of the evaluation clips"):
        submit(Source(source.model, source.development), rules="dcase2023", authors=authors, out=tmp_path / "p")


def test_an_ensemble_says_how_many_members_it_has_and_what_was_done_to_them():
    from coppice.challenge.meta_file import description

    done = [{"verb": "train", "settings": {"mixup": 0.3}}, {"verb": "prune"}, {"verb": "finetune"}]
    entry = {"verb": "ensemble", "how": "geometric", "members": [{"lineage": done}, {"lineage": done}]}
    one = Classifier(torch.nn.Flatten(), None, ("a", "b"), None, None, lineage=(entry,))
    found = description(one)
    assert (found["ensemble_method_subsystem_count"], found["decision_making"]) == (2, "geometric mean of posteriors")
    assert (found["pipeline"], found["data_augmentation"]) == ("training, pruning, fine-tuning", "mixup")
    for strange in (7, [7, {"lineage": 7}, {"lineage": [7]}], {}):
        damaged = Classifier(
            one.network, None, ("a", "b"), None, None, lineage=({"verb": "ensemble", "members": strange},)
        )
        assert description(damaged)["pipeline"] is None

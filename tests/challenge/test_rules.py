import pytest

from coppice.challenge.labels import parse_label
from coppice.challenge.rules import COLUMNS, SCENES, rules_names, rules_of
from coppice.core.errors import CoppiceError
from coppice.networks.foreign.lightning import SCENES as BASELINE_SCENES


@pytest.mark.parametrize(
    ("year", "task", "clips", "limits"),
    [
        (2021, "task1a", 7_920, {"nonzero_bytes": 128_000}),
        (2022, "task1", 118_800, {"params": 128_000, "macs": 30_000_000, "number_format": None}),
        (2023, "task1", 118_800, {"size_bytes": 128_000, "macs": 30_000_000}),
        (2024, "task1", 135_730, {"size_bytes": 128_000, "macs": 30_000_000}),
        (2025, "task1", None, {"size_bytes": 128_000, "macs": 30_000_000}),
    ],
)
def test_every_year_has_its_published_constants(year, task, clips, limits):
    rules = rules_of(f"dcase{year}")
    assert (rules.year, rules.task, rules.evaluation_clips) == (year, task, clips)
    assert {limit.name: limit.most for limit in rules.limits} == limits
    assert rules.splits == ((5, 10, 25, 50, 100) if year == 2024 else ())
    assert rules.clip_s == (10.0 if year == 2021 else 1.0)


def test_every_limit_has_a_rule_a_count_and_a_source():
    for name in rules_names():
        for limit in rules_of(name).limits:
            assert limit.rule and limit.counted and limit.source


def test_the_meta_files_grow_from_year_to_year():
    keys = {year: set(rules_of(f"dcase{year}").description) for year in (2021, 2022, 2023, 2024, 2025)}
    assert keys[2022] - keys[2021] == {"complexity_management", "pipeline", "framework"}
    assert keys[2023] == keys[2022]
    assert keys[2022] - keys[2024] == {"embeddings", "ensemble_method_subsystem_count", "decision_making"}
    assert keys[2024] - keys[2022] == {"split_adaptations", "system_adaptations"}
    assert keys[2024] - keys[2025] == {"split_adaptations", "system_adaptations"}
    assert keys[2025] - keys[2024] == {"device_information", "num_models_at_inference", "model_weight_sharing"}
    complexity = {year: set(rules_of(f"dcase{year}").complexity) for year in (2022, 2023, 2024, 2025)}
    assert complexity[2023] - complexity[2022] == {"total_model_size"}
    assert complexity[2024] == complexity[2025] == {"total_model_size", "total_parameters", "macs"}


def test_the_scenes_are_those_of_the_baselines_in_alphabetical_order():
    assert SCENES == BASELINE_SCENES == tuple(sorted(SCENES))
    assert ("filename", "scene_label", *SCENES) == COLUMNS


@pytest.mark.parametrize("name", ["dcase2019", "2024", "", "dcase2024 "])
def test_an_unknown_year_is_refused_with_the_known_ones(name):
    with pytest.raises(CoppiceError, match="Known: 'dcase2021'"):
        rules_of(name)


@pytest.mark.parametrize(
    "label",
    [
        "Doe_UOE_task1",
        "Doe_UOE_task1_5",
        "Doe_UOE_task1_0",
        "Doe_UOE_task1a_1",
        "Doe_U OE_task1_1",
        "_UOE_task1_1",
        None,
        "Doe_UOE_task1_1_1",
        "Doe_UOE_task1_01",
        "../UOE_task1_1",
    ],
)
def test_a_label_of_another_form_is_refused(label):
    with pytest.raises(CoppiceError, match="label"):
        parse_label(label, rules_of("dcase2024"))

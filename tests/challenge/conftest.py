import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from coppice.audio.front_end import front_end
from coppice.challenge import submit as submit_file
from coppice.challenge.inference_package import write_inference_package
from coppice.challenge.rules import DEVICES, SCENES, rules_of
from coppice.challenge.submit import Source, submit
from coppice.networks.checkpoint import save
from coppice.networks.classifier import Classifier
from coppice.networks.registry import build_network

CLIPS = 40
PEOPLE = {
    "name": "Pruned networks",
    "abbreviation": "pruned",
    "authors": [
        {
            "lastname": "Muster",
            "firstname": "Eva",
            "email": "eva@example.org",
            "corresponding": True,
            "affiliation": {"abbreviation": "UOE", "institute": "University of Examples", "location": "Basel, CH"},
        },
        {
            "lastname": "Doe",
            "firstname": "Jo",
            "email": "jo@example.org",
            "affiliation": {"abbreviation": "UOE", "institute": "University of Examples", "location": "Basel, CH"},
        },
    ],
    "external_datasets": [{"name": "MicIRP", "url": "https://example.org/micirp", "total_audio_length": 2}],
    "source_code": None,
    "inference_code": "https://example.org/package",
    "description": {
        "split_adaptations": None,
        "system_adaptations": None,
        "device_information": "per-device end-to-end fine-tuning",
    },
    "energy_consumption": {"training": 0.21, "inference": 0.068, "baseline_inference": 0.068},
}


def posteriors(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(10, 0.4), rows)


def development_table(seed: int = 0) -> pd.DataFrame:
    """Predictions as a run leaves them, of clips with TAU names: each scene on each device twice."""
    names, labels = [], []
    for scene in SCENES:
        for device in DEVICES:
            for second in range(2):
                names.append(f"{scene}-paris-{len(names)}-{len(names)}-{second}-{device}")
                labels.append(scene)
    values = posteriors(len(names), seed)
    table = pd.DataFrame({"clip_id": names, "label": labels})
    table["predicted"] = [SCENES[best] for best in values.argmax(axis=1)]
    return pd.concat([table, pd.DataFrame(values, columns=[f"p_{scene}" for scene in SCENES])], axis=1)


def evaluation_table(seed: int = 1, clips: int = CLIPS) -> pd.DataFrame:
    table = pd.DataFrame(posteriors(clips, seed), columns=list(SCENES))
    table.insert(0, "filename", [f"{number}.wav" for number in range(clips)])
    return table


def make_classifier(year: int) -> Classifier:
    torch.manual_seed(year)
    if year < 2024:
        ear = front_end("dcase2021" if year == 2021 else "dcase2022")
        net = build_network("dcase2021", frames=ear.frames, widths=[4, 4, 6], dense=8)
        made = Classifier(net.eval(), ear, SCENES, torch.zeros(40), torch.ones(40))
    else:
        net = build_network("cp_mobile", base_channels=8)
        made = Classifier(net.eval(), front_end("dcase2024"), SCENES, torch.zeros(256), torch.ones(256))
    return replace(made, stored_as="float16", lineage=({"verb": "train", "settings": {"mixup": 0.3}},))


def make_sources(folder: Path, year: int, splits: tuple[int, ...]) -> dict[int, Source]:
    found = {}
    for split in splits or (0,):
        run = folder / f"run{split}"
        save(make_classifier(year), run / "checkpoint.safetensors")
        development_table(split).to_csv(run / "predictions.csv", index=False)
        evaluation_table(split + 1).to_csv(run / "evaluation.csv", index=False)
        found[split] = Source(run / "checkpoint.safetensors", run / "predictions.csv", run / "evaluation.csv")
    return found


@pytest.fixture(scope="session")
def classifier() -> Callable[[int], Classifier]:
    """A small classifier that fits the rules of a year, but for its number format in 2022."""
    return make_classifier


@pytest.fixture(scope="session")
def sources() -> Callable[..., dict[int, Source]]:
    """Write what runs leave: checkpoints, predictions of development and evaluation clips."""
    return make_sources


@pytest.fixture(scope="session")
def clip_list(tmp_path_factory) -> Path:
    """The list of an evaluation set that is smaller than the real ones."""
    path = tmp_path_factory.mktemp("evaluation") / "fold1_test.csv"
    path.write_text("filename\n" + "".join(f"audio/{number}.wav\n" for number in range(CLIPS)))
    return path


@pytest.fixture(scope="session")
def authors(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("people") / "authors.yaml"
    path.write_text(yaml.safe_dump(PEOPLE))
    return path


@pytest.fixture(scope="session")
def package(tmp_path_factory, authors, clip_list) -> Callable[[int], Path]:
    """The folder of a valid package of a year."""
    made: dict[int, Path] = {}

    def make(year: int) -> Path:
        if year not in made:
            rules = rules_of(f"dcase{year}")
            place = tmp_path_factory.mktemp(f"dcase{year}")
            sources = make_sources(place, year, rules.splits)
            if year == 2025:
                development_table(7).to_csv(place / "by-device.csv", index=False)
                write_inference_package(
                    sources[0],
                    authors=authors,
                    out=place / "package",
                    devices={"a": sources[0].model},
                    device_development=place / "by-device.csv",
                    clips=clip_list,
                )
            else:
                with pytest.MonkeyPatch.context() as patch:
                    if year == 2022:  # whose int8 checkpoints come from other frameworks
                        patch.setattr(submit_file, "refuse_illegal", lambda verdict: None)
                    submit(
                        sources if rules.splits else sources[0],
                        rules=rules.name,
                        authors=authors,
                        out=place / "package",
                        clips=clip_list,
                    )
            made[year] = place / "package"
        return made[year]

    return make


@pytest.fixture
def coppice(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command line as the installed command does, in this process."""
    from coppice.cli.main import main

    def run(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["coppice", *map(str, argv)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run

import json

import numpy as np
import pytest
import soundfile

from coppice.challenge.rules import DEVICES, SCENES
from coppice.networks.checkpoint import save


@pytest.fixture
def model(classifier, tmp_path):
    return save(classifier(2024), tmp_path / "model.safetensors")


def test_check_prints_every_limit_and_its_rule(coppice, model):
    code, out, _ = coppice("check", model, "--rules", "dcase2024")
    assert code == 0
    assert "PASS" in out and "FAIL" not in out
    assert "at most 128 kB of memory for the parameters" in out
    assert "1,000 bytes" in out
    assert "legal under dcase2024" in out


def test_check_exits_with_1_when_a_limit_is_broken(coppice, model):
    code, out, _ = coppice("check", model, "--rules", "dcase2022", "--json")
    found = json.loads(out)
    assert code == 1
    assert not found["legal"]
    assert [one["limit"] for one in found["findings"] if one["verdict"] == "FAIL"] == ["number_format"]


def test_check_judges_the_models_of_devices(coppice, model):
    code, out, _ = coppice("check", model, "--rules", "dcase2025", "--device", f"a={model}", "--json")
    assert code == 0
    assert {one["model"] for one in json.loads(out)["findings"]} == {"model", "a"}


def test_submit_and_validate_work_one_after_the_other(coppice, sources, authors, clip_list, tmp_path):
    given = sources(tmp_path, 2024, (5, 10, 25, 50, 100))
    runs = [part for split, one in given.items() for part in ("--run", f"{split}={one.model.parent}")]
    heard = [part for split, one in given.items() for part in ("--evaluation", f"{split}={one.evaluation}")]
    out = tmp_path / "package"
    argv = ["submit", "--rules", "dcase2024", "--authors", authors, "--out", out, *runs, *heard, "--clips", clip_list]
    code, printed, err = coppice(*argv)
    assert code == 0, printed + err
    assert "valid under dcase2024: Muster_UOE_task1_1; 6 files" in printed
    assert coppice("validate", out, "--clips", clip_list)[0] == 0
    file = next(out.rglob("*.output.split_5.csv"))
    file.write_text(file.read_text().replace("\t0.", "\t1.", 1))
    code, printed, _ = coppice("validate", out, "--clips", clip_list)
    assert code == 1
    assert f"{file.name}:2: " in printed
    code, printed, _ = coppice("validate", out, "--clips", clip_list, "--json")
    assert code == 1
    assert json.loads(printed)["problems"][0]["line"] == 2


def test_submit_writes_the_inference_package_of_2025(coppice, sources, authors, clip_list, tmp_path):
    one = sources(tmp_path, 2025, ())[0]
    argv = ["--model", one.model, "--development", one.development, "--evaluation", one.evaluation]
    code, printed, err = coppice(
        "submit", "-r", "dcase2025", "--authors", authors, "-o", tmp_path / "p", *argv, "--device", f"a={one.model}"
    )
    assert code == 0, printed + err
    assert (tmp_path / "p" / "Muster_UOE_task1" / "ckpts" / "Muster_UOE_task1_1.a.safetensors").is_file()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["check", "{model}", "--rules", "dcase2030"], "there are no rules 'dcase2030'"),
        (["check", "nothing.h5", "--rules", "dcase2024"], "cannot read"),
        (["check", "{model}", "--rules", "dcase2025", "--device", "a"], "is not NAME=VALUE"),
        (["validate", "nothing.zip"], "no such file"),
        (["submit", "-r", "dcase2024", "--authors", "a.yaml", "-o", "p"], "give either --run, or --model"),
        (["submit", "-r", "dcase2024", "--authors", "a.yaml", "-o", "p", "--run", "x"], "is not NAME=VALUE"),
        (["submit", "-r", "dcase2024", "--authors", "a.yaml", "-o", "p", "--run", "7=x"], "the splits of 2024 are"),
        (["submit", "-r", "dcase2023", "--authors", "a.yaml", "-o", "p", "--run", "x"], "has no checkpoint"),
        (["submit", "-r", "dcase2023", "--authors", "a.yaml", "-o", "p", "--model", "x"], "go together"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(coppice, model, tmp_path, monkeypatch, argv, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = coppice(*(part.format(model=model) for part in argv))
    assert code == 2
    assert not out
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err


def test_evaluate_prints_the_table_of_the_baselines(coppice, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    names = [f"{scene}-paris-{at}-{at}-0-{DEVICES[at % 9]}" for at, scene in enumerate(SCENES * 3)]
    rows = ["filename\tscene_label\tidentifier\tsource_label\tsplit"]
    for at, name in enumerate(names):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(44_100), 44_100)
        part = ("train", "train", "test")[at // 10]
        rows.append("\t".join([f"{name}.wav", SCENES[at % 10], f"paris-{at}", DEVICES[at % 9], part]))
    (tmp_path / "meta.csv").write_text("\n".join(rows) + "\n")
    model = save(classifier(2023), tmp_path / "model.safetensors")
    argv = ["evaluate", model, "--data", tmp_path / "meta.csv", "--table"]
    code, out, err = coppice(*argv, "csv")
    assert code == 0, err
    assert out.splitlines()[0].startswith("Scene label,Log Loss,A,")
    assert len(out.splitlines()) == 12
    assert coppice(*argv, "latex")[1].startswith(r"\begin{tabular}")
    code, _, err = coppice(*argv, "html")
    assert code == 2 and "no table format 'html'" in err

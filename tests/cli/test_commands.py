import json
import math
import shutil
from pathlib import Path

import pytest

from coppice.networks.checkpoint import load


@pytest.fixture(scope="module")
def half(trained, tmp_path_factory) -> Path:
    """The checkpoint, cut in half."""
    path = tmp_path_factory.mktemp("half") / "half.safetensors"
    data = trained.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def test_the_commands_work_one_after_the_other(coppice, trained, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sorted(file.name for file in trained.parent.iterdir()) == [
        "checkpoint.safetensors",
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "stage.json",
    ]
    assert sorted(file.name for file in trained.parent.parent.iterdir()) == ["train"]
    ranked = json.loads(coppice("rank", trained, "--criterion", "l1", "--json").out)
    assert {name: len(found["order"]) for name, found in ranked.items()} == {"conv1": 4, "conv2": 6, "conv3": 8}
    assert coppice("rank", trained, "--layer", "conv2").code == 0

    assert (
        coppice("plan", trained, "-c", "l1", "--keep", "conv2=4", "--ratio", "conv3=0.5", "-o", "plan.json").code == 0
    )
    layers = {layer["name"]: layer["keep"] for layer in json.loads(Path("plan.json").read_text())["layers"]}
    assert layers["conv2"] == sorted(ranked["conv2"]["order"][-4:])
    assert len(layers["conv3"]) == 4

    answer = coppice("prune", trained, "plan.json", "--out", "pruned.safetensors")
    assert answer.code == 0
    assert "params_total: " in answer.out
    assert coppice("finetune", "pruned.safetensors", "--data", sounds, "--out", "tuned", "--epochs", "2").code == 0
    assert coppice("quantize", "tuned/checkpoint.safetensors", "--out", "small.safetensors").code == 0
    small = load("small.safetensors")
    assert small.network.config()["widths"] == [4, 4, 4]
    assert [entry["verb"] for entry in small.lineage] == ["train", "finetune", "quantize"] or [
        entry["verb"] for entry in small.lineage
    ] == ["train", "prune", "finetune", "quantize"]

    scores = json.loads(
        coppice("evaluate", "small.safetensors", "--data", sounds, "--json", "--predictions", "p.csv").out
    )
    rows = Path("p.csv").read_text().splitlines()
    assert len(rows) == scores["clips"] + 1
    cost = json.loads(coppice("profile", "small.safetensors", "--json").out)
    assert cost["file_bytes"] == Path("small.safetensors").stat().st_size
    (heard,) = json.loads(coppice("classify", sounds / "dog" / "0.wav", "-m", "small.safetensors", "--json").out)
    assert math.isclose(sum(heard["posteriors"].values()), 1)
    for command in (["evaluate", "small.safetensors", "--data", sounds], ["profile", "small.safetensors"]):
        answer = coppice(*command)
        assert answer.code == 0
        assert max(map(len, answer.out.splitlines())) <= 80


def test_training_again_is_not_done_again_and_leaves_nothing_beside(coppice, trained, sounds, tmp_path):
    folder = tmp_path / "train"
    shutil.copytree(trained.parent, folder)
    before = (folder / "checkpoint.safetensors").stat().st_mtime_ns
    argv = ["train", "--data", sounds, "--out", folder, "--duration", "0.5", "--epochs", "3"]
    assert coppice(*argv, "--widths", "4,6,8", "--dense", "12").code == 0
    assert (folder / "checkpoint.safetensors").stat().st_mtime_ns == before
    assert [file.name for file in tmp_path.iterdir()] == ["train"]


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_a_users_folder_is_not_replaced_by_a_result(coppice, trained, sounds, tmp_path, command):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    model = [trained] if command == "finetune" else []
    for out in (mine, mine / "thesis.txt"):
        said = coppice(command, *model, "--data", sounds, "--out", out, "--epochs", "1").sentence
        assert "is there already and is not a stage of a run" in said
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "command", ["rank", "plan", "prune", "finetune", "quantize", "evaluate", "profile", "classify"]
)
@pytest.mark.parametrize("kind", ["half", "missing", "folder", "text", "empty"])
def test_a_damaged_checkpoint_is_refused_by_every_command(coppice, half, sounds, tmp_path, command, kind):
    model = half if kind == "half" else tmp_path / f"{kind}.safetensors"
    if kind == "folder":
        model.mkdir()
    elif kind in ("text", "empty"):
        model.write_text("these are words\n" * 20 if kind == "text" else "")
    (tmp_path / "plan.json").write_text('{"version": 1, "layers": []}')
    rest = {
        "plan": ["--out", tmp_path / "out"],
        "prune": [tmp_path / "plan.json", "--out", tmp_path / "out"],
        "finetune": ["--data", sounds, "--out", tmp_path / "out"],
        "quantize": ["--out", tmp_path / "out"],
        "evaluate": ["--data", sounds],
    }.get(command, [])
    argv = [sounds / "dog" / "0.wav", "--model", model] if command == "classify" else [model, *rest]
    said = coppice(command, *argv).sentence
    assert str(model) in said
    expected = {"empty": "is empty", "missing": "no such file or folder", "folder": "it is a folder; give a file"}
    assert expected.get(kind, "is not a whole checkpoint") in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not valid JSON"),
        (b'{"version": 1, "layers": [{"name": "conv2", "filters": 6, "keep": [0, 1', "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "give an object with"),
        (b'{"version": 3, "criterion": null, "layers": []}', "version 3; this coppice reads up to 2."),
        (b'{"version": 1, "layers": [{"name": "conv2", "filters": 6, "keep": [0, 9]}]}', "keeps filter 9"),
        (b'{"version": 1, "layers": [{"name": "conv2", "filters": 6, "keep": []}]}', "keeps no filter"),
        (b'{"version": 1, "layers": [{"name": "conv2", "filters": 16, "keep": [0]}]}', "'conv2'"),
        (b'{"version": 1, "layers": [{"name": "conv9", "filters": 6, "keep": [0]}]}', "conv9"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_damaged_plan_is_refused(coppice, trained, tmp_path, content, sentence):
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    said = coppice("prune", trained, path, "--out", tmp_path / "out.safetensors").sentence
    assert sentence in said
    assert len(said) < 400
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--ratio", "conv2=0"], "ratio for 'conv2' is 0, which removes nothing"),
        (["--ratio", "conv2=1"], "ratio for 'conv2' is 1, which leaves no filter"),
        (["--ratio", "conv2=-0.1"], "ratio for 'conv2' is -0.1; a fraction cannot be negative"),
        (["--ratio", "conv2=1.5"], "ratio for 'conv2' is 1.5; give a number between 0 and 1"),
        (["--ratio", "conv2=nan"], "'nan' is not a number"),
        (["--ratio", "conv2=half"], "'half' is not a number; write for example --ratio 0.5 or conv2=0.5."),
        (["--ratio", "conv2"], "--ratio 'conv2' is not NAME=VALUE"),
        (["--keep", "conv2=0"], "cannot keep 0 filters of 'conv2'; give a whole number from 1 to 6."),
        (["--keep", "conv2=17"], "cannot keep 17 filters of 'conv2'"),
        (["--keep", "conv2=-1"], "cannot keep -1 filters of 'conv2'"),
        (["--keep", "conv2=2.5"], "cannot keep 2.5 filters of 'conv2'"),
        (["--keep", "con2=2"], "there is no convolution or linear layer 'con2'. Did you mean 'conv2'?"),
        (["--layer", "conv9"], "there is no convolution or linear layer 'conv9'."),
        (["--layer", "dense2"], "'dense2' cannot be cut"),
        (["--criterion", "cosine_similarty"], "Did you mean 'cosine_similarity'?"),
        (["--seed", "-1"], "seed is -1; give a whole number from 0 upwards."),
        (["--seed", "x"], "--seed"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(coppice, trained, tmp_path, argv, sentence):
    given = argv if "--criterion" in argv or argv[0] == "--layer" else ["--criterion", "random", *argv]
    said = coppice("plan", trained, *given, "--out", tmp_path / "plan.json").sentence
    assert sentence in said
    assert not (tmp_path / "plan.json").exists()


def test_options_that_cannot_be_are_refused_before_anything_is_written(
    coppice, trained, sounds, make_folder, tmp_path_factory, tmp_path
):
    out = tmp_path / "out"
    others = make_folder(tmp_path_factory.mktemp("others") / "s", cat=3, wind=3)
    table = others / "folds.csv"
    rows = [f"{label}/{number}.wav,{label},{number + 1}" for label in ("cat", "wind") for number in range(3)]
    table.write_text("\n".join(["filename,label,fold", *rows]))
    recipe = ["run", "demo", "--set", f"data.source={others}", "--set", "split.strategy=auto", "--out", out]
    for argv, sentence in [
        (["train", "--widths", "4,x,8"], "--widths '4,x,8' is not a list of whole numbers; write --widths 16,16,32."),
        (["train", "--widths", "4,8"], "dcase2021 takes 3 numbers in widths"),
        (["train", "--dense", "0"], "cannot have 0 units in dense"),
        (["train", "--duration", "-1"], "duration_s is -1"),
        (["train", "--preset", "dcase21"], "Did you mean 'dcase2021'?"),
        (["train", "--epochs", "0"], "epochs is 0; give a whole number from 1 upwards."),
        (["train", "--patience", "0"], "patience is 0; give a whole number from 1 upwards."),
        (["train", "--seed", "-3"], "seed is -3; give a whole number from 0 upwards."),
        (["train", "--test-fold", "9"], "has 0 folds"),
        (["train", "--bad-clips", "ignore"], "bad_clips is 'ignore'; give 'refuse' or 'skip'."),
        (["finetune", trained, "--fraction", "0"], "fraction is 0.0; give a number above 0 and up to 1"),
        (["finetune", trained, "--fraction", "1.5"], "fraction is 1.5"),
    ]:
        assert sentence in coppice(*argv, "--data", sounds, "--out", out).sentence
        assert list(tmp_path.iterdir()) == [], argv
    for argv, sentence in [
        (["evaluate", trained, "--data", sounds, "--part", "tests"], "there is no part 'tests'; give one of train"),
        (
            ["evaluate", trained, "--data", table, "--test-fold", "9"],
            "test_fold is 9; the folds of 'folds' are 1, 2, 3.",
        ),
        (["evaluate", trained, "--data", others], "label 'cat', which this classifier does not know"),
        (["finetune", trained, "--data", others, "--out", out], "are not the classifier's (dog, rain, saw)."),
        (["quantize", trained, "--to", "int4", "--out", out], "there is no number format 'int4'. Did you mean 'int8'?"),
        (["quantize", trained, "--out", sounds], "it is a folder; give a file"),
        (["data", "get", "esc11"], "there is no dataset 'esc11' to download. Did you mean 'esc10'?"),
        (["data", "info", sounds, "--column", "label"], "--column 'label' is not NAME=VALUE"),
        (["report", tmp_path], "is not a run folder"),
        (["run", "demo", "--jobs", "0"], "jobs is 0; give a whole number from 1 upwards."),
        ([*recipe, "--set", "network.classes=3"], "network.classes is 3 but the clips make it 2"),
        ([*recipe, "--set", "front_end.preset=dcase2020"], "front end 'dcase2020' is unknown. Did you mean"),
        ([*recipe, "--set", "front_end.durations=3"], "front end has no setting 'durations'. Did you mean"),
        ([*recipe, "--set", "network.name=dcase2012"], "there is no network 'dcase2012'. Did you mean"),
        ([*recipe, "--set", "network.width=[1, 2, 3]"], "network 'dcase2021' takes no 'width'. Did you mean 'widths'?"),
        ([*recipe, "--set", "split.test_fold=9"], "has 0 folds"),
        ([*recipe, "--set", "folds=all"], "folds is 'all' but 's' has 0 folds; cross-validation needs at least 3."),
        ([*recipe, "--set", "data.columns={label: x}"], "columns is for tables"),
        (
            [*recipe, "--set", "systems.cosine=[{prune: {criterion: cosin}}]"],
            "system 'cosine', step 1 (prune): there is no criterion 'cosin'.",
        ),
        (
            [*recipe, "--set", "systems.cosine=[{prune: {criterion: l1, keep: {conv2: 17}}}]"],
            "system 'cosine', step 1 (prune): cannot keep 17 filters of 'conv2'; give a whole number from 1 to 16.",
        ),
        (
            [*recipe, "--set", "systems.cosine=[{dense: {units: {dense9: 3}}}]"],
            "system 'cosine', step 1 (dense): there is no linear layer 'dense9'.",
        ),
        (["rum"], "No such command 'rum'. Did you mean 'run'? See coppice --help."),
        (["run", "demo", "--oot", "x"], "No such option: --oot"),
        (["run"], "Missing argument 'recipe'. See coppice run --help."),
    ]:
        assert sentence in coppice(*argv).sentence
        assert list(tmp_path.iterdir()) == [], argv


def test_run_refuses_a_place_that_is_not_its_own(coppice, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = ["--set", f"data.source={sounds}", "--set", "front_end.duration_s=0.5", "--set", "split.strategy=auto"]
    Path("file").touch()
    assert "file" in coppice("run", "demo", *changes, "--out", "file").sentence
    assert "a part of the path is a file" in coppice("run", "demo", *changes, "--out", "file/below").sentence
    long = "y" * 300
    assert "the name is too long" in coppice("run", "demo", *changes, "--out", long).sentence
    Path("data").mkdir()
    Path("data/mine.wav").touch()
    assert (
        "data is there already and is not a stage of a run" in coppice("run", "demo", *changes, "--out", ".").sentence
    )
    Path("own").mkdir()
    Path("own/recipe.yaml").write_text("# mine")
    assert "holds a recipe.yaml but no run" in coppice("run", "demo", *changes, "--out", "own").sentence
    assert sorted(str(path) for path in Path().rglob("*")) == [
        "data",
        "data/mine.wav",
        "file",
        "own",
        "own/recipe.yaml",
    ]

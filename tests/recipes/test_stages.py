import errno

import pytest

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors
from coppice.recipes.stages import do_single_stage, do_stage, locked_run, tidy


def write_a(folder):
    (folder / "a.txt").write_text("a")


def test_an_unchanged_stage_is_not_done_again(tmp_path):
    first = do_stage(tmp_path, "train", {"seed": 0}, write_a)
    second = do_stage(tmp_path, "train", {"seed": 0}, pytest.fail)
    assert (first.ran, second.ran) == (True, False)
    assert first.digest == second.digest
    assert not (tmp_path / ".partial" / "train").exists()


def test_changed_inputs_make_a_stage_anew_without_the_old_files(tmp_path):
    do_stage(tmp_path, "train", {"seed": 0}, lambda folder: (folder / "old.txt").write_text("x"))
    again = do_stage(tmp_path, "train", {"seed": 1}, write_a)
    assert again.ran
    assert sorted(file.name for file in again.folder.iterdir()) == ["a.txt", "stage.json"]


@pytest.mark.parametrize("damage", ["edit", "cut", "remove", "record"])
def test_a_damaged_stage_is_done_again(tmp_path, damage):
    stage = do_stage(tmp_path, "train", {}, write_a)
    file = stage.folder / "a.txt"
    match damage:
        case "edit":
            file.write_text("b")
        case "cut":
            file.write_text("")
        case "remove":
            file.unlink()
        case "record":
            (stage.folder / "stage.json").write_text('{"digest": 3, "files"')
    again = do_stage(tmp_path, "train", {}, write_a)
    assert again.ran
    assert file.read_text() == "a"


def test_a_stage_that_is_refused_leaves_nothing(tmp_path):
    def work(folder):
        write_a(folder)
        raise CoppiceError("no.")

    with pytest.raises(CoppiceError, match=r"^no\.$"):
        do_stage(tmp_path, "train", {}, work)
    assert not (tmp_path / "train").exists()
    assert not (tmp_path / ".partial").exists()


def test_what_a_full_disk_stopped_goes_on_from_what_it_had(tmp_path):
    def work(folder):
        if (folder / "resume.ckpt").exists():
            return
        (folder / "resume.ckpt").write_text("half")
        (folder / ".partial-abc").write_text("debris of a kill")
        with plain_os_errors("write", folder / "x"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CoppiceError, match="the disk is full"):
        do_stage(tmp_path, "train", {}, work)
    stage = do_stage(tmp_path, "train", {}, work)
    assert sorted(file.name for file in stage.folder.iterdir()) == ["resume.ckpt", "stage.json"]


def test_partial_work_of_other_inputs_is_not_taken_up(tmp_path):
    def interrupted(folder):
        (folder / "resume.ckpt").write_text("of seed 0")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_stage(tmp_path, "train", {"seed": 0}, interrupted)
    stage = do_stage(tmp_path, "train", {"seed": 1}, write_a)
    assert not (stage.folder / "resume.ckpt").exists()


def test_a_folder_of_the_user_is_never_replaced(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "recording.wav").touch()
    with pytest.raises(CoppiceError, match="data is there already and is not a stage of a run"):
        do_stage(tmp_path, "data", {}, pytest.fail)
    (tmp_path / "file").touch()
    with pytest.raises(CoppiceError, match="is not a stage of a run"):
        do_single_stage(tmp_path / "file", {}, pytest.fail)
    assert (tmp_path / "data" / "recording.wav").exists()
    (tmp_path / "empty").mkdir()
    assert do_single_stage(tmp_path / "empty", {}, write_a).ran


def test_a_single_stage_leaves_its_folder_alone(tmp_path):
    do_single_stage(tmp_path / "mine", {}, write_a)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_a_second_process_is_refused_and_the_lock_goes_away(tmp_path):
    run = tmp_path / "run"
    with locked_run(run):
        with (
            pytest.raises(CoppiceError, match=r"another process is working in .*run; wait for it, or choose"),
            locked_run(run),
        ):
            pytest.fail("entered")
        assert (run / ".lock").exists()
    assert not (run / ".lock").exists()
    with locked_run(run):
        pass


def test_the_users_own_recipe_is_not_written_over(tmp_path):
    (tmp_path / "recipe.yaml").write_text("# mine")
    with pytest.raises(CoppiceError, match=r"holds a recipe\.yaml but no run"), locked_run(tmp_path):
        pytest.fail("entered")


def test_tidy_removes_stages_of_an_earlier_recipe_and_spares_other_runs(tmp_path):
    for name in ("data", "train", "systems/old/1-prune", "systems/new/1-prune", "other/train", "fold1-seed0/data"):
        do_stage(tmp_path, name, {}, write_a)
    (tmp_path / ".partial-abc").write_text("debris of a kill")
    tidy(tmp_path, {"data", "train", "systems/new/1-prune"})
    left = {file.parent.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("stage.json")}
    assert left == {"data", "train", "systems/new/1-prune", "other/train", "fold1-seed0/data"}
    assert not (tmp_path / "systems" / "old").exists()
    assert not list(tmp_path.glob(".partial*"))

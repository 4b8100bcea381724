import pytest

from coppice.core.errors import CoppiceError
from coppice.datasets.folder import open_folder


def test_each_sub_folder_is_a_class(sounds):
    dataset = open_folder(sounds)
    assert dataset.labels == ("dog", "rain") and len(dataset) == 12
    assert dataset.clips["recording"].nunique() == 12


def test_nested_folders_belong_to_their_class_and_names_may_repeat(sounds, write_noise):
    write_noise(sounds / "dog" / "monday" / "0.wav")
    dataset = open_folder(sounds)
    row = dataset.clips[dataset.clips["clip_id"] == "dog/monday/0.wav"]
    assert row["label"].tolist() == ["dog"] and row["recording"].tolist() == ["dog/monday/0"]


def test_hidden_files_are_left_alone_and_other_files_are_counted(sounds):
    (sounds / ".git").mkdir()
    (sounds / "dog" / ".DS_Store").touch()
    (sounds / "dog" / "notes.txt").touch()
    (sounds / "README.md").touch()
    dataset = open_folder(sounds)
    assert len(dataset) == 12 and dataset.ignored == 2


def test_unicode_and_very_long_names_are_fine(sounds, write_noise):
    write_noise(sounds / "鳥 – ünïcode" / ("🎵" * 60 + ".WAV"))
    assert open_folder(sounds).labels == ("dog", "rain", "鳥 – ünïcode")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(CoppiceError, match="no class folders: it is empty"):
        open_folder(tmp_path)


def test_a_folder_without_class_folders_is_refused(tmp_path, write_noise):
    write_noise(tmp_path / "a.wav")
    with pytest.raises(CoppiceError, match="1 files and no folders; make one sub-folder per class"):
        open_folder(tmp_path)


def test_one_class_is_refused(tmp_path, write_noise):
    write_noise(tmp_path / "dog" / "a.wav")
    with pytest.raises(CoppiceError, match="one class only, 'dog'"):
        open_folder(tmp_path)


def test_a_class_without_sounds_is_refused_by_name(sounds):
    (sounds / "snow").mkdir()
    with pytest.raises(CoppiceError, match=r"class folder .*snow holds no sound files"):
        open_folder(sounds)


def test_a_missing_folder_and_a_file_in_its_place_are_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CoppiceError, match="no such file or folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(CoppiceError, match="cannot read the folder"):
        open_folder(tmp_path / "file")


def test_a_folder_without_permission_is_refused_in_plain_words(sounds, monkeypatch):
    def locked(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))

    monkeypatch.setattr("os.walk", locked)
    with pytest.raises(CoppiceError, match=r"cannot read the folder .*dog: permission denied"):
        open_folder(sounds)

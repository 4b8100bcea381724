import json

from coppice.datasets.folder import open_folder
from coppice.datasets.info import describe
from coppice.datasets.sources import open_dataset


def test_counts_lengths_rates_and_problems_are_told(sounds, write_noise):
    write_noise(sounds / "dog" / "long.wav", seconds=2.0)
    (sounds / "rain" / "0.wav").write_bytes(b"")
    (sounds / "rain" / "notes.txt").touch()
    found = describe(open_folder(sounds))
    assert found["classes"] == {"dog": {"clips": 7, "recordings": 7}, "rain": {"clips": 6, "recordings": 6}}
    assert found["duration_s"] == {"min": 0.5, "median": 0.5, "max": 2.0}
    assert found["sample_rates_hz"] == {"8000": 12} and found["channels"] == {"1": 12}
    assert found["formats"] == {"WAV PCM_24": 12}
    assert found["folds"] == found["devices"] == found["splits"] == {} and found["ignored"] == 1
    assert [problem["file"] for problem in found["problems"]] == [str(sounds / "rain" / "0.wav")]
    assert "0 bytes" in found["problems"][0]["sentence"]
    json.dumps(found, allow_nan=False)


def test_folds_and_devices_are_counted():
    found = describe(open_dataset("synthetic", clips_per_class=5, duration_s=0.1))
    assert found["folds"] == {str(fold): 10 for fold in range(1, 6)}
    assert sum(found["devices"].values()) == 50 and found["synthetic"] is True


def test_stretches_count_as_long_as_they_are(tmp_path, write_noise):
    write_noise(tmp_path / "a.wav", seconds=3.0)
    (tmp_path / "t.csv").write_text("file,label,start_s,duration_s\na.wav,dog,0,1\na.wav,rain,2.5,\na.wav,rain,2.0,9\n")
    assert describe(open_dataset(tmp_path / "t.csv"))["duration_s"] == {"min": 0.5, "median": 1.0, "max": 1.0}


def test_a_dataset_without_a_readable_file_is_told_too(sounds):
    for file in sounds.rglob("*.wav"):
        file.write_bytes(b"nothing")
    found = describe(open_folder(sounds))
    assert found["duration_s"] is None and len(found["problems"]) == 12

import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

COMMAND = [sys.executable, "-c", "from coppice.cli.main import main; main()", "listen"]


@pytest.fixture
def long(sounds, tmp_path):
    """Some seconds of the sounds that the network was trained on."""
    files = sorted(sounds.rglob("*.wav"))
    wave = np.concatenate([soundfile.read(file)[0] for file in files])
    soundfile.write(tmp_path / "long.wav", wave, 44100, subtype="FLOAT")
    return tmp_path / "long.wav"


def test_a_file_is_heard_as_classify_hears_it(coppice, trained, long):
    lines = coppice("listen", trained, "--file", long, "--fast", "--hop", "0.4", "--json").out.splitlines()
    *heard, last = map(json.loads, lines)
    (expected,) = json.loads(coppice("classify", long, "-m", trained, "--hop", "0.4", "--windows", "--json").out)
    assert [one["end_s"] for one in heard] == [one["end_s"] for one in expected["per_window"]]
    for one, other in zip(heard, expected["per_window"], strict=True):
        assert one["posteriors"] == pytest.approx(other["posteriors"], rel=1e-5)
    summary = last["summary"]
    assert (summary["windows"], summary["heard_s"], summary["dropped"]) == (len(heard), 7.5, 0)
    assert summary["real_time_factor"] > 0
    latencies = [one["latency_ms"] for one in heard]
    assert summary["latency_ms_p50"] == pytest.approx(np.median(latencies))
    assert summary["latency_ms_p95"] == pytest.approx(np.percentile(latencies, 95))


def test_without_a_terminal_there_is_one_line_per_window_and_a_summary(coppice, trained, long):
    wave, _ = soundfile.read(long)
    soundfile.write(long, wave, 48000, subtype="FLOAT")
    answer = coppice("listen", trained, "--file", long, "--fast", "--smooth", "1")
    assert answer.code == 0
    assert answer.err == "checkpoint.safetensors hears long.wav (48000 Hz, resampled to 44100 Hz)\n"
    windows = [line for line in answer.out.splitlines() if "latency" in line and "load" in line]
    assert windows[0].startswith("     0.5 s  ")
    tail = answer.out.splitlines()[-4:]
    assert tail[0] == "heard 6.9 s in 14 windows of 0.5 s, one every 0.5 s; 0 blocks dropped"
    assert tail[1].startswith("real-time factor 0.")
    assert tail[2].startswith("latency ")
    assert tail[3] == "resampled from 48000 Hz to 44100 Hz"


def on_a_terminal(argv, stop_after=None):
    main_end, other_end = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen([*COMMAND, *map(str, argv)], stdout=other_end, stderr=other_end, env=env)
    os.close(other_end)
    shown = b""
    while True:
        try:
            part = os.read(main_end, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
        if stop_after and stop_after in shown:
            stop_after = None
            process.send_signal(signal.SIGINT)
    os.close(main_end)
    return process.wait(), shown.decode()


def test_a_terminal_shows_bars_and_ctrl_c_ends_with_the_summary(trained, long):
    begun = time.monotonic()
    code, shown = on_a_terminal([trained, "--file", long], stop_after=b"latency")
    assert time.monotonic() - begun < 60
    assert code == 0
    assert "━" in shown
    assert "\x1b[?25h" in shown  # the cursor is there again
    assert "blocks dropped" in shown
    assert "real-time factor " in shown.rpartition("\x1b[?25h")[2]
    assert "Traceback" not in shown


def test_a_sound_that_is_shorter_than_a_window_is_heard_in_the_end(coppice, trained, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(4410), 44100)
    answer = coppice("listen", trained, "--file", tmp_path / "short.wav", "--fast")
    line, *tail = answer.out.splitlines()
    assert line.startswith("     0.1 s  ")
    assert line.endswith(", silent")
    assert tail[-2:] == [
        "0.10 s long, shorter than a clip of 0.5 s: filled up with silence",
        "silent: every sample is 0, so its class means nothing",
    ]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--fast"], "--fast goes with --file: a microphone is heard in real time."),
        (["--file", "a.wav", "--device", "1"], "--device names a microphone and --file a file; give one of them."),
        (["--file", "nowhere.wav"], "cannot read nowhere.wav: no such file or folder."),
        (
            ["--file", "long.wav", "--hop", "3"],
            "the hop is 3 s; give more than 0 and at most 0.5, the length of a clip.",
        ),
        (["--file", "long.wav", "--smooth", "0"], "smooth is 0 windows; give at least 1, which smooths nothing."),
        (["--file", "long.wav", "--threads", "0"], "--threads is 0; give at least 1."),
    ],
)
def test_what_cannot_be_is_refused(coppice, trained, long, monkeypatch, argv, sentence):
    monkeypatch.chdir(long.parent)
    assert coppice("listen", trained, *argv).sentence == sentence


def test_a_missing_sounddevice_is_one_sentence(coppice, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "which is not installed: pip install 'coppice[live]'" in coppice("listen", trained).sentence


def test_a_model_cut_in_half_is_one_sentence(coppice, trained, tmp_path):
    half = tmp_path / "half.safetensors"
    half.write_bytes(trained.read_bytes()[:3000])
    assert "half.safetensors is not a whole checkpoint" in coppice("listen", half).sentence

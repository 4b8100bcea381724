import json
import os
import pty
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-c", "from coppice.cli.main import main; main()"]
HEAVY = ("torch", "lightning", "pandas", "altair", "sklearn", "numpy", "soundfile")
HELP = "from coppice.cli.main import main; sys.argv = ['coppice', '--help']; main()"
ALL = [
    ["run"],
    ["demo"],
    ["report"],
    ["train"],
    ["rank"],
    ["plan"],
    ["prune"],
    ["sensitivity"],
    ["finetune"],
    ["quantize"],
    ["evaluate"],
    ["profile"],
    ["classify"],
    ["listen"],
    ["data", "info"],
    ["data", "get"],
]


@pytest.mark.parametrize("code", ["import coppice", HELP])
def test_import_and_help_are_quick_and_import_nothing_heavy(code):
    program = (
        "import sys, atexit, json\n"
        f"atexit.register(lambda: print(json.dumps([m for m in {HEAVY} if m in sys.modules]), file=sys.stderr))\n"
        f"{code}\n"
    )
    start = time.monotonic()
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    seconds = time.monotonic() - start
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stderr.splitlines()[-1]) == []
    assert seconds < 1 or os.getloadavg()[0] > (os.cpu_count() or 1)


def test_a_mistake_in_a_recipe_shows_before_anything_heavy_is_imported():
    program = (
        "import sys\nsys.argv = ['coppice', 'run', 'demo', '--set', 'training.epocs=3']\n"
        "from coppice.cli.main import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == "coppice: recipe demo.yaml has no key 'training.epocs'. Did you mean 'epochs'?\n"


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_command_has_help_with_an_example(coppice, command):
    answer = coppice(*command, "--help")
    assert answer.code == 0
    text = " ".join(answer.out.split())
    assert f"Example: coppice {' '.join(command)}" in text
    assert max(map(len, answer.out.splitlines())) <= 80


def test_no_command_at_all_prints_the_help(coppice):
    answer = coppice()
    assert answer.code == 2
    assert "Commands" in answer.out
    assert answer.err == ""


def test_version(coppice):
    from coppice import __version__

    assert coppice("--version").out == f"coppice {__version__}\n"


def test_a_reader_that_stops_early_causes_no_traceback(sounds):
    with subprocess.Popen(
        [*COMMAND, "data", "info", str(sounds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_progress_goes_to_standard_error_and_leaves_no_blank_lines(coppice, sounds):
    answer = coppice("data", "info", sounds)
    assert answer.err == ""
    assert "looking at files" not in answer.out


def test_a_terminal_of_80_columns_shows_a_bar_and_whole_tables(sounds):
    main_end, other_end = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [*COMMAND, "data", "info", str(sounds)], stdout=subprocess.PIPE, stderr=other_end, env=env, text=True
    )
    os.close(other_end)
    out = process.stdout.read()
    shown = b""
    while True:
        try:
            part = os.read(main_end, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(main_end)
    assert process.wait() == 0
    assert "15/15" in shown.decode()
    assert max(map(len, out.splitlines())) <= 80

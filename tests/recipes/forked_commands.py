"""A program that runs command lines in forked children, and stops a child at a named point.

Importing torch and lightning takes seconds; here it is done once. Reads one JSON job per line on standard input and
answers with one JSON line each: ``{"code": exit code or -signal, "out": …, "err": …}``.
"""

import errno
import importlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import coppice.cli.main
import coppice.reports.report
import coppice.studies.run
from coppice.training.callbacks import ResumePoint

# Point -> (module, attribute, how many calls go well before).
POINTS = {
    "sounds": ("coppice.datasets.synthetic", "_record", 3),
    "features": ("coppice.datasets.features", "_features", 7),
    "epoch": ("coppice.training.callbacks", "History.on_train_epoch_end", 1),
    "record": ("coppice.recipes.record", "evaluate", 0),
    "latency": ("coppice.recipes.run", "measure_latency", 0),
    "summary": ("coppice.recipes.run", "SingleRun._summary", 0),
    "report": ("coppice.recipes.run", "write_report", 0),
    "study report": ("coppice.studies.cross_validation", "write_report", 0),
}


def act(job):
    if job["do"] == "fill":
        fill(Path(job["disk"]))
    else:
        os.kill(os.getpid(), getattr(signal, job["do"]))


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as filler:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def arranged(job):
    """Patch the point of a job, or the stage of that name, so that the action comes in the middle of it."""
    point = job["at"]
    if point in POINTS:
        module, attribute, before = POINTS[point]
        place = importlib.import_module(module)
        *parents, name = attribute.split(".")
        for parent in parents:
            place = getattr(place, parent)
        original, calls = getattr(place, name), []

        def wrapped(*args, **options):
            result = original(*args, **options) if point == "epoch" else None
            calls.append(1)
            if len(calls) == before + 1:
                act(job)
            return result if point == "epoch" else original(*args, **options)

        return patch.object(place, name, wrapped)
    import coppice.recipes.run as run

    original_stage = run.do_stage

    def do_stage(folder, name, inputs, work, **options):
        def interrupted(place):
            if name == point and job.get("when") != "after":
                act(job)
            work(place)
            if name == point and job.get("when") == "after":
                act(job)

        return original_stage(folder, name, inputs, interrupted, **options)

    return patch.object(run, "do_stage", do_stage)


def child(job, out, err):
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    os.environ.update(job.get("env", {}))
    os.chdir(job["cwd"])
    sys.argv = ["coppice", *job["argv"]]
    ResumePoint.__init__.__kwdefaults__["every_s"] = 0.0  # after every epoch, so that a short fit has one, too
    if job.get("at"):
        arranged(job).start()
    coppice.cli.main.main()


def serve():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = os.fork()
            if process == 0:
                code = 1
                try:
                    child(job, out, err)
                    code = 0
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else int(end.code is not None)
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    try:
                        sys.stdout.flush()
                        sys.stderr.flush()
                    finally:
                        os._exit(code)
            _, status = os.waitpid(process, 0)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        answer = {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()

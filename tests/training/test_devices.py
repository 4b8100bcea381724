import copy
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from joblib import cpu_count
from torch import nn

from bad_networks import Bad, Killed, Wrong
from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.recipes.recipe import load_recipe
from coppice.recipes.run import run_single
from coppice.studies.run import run
from coppice.training import loop as loop_module
from coppice.training.augment.augmenter import Augmenter
from coppice.training.augment.device_ir import DeviceCopies
from coppice.training.augment.settings import Augment, DeviceIR, FreqMixStyle, Gain
from coppice.training.callbacks import ResumePoint
from coppice.training.devices import machines as machines_module
from coppice.training.devices import whole_batch
from coppice.training.devices.failure import Failure, worst
from coppice.training.devices.machines import Machines
from coppice.training.devices.parcel import drop_clips, pack, unpack
from coppice.training.devices.share import Share
from coppice.training.devices.whole_batch import see_whole_batch_
from coppice.training.fit import fit
from coppice.training.loop import FitJob
from coppice.training.mixup import mixup_loss
from coppice.training.precision import choose_precision
from coppice.training.settings import TrainingSettings
from coppice.training.teacher import Lesson
from made_sides import made_sides
from small_recipe import small_recipe

# What docs/training.md states, for float32 and a few epochs. Adam divides a gradient by its own size: where it is 0 but
# for rounding, as that of biases before batch normalisation, weights move by a share of the learning rate.
TOLERANCE = 1e-4
TWO = Machines(devices=2)

two_cores = pytest.mark.skipif(cpu_count() < 2, reason="needs two cores")


@pytest.fixture(scope="module")
def sides():
    """Twenty-seven training clips, which two processes cannot halve, and thirteen to validate on."""
    return made_sides(27, 13)


@pytest.fixture(scope="module")
def network():
    """With batch normalisation and dropout."""
    torch.manual_seed(3)
    return DCASE2021(widths=(3, 3, 4), dense=6, classes=3, frames=25)


HOW = TrainingSettings(
    epochs=3, batch_size=8, learning_rate=5e-3, precision="float32", seed=1, mixup=0.3, ema=0.5, accumulate=2
)
AUGMENT = Augment(device_ir=DeviceIR("x", 0.5), gain=Gain(3.0), freq_mixstyle=FreqMixStyle(0.5, 0.3))


def augmenter(augment=AUGMENT):
    copies = DeviceCopies(np.random.default_rng(0).normal(size=(8, 40, 25)).astype(np.float32), {0: 0, 5: 4}, 4)
    ears = front_end("dcase2021", duration_s=0.5)
    return Augmenter(augment, ears, torch.zeros(40), torch.ones(40), copies, seed=1)


def rows(fitted):
    return [[value for key, value in row.items() if key != "seconds"] for row in fitted.history]


def choice(fitted):
    return fitted.best_epoch, fitted.epochs, fitted.stopped, fitted.soup


def assert_same(one, other, sides):
    assert choice(one) == choice(other)
    np.testing.assert_allclose(rows(one), rows(other), atol=TOLERANCE, rtol=0)
    with torch.no_grad():
        first, second = (fitted.network(sides[1][0]).softmax(1) for fitted in (one, other))
    torch.testing.assert_close(first, second, atol=TOLERANCE, rtol=0)
    state = other.network.state_dict()
    for name, tensor in one.network.state_dict().items():
        before_norm = name.startswith("conv") and name.endswith("bias")
        torch.testing.assert_close(tensor, state[name], atol=HOW.learning_rate if before_norm else 1e-3, rtol=0)


@two_cores
def test_two_processes_give_what_one_gives(network, sides):
    settings, before = replace(HOW, augment=AUGMENT), copy.deepcopy(network.state_dict())
    alone, together = (
        fit(network, *sides, settings=settings, augmenter=augmenter(), machines=machines)
        for machines in (Machines(), TWO)
    )
    assert_same(together, alone, sides)
    assert type(together.network.bn1) is nn.BatchNorm2d
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_tolerance_is_the_stated_one():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert f"agree to {TOLERANCE:.4f} " in page


# Parts, without processes.


@pytest.mark.parametrize("total", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_row_of_a_batch_counts_once(total, processes):
    values = torch.randn(total, dtype=torch.float64)
    shares = [Share(rank, processes) for rank in range(processes)]
    parts = [values[share.take(total)].mean() * share.weight for share in shares]
    assert torch.stack(parts).mean() == pytest.approx(float(values.mean()))
    counted = torch.cat([torch.arange(total)[share.rows] for share in shares if share.speaks])
    assert counted.tolist() == list(range(total))


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_losses_of_the_rows_are_the_loss_of_the_batch(alpha):
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    inputs, targets, soft = torch.randn(7, 1, 2, 3), torch.arange(7) % 3, torch.randn(7, 3).softmax(1)

    def loss(**rows):
        torch.manual_seed(5)
        return mixup_loss(network, inputs, targets, alpha=alpha, soft=soft, lesson=Lesson(0.5, 2.0), **rows)

    shares = [Share(rank, 3) for rank in range(3)]
    parts = [loss(rows=share.take(7)) * share.weight for share in shares]
    torch.testing.assert_close(torch.stack(parts).mean(), loss())


class Together:
    """Two threads in place of two processes."""

    def __init__(self, monkeypatch):
        self._barrier, self._given, self._number = threading.Barrier(2, timeout=20), {}, threading.local()
        monkeypatch.setattr(whole_batch.distributed, "all_reduce", self.all_reduce)

    def all_reduce(self, tensor):
        self._given[threading.get_ident()] = tensor.clone()
        self._barrier.wait()
        total = sum(self._given.values())
        self._barrier.wait()
        tensor.copy_(total)

    def run(self, one, other):
        results, errors = {}, []

        def work(number, call):
            try:
                results[number] = call()
            except BaseException as error:
                errors.append(error)
                self._barrier.abort()

        threads = [threading.Thread(target=work, args=given) for given in enumerate((one, other))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        return results[0], results[1]


@pytest.mark.parametrize("shape", [(7, 5, 4, 3), (7, 5, 6), (7, 5)], ids=["2d", "1d", "flat"])
@pytest.mark.parametrize("affine, momentum", [(True, 0.1), (False, None)])
def test_batch_normalisation_sees_the_rows_of_all_processes(shape, affine, momentum, monkeypatch):
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    whole = nn.Sequential(kind(5, affine=affine, momentum=momentum))
    if affine:
        nn.init.normal_(whole[0].weight)
        nn.init.normal_(whole[0].bias)
    inputs = (torch.randn(shape) * 3 + 100).requires_grad_()
    weights = torch.randn(shape)

    def of(rank):
        share = Share(rank, 2)
        network = nn.Sequential(kind(5, affine=affine, momentum=momentum))
        network.load_state_dict(whole.state_dict())
        see_whole_batch_(network, share)
        mine = inputs.detach()[share.take(7)].clone().requires_grad_()

        def call():
            out = network(mine)
            (out * weights[share.rows]).sum().backward()
            return out, mine.grad, network

        return call

    (first, first_grad, network), (second, second_grad, other) = Together(monkeypatch).run(of(0), of(1))
    out = whole(inputs)
    (out * weights).sum().backward()
    torch.testing.assert_close(torch.cat([first, second]), out, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat([first_grad, second_grad]), inputs.grad, atol=2e-4, rtol=1e-4)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor)
        torch.testing.assert_close(other.state_dict()[name], tensor)
    if affine:
        grads = [sum(net[0].weight.grad for net in (network, other)), sum(net[0].bias.grad for net in (network, other))]
        torch.testing.assert_close(grads, [whole[0].weight.grad, whole[0].bias.grad], atol=1e-3, rtol=1e-4)
    network.eval(), whole.eval()
    torch.testing.assert_close(network(inputs), whole(inputs))


@pytest.mark.parametrize("kind", [nn.Dropout, nn.Dropout2d])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_drops_what_the_whole_batch_drops(kind, layout):
    inputs = torch.randn(7, 16, 5, 4).contiguous(memory_format=layout)
    torch.manual_seed(9)
    expected = kind(0.4)(inputs)
    parts = []
    for rank in range(2):
        share = Share(rank, 2)
        network = see_whole_batch_(nn.Sequential(kind(0.4)), share)
        mine = inputs[share.take(7)]
        torch.manual_seed(9)
        parts.append(network(mine))
        assert torch.equal(network.eval()(mine), mine)
    assert torch.equal(torch.cat(parts), expected)


def test_a_batch_too_small_to_divide_is_computed_whole():
    share = Share(1, 2)
    network = see_whole_batch_(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)), share)
    share.take(1)
    inputs = torch.randn(1, 3, 4, 4)
    torch.manual_seed(1)
    expected = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))(inputs)
    torch.manual_seed(1)
    assert torch.equal(network(inputs), expected)


def test_a_job_comes_out_as_it_went_in(network, sides, tmp_path):
    (tmp_path / "resume.ckpt").write_bytes(b"point")
    (tmp_path / "parcel").mkdir()
    soft = torch.rand(27, 3)
    job = FitJob(
        network,
        *sides,
        HOW,
        choose_precision("float32"),
        0,
        9,
        soft,
        Lesson(0.5, 2),
        augmenter(),
        tmp_path / "resume.ckpt",
    )
    pack(job, tmp_path / "parcel")
    found = unpack(tmp_path / "parcel")
    drop_clips(tmp_path / "parcel")
    for one, other in zip((*found.train, *found.validation, found.soft), (*sides[0], *sides[1], soft), strict=True):
        assert torch.equal(one, other)
    assert np.array_equal(found.augmenter.copies.log_mel, job.augmenter.copies.log_mel)
    assert torch.equal(found.network(sides[0][0]).detach(), network(sides[0][0]).detach()) or network.training
    assert (found.settings, found.lesson, found.resume) == (job.settings, job.lesson, job.resume)
    assert sorted(file.name for file in (tmp_path / "parcel").iterdir()) == ["job.pkl", "resume.ckpt"]


def test_a_network_that_cannot_travel_is_named(sides, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(1000, 3))
    network.lock = threading.Lock()
    job = FitJob(network, *sides, HOW, choose_precision("float32"), 0, 9)
    with pytest.raises(
        CoppiceError, match=r"^the network cannot be sent to other processes \(.*lock.*\); fit it on one"
    ):
        pack(job, tmp_path)


def test_what_says_most_is_said():
    gone, sentence = Failure("gloo", plain=False, lost=True), Failure("no clip.", plain=True)
    wrong = Failure("Traceback", plain=False)
    assert worst([gone, wrong, sentence]) is sentence and worst([gone, wrong]) is wrong and worst([gone]) is gone
    assert isinstance(gone.error(), CoppiceError) and isinstance(gone.error().__cause__, OSError)
    with pytest.raises(RuntimeError, match="Traceback"):
        wrong.throw()


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"devices": 0}, "devices is 0; give a whole number from 1 upwards."),
        ({"devices": 1.5}, "devices is 1.5; give a whole number from 1 upwards."),
        ({"num_nodes": -1}, "num_nodes is -1; give a whole number from 1 upwards."),
    ],
)
def test_impossible_numbers_are_refused(given, sentence):
    with pytest.raises(CoppiceError) as error:
        Machines(**given)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "there, sentence",
    [
        ((1, "1 GPU"), "devices is 3 but this machine has 1 GPU; give at most 1."),
        ((2, "2 cores and no GPU"), "devices is 3 but this machine has 2 cores and no GPU; give at most 2."),
    ],
)
def test_more_devices_than_there_are_is_said_with_the_numbers(there, sentence, monkeypatch, network, sides):
    monkeypatch.setattr(machines_module, "devices_here", lambda: there)
    with pytest.raises(CoppiceError) as error:
        fit(network, *sides, settings=HOW, machines=Machines(devices=3))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "variables, sentence",
    [
        ({}, "num_nodes is 2 but the environment lacks MASTER_ADDR, MASTER_PORT, NODE_RANK; set MASTER_ADDR"),
        ({"MASTER_ADDR": "a", "MASTER_PORT": "29500"}, "num_nodes is 2 but the environment lacks NODE_RANK; set"),
        (
            {"MASTER_ADDR": "a", "MASTER_PORT": "x", "NODE_RANK": "0"},
            "MASTER_PORT is 'x'; give a whole number from 1 to 65535.",
        ),
        (
            {"MASTER_ADDR": "a", "MASTER_PORT": "29500", "NODE_RANK": "2"},
            "NODE_RANK is '2'; give a whole number from 0 to 1.",
        ),
    ],
)
def test_what_leads_machines_to_each_other_is_checked(variables, sentence, monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CoppiceError) as error:
        Machines(num_nodes=2).check()
    assert str(error.value).startswith(sentence)


@two_cores
def test_a_batch_smaller_than_the_processes_is_refused(network, sides):
    with pytest.raises(
        CoppiceError, match=r"^batch_size is 1, which 2 processes cannot share; give a batch_size of at l"
    ):
        fit(network, *sides, settings=replace(HOW, batch_size=1), machines=TWO)


def test_what_was_done_stands_on_any_number_of_devices(tmp_path, monkeypatch):
    monkeypatch.setenv("COPPICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("coppice.recipes.run.write_report", lambda folder: folder / "report.html")
    (tmp_path / "r.yaml").write_text(small_recipe(name="small", fit="epochs: 2"))
    recipe = load_recipe(tmp_path / "r.yaml")
    run_single(recipe, tmp_path / "run")

    def never(*given, **named):
        raise AssertionError

    monkeypatch.setattr("coppice.recipes.run.train", never)
    monkeypatch.setattr("coppice.recipes.run.finetune", never)
    run_single(recipe, tmp_path / "run", machines=TWO)
    said = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert said["training devices"] == "2"


@pytest.mark.parametrize("given", [{"jobs": 2, "machines": TWO}, {"jobs": 2, "machines": Machines(num_nodes=2)}])
def test_runs_side_by_side_do_not_share_devices(given):
    with pytest.raises(CoppiceError, match=r"^jobs is 2 and each fit is on 2 devices; give jobs, which .* or devices"):
        run("demo", **given)


# Slow: every fit starts processes, which load PyTorch.


def workers():
    """Processes of fits that this one has started and that are alive."""
    mine = psutil.Process().children(recursive=True)
    return [child.pid for child in mine if any("devices.worker" in word for word in child.cmdline())]


@pytest.mark.proof
@two_cores
def test_a_mistake_in_one_process_is_one_sentence_and_ends_the_others(sides):
    with pytest.raises(CoppiceError, match=r"^something about a clip\.$"):
        fit(Bad(rank=1, step=2), *sides, settings=HOW, machines=TWO)
    assert not workers()


@pytest.mark.proof
@two_cores
def test_a_mistake_of_ours_keeps_its_traceback(sides):
    with pytest.raises(RuntimeError, match=r"(?s)a process of the fit failed:.*ZeroDivisionError: our mistake"):
        fit(Wrong(rank=0, step=2), *sides, settings=HOW, machines=TWO)
    assert not workers()


@pytest.mark.proof
@two_cores
def test_validation_that_is_never_a_number_is_one_sentence(network, sides):
    silent = (sides[1][0] * float("nan"), sides[1][1])
    with pytest.raises(CoppiceError, match=r"^training did not produce a single finite validation log-loss"):
        fit(network, sides[0], silent, settings=HOW, machines=TWO)


@pytest.mark.proof
@two_cores
def test_a_fit_whose_process_was_killed_goes_on_on_one_device(sides, tmp_path):
    settings, whole = replace(HOW, epochs=40, patience=40), Bad(rank=9, step=0)
    doomed = Killed(rank=1, step=4 * 25)
    doomed.load_state_dict(whole.state_dict())
    with pytest.raises(CoppiceError, match=r"^process 2 of the fit was killed \(signal 9\)") as error:
        fit(doomed, *sides, settings=settings, folder=tmp_path, machines=TWO)
    assert isinstance(error.value.__cause__, OSError)  # by which a stage knows that its work is worth keeping
    assert not workers() and [file.name for file in tmp_path.iterdir()] == ["resume.ckpt"]
    assert 0 < torch.load(tmp_path / "resume.ckpt", weights_only=True)["epoch"] <= 25
    resumed = fit(whole, *sides, settings=settings, folder=tmp_path)
    np.testing.assert_allclose(rows(resumed), rows(fit(whole, *sides, settings=settings)), atol=TOLERANCE, rtol=0)


@pytest.mark.proof
@two_cores
def test_a_fit_that_was_killed_on_one_device_goes_on_on_two(network, sides, tmp_path, monkeypatch):
    class Once(ResumePoint):
        def __init__(self, path):
            super().__init__(path, every_s=0.0)

        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            if trainer.current_epoch == 1:
                raise ZeroDivisionError

    whole = fit(network, *sides, settings=HOW)
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "ResumePoint", Once)
        with pytest.raises(ZeroDivisionError):
            fit(network, *sides, settings=HOW, folder=tmp_path)
    assert_same(fit(network, *sides, settings=HOW, folder=tmp_path, machines=TWO), whole, sides)


@pytest.fixture
def command():
    """Start ``coppice`` in a group of processes of its own, of which none outlives the test."""
    started = []

    def start(*argv, **variables):
        program = [sys.executable, "-c", "from coppice.cli.main import main; main()", *map(str, argv)]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(program, env={**os.environ, **variables}, start_new_session=True, **pipe))
        return started[-1]

    yield start
    for one in started:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


@pytest.fixture
def meeting(tmp_path):
    """What two machines are told that are both this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "COPPICE_CACHE": str(tmp_path / "cache")}


LONG = ("--data", "synthetic", "--duration", "0.5", "--widths", "3,4,4", "--epochs", "100000", "--patience", "100000")


@pytest.mark.proof
def test_two_machines_give_what_one_gives_and_the_second_needs_nothing(command, tmp_path, meeting):
    (tmp_path / "r.yaml").write_text(small_recipe(name="small", fit="epochs: 2"))
    helper = command("run", "nowhere.yaml", "--num-nodes", "2", **meeting, NODE_RANK="1")
    leader = command(
        "run", tmp_path / "r.yaml", "--out", tmp_path / "two", "--num-nodes", "2", **meeting, NODE_RANK="0"
    )
    out, err = leader.communicate(timeout=300)
    assert leader.returncode == 0 and out.startswith("report: "), err
    out, err = helper.communicate(timeout=30)
    assert (helper.returncode, out) == (0, ""), err
    assert err.splitlines()[-1] == "the first machine has ended its command; this one has helped with 2 fits"
    alone = command("run", tmp_path / "r.yaml", "--out", tmp_path / "one", **meeting)
    _, err = alone.communicate(timeout=300)
    assert alone.returncode == 0, err
    for stage in ("train", "systems/thin/2-finetune"):
        one, two = (pd.read_csv(tmp_path / name / stage / "history.csv") for name in ("one", "two"))
        np.testing.assert_allclose(one.drop(columns="seconds"), two.drop(columns="seconds"), atol=TOLERANCE)


@pytest.mark.proof
def test_machines_that_do_not_agree_say_so_on_both(command, tmp_path, meeting):
    given = ("train", *LONG, "--out", tmp_path / "two", "--num-nodes")
    commands = [command(*given, nodes, **meeting, NODE_RANK=rank) for rank, nodes in (("0", "2"), ("1", "3"))]
    for one in commands:
        _, err = one.communicate(timeout=300)
        assert one.returncode == 2
        assert err.splitlines()[-1].startswith("coppice: num_nodes is 2 on the first machine and 3 on machine 2; start")
    assert not (tmp_path / "two").exists()


@pytest.mark.proof
def test_what_is_wrong_with_the_meeting_place_is_one_sentence(command, tmp_path, meeting):
    given = ("train", *LONG, "--out", tmp_path / "two", "--num-nodes", "2")
    with socket.create_server(("", int(meeting["MASTER_PORT"]))):  # takes whoever comes, and never answers
        sentences = [
            (
                meeting | {"NODE_RANK": "0"},
                f"port {meeting['MASTER_PORT']} (MASTER_PORT) cannot be had on this machine",
            ),
            (meeting | {"NODE_RANK": "1"}, "what listens at 127.0.0.1:"),
            (meeting | {"NODE_RANK": "1", "MASTER_ADDR": "no.such.machine"}, "there is no machine 'no.such.machine'"),
        ]
        commands = [(command(*given, **variables), sentence) for variables, sentence in sentences]
        for one, sentence in commands:
            _, err = one.communicate(timeout=120)
            assert one.returncode == 2
            assert err.splitlines()[-1].startswith(f"coppice: {sentence}")


@pytest.mark.proof
@pytest.mark.parametrize("lost", [0, 1])
def test_a_machine_that_is_lost_ends_the_other(command, lost, tmp_path, meeting):
    given = ("train", *LONG, "--out", tmp_path / "two", "--num-nodes", "2")
    commands = [command(*given, **meeting, NODE_RANK=rank) for rank in ("0", "1")]
    point, until = tmp_path / ".partial" / "two" / "resume.ckpt", time.monotonic() + 300
    while not point.exists() and time.monotonic() < until:
        time.sleep(0.2)
    os.killpg(commands[lost].pid, signal.SIGKILL)
    commands[lost].communicate()
    _, err = commands[1 - lost].communicate(timeout=60)
    assert commands[1 - lost].returncode == 2
    assert err.splitlines()[-1].startswith("coppice: ") and " gone; " in err.splitlines()[-1]
    assert point.exists()


@pytest.mark.proof
@two_cores
def test_ctrl_c_ends_all_processes_and_leaves_a_resume_point(command, tmp_path, meeting):
    stopped = command("train", *LONG, "--devices", "2", "--out", tmp_path / "two", **meeting)
    point, until = tmp_path / ".partial" / "two" / "resume.ckpt", time.monotonic() + 300
    while not point.exists() and time.monotonic() < until:
        time.sleep(0.2)
    os.killpg(stopped.pid, signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130 and "Traceback" not in err
    assert err.splitlines()[-1] == "coppice: interrupted; the same command goes on where this one stopped."
    assert point.exists() and not workers()

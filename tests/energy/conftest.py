"""A stand-in for CodeCarbon, and a machine whose numbers are known."""

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest


def part(kind, **attributes):
    """Return a hardware object of CodeCarbon, which is known by the name of its class."""
    made = type(kind, (), {})()
    vars(made).update(attributes)
    return made


class FakeCodecarbon:
    """What the stand-in finds and gives, and what was seen of it."""

    part = staticmethod(part)

    def __init__(self):
        self.hardware = [part("RAM"), part("CPU", _mode="cpu_load", _tdp=40)]
        self.data = {
            "cpu_energy": 0.3,
            "gpu_energy": 0.5,
            "ram_energy": 0.1,
            "energy_consumed": 0.9,
            "emissions": 0.18,
            "duration": 60.0,
            "ram_power": 10.0,
            "country_iso_code": None,
            "pue": 1.0,
        }
        self.fails = {}
        self.options, self.calls = None, []

    @property
    def result(self):
        return SimpleNamespace(**self.data)

    def step(self, name):
        self.calls.append(name)
        logging.getLogger("codecarbon").critical("noise")
        if name in self.fails:
            raise self.fails[name]


@pytest.fixture
def codecarbon(monkeypatch):
    """CodeCarbon 9.9, which measures 0.3 kWh of a process and 0.1 kWh of memory."""
    fake = FakeCodecarbon()

    class OfflineEmissionsTracker:
        def __init__(self, **options):
            fake.options = options
            fake.step("make")
            self._hardware = fake.hardware

        def start(self):
            fake.step("start")

        def stop(self):
            fake.step("stop")
            if fake.data is not None:
                self.final_emissions_data = fake.result

    module = ModuleType("codecarbon")
    module.OfflineEmissionsTracker, module.__version__ = OfflineEmissionsTracker, "9.9"
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    noisy = logging.getLogger("codecarbon")
    handler = logging.StreamHandler()
    noisy.addHandler(handler)
    yield fake
    noisy.removeHandler(handler)
    assert not noisy.disabled  # the messages of others are not lost afterwards


@pytest.fixture
def no_codecarbon(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)


@pytest.fixture
def gpu(monkeypatch):
    """A Tesla T4 on which this process computes."""
    for module in ("estimate", "meter"):
        monkeypatch.setattr(f"coppice.energy.{module}.gpus_in_use", lambda: ["Tesla T4"])


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Four logical processors that no table knows, and nothing given by the user."""
    monkeypatch.setattr("coppice.energy.estimate.os.cpu_count", lambda: 4)
    monkeypatch.setattr("coppice.energy.assumptions.processor", lambda: "Some processor")
    for variable in ("COPPICE_POWER_W", "COPPICE_GPU_POWER_W", "COPPICE_INTENSITY"):
        monkeypatch.delenv(variable, raising=False)

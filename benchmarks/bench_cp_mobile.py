"""Coppice's own C beside other runtimes on CP-Mobile, the baseline of DCASE 2024 and 2025.

    python benchmarks/bench_cp_mobile.py [--page docs] [--of AVX2]

Random weights: how fast a network is does not depend on them. Narrower networks have fewer base channels. Takes two
minutes.
"""

import argparse
import importlib.util
import os
import tempfile
from pathlib import Path

import torch

from bench_compiler import LABELS, Times, followed, ms, timed
from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.export.latency import runtime_latency
from coppice.export.model_files import Runnable, read_model_file
from coppice.export.verify import noise_clips
from coppice.native.toolchain import compiler
from coppice.networks.classifier import Classifier
from coppice.networks.cp_mobile import CPMobile
from coppice.quantization.int8 import quantize_int8
from page import machine, table, write_section

CHANNELS = (32, 24, 16, 8)
CALIBRATION = 16


def main() -> None:
    """Measure; print, and write the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="folder of benchmarks.md, to be written")
    parser.add_argument("--of", default="", help="write a section of its own, such as AVX2, beside the others")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    runtimes = ["torch", "onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else []), "c"]
    networks = {str(channels): cp_mobile(channels) for channels in CHANNELS}
    exact = timed(networks, runtimes, repeats=200)
    with tempfile.TemporaryDirectory() as folder:
        rough = int8(networks, Path(folder), [name for name in runtimes if name != "torch"])
    text = section(exact, rough, load, of=given.of)
    print(text)
    if given.page is not None:
        write_section(given.page, "cp_mobile", text, of=given.of)


def cp_mobile(channels: int) -> Classifier:
    """Return the baseline on one second, 256×65, with so many base channels."""
    ears = front_end("dcase2024")
    network = CPMobile(base_channels=channels, bands=ears.n_mels, frames=ears.frames).eval()
    return Classifier(network, ears, LABELS, torch.zeros(ears.n_mels), torch.ones(ears.n_mels))


def int8(networks: dict[str, Classifier], folder: Path, runtimes: list[str]) -> Times:
    """Time int8 beside float32, calibrated on noise."""
    models: dict[str, Runnable] = {}
    for name, one in networks.items():
        ears = one.known_front_end()
        sounds = torch.cat([noise_clips(ears)[:4]] * (CALIBRATION // 4))
        path = folder / f"{name}.onnx"
        quantize_int8(one, path, clips=torch.stack([log_mel(sound, ears) for sound in sounds]))
        models |= {name: one, f"{name} int8": read_model_file(path)}
    return {(row.runtime, row.model): row for row in runtime_latency(models, runtimes=runtimes, repeats=120)}


def section(exact: Times, rough: Times, load: float, *, of: str) -> str:
    """Write everything between the markers."""
    busy = f" Other programs kept the cores busy meanwhile (load average {load:.1f})." if load > 0.5 else ""
    runtimes = list(dict.fromkeys(runtime for runtime, _ in rough))
    names = list(dict.fromkeys(name for _, name in exact))
    lines = [
        [
            name,
            *(
                f"{ms(before)} → {ms(after)} ({before / after:.2f}×)"
                for runtime in runtimes
                for before, after in [[rough[runtime, f"{name}{of}"].latency_ms_p50 for of in ("", " int8")]]
            ),
        ]
        for name in names
    ]
    others = [runtime for runtime in dict.fromkeys(runtime for runtime, _ in exact) if runtime != "c"]
    beside = [
        [
            f"{name}{kind}",
            *(
                f"{times[runtime, f'{name}{kind}'].latency_ms_p50 / times['c', f'{name}{kind}'].latency_ms_p50:.2f}×"
                if (runtime, f"{name}{kind}") in times
                else "–"
                for runtime in others
            ),
        ]
        for times, kind in ((exact, ""), (rough, " int8"))
        for name in names
    ]
    return (
        f"## Coppice's own C on CP-Mobile{f', {of}' if of else ''}\n\n"
        f"{machine()}, {compiler().version}, random weights, one thread, one clip at a time, medians; all that a table "
        "compares took turns in one process. The baseline of DCASE 2024 and 2025 on 256×65, with 32 base channels and "
        "fewer. In brackets what of the saved MACs is realised: the speed-up over 32 channels in the same runtime ÷ "
        f"the reduction of the MACs.{busy}\n\n"
        + followed(exact)
        + "Float32 → int8, and the speed-up, in the same runtime.\n\n"
        + table(["base channels", *(f"{name}, ms" for name in runtimes)], lines)
        + "How many times as long as Coppice's C the others take:\n\n"
        + table(["base channels", *others], beside)
    )


if __name__ == "__main__":
    main()

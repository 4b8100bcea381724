"""Measure what number formats cost on ESC-10: float32 against 16 bits and int8, unpruned and pruned, in two runtimes.

Five folds by three seeds. int8 is calibrated on training clips drawn with a seed; nothing is chosen on test clips, and
validation clips are not looked at. Interrupted, it goes on where it stopped.

    python experiments/quantize_esc10.py --data PATH/TO/data --runs runs/esc10-results

takes some minutes on two cores and writes docs/int8.md. The data holds esc10/, and the
runs are those of recipes/esc10-results.yaml.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import coppice as cp
from coppice.core import progress
from coppice.core.files import make_folder, read_json, write_json, write_text
from coppice.core.processor import processor
from coppice.core.seeds import derive_seed
from coppice.core.units import bytes_text
from coppice.quantization.int8 import Quantized
from coppice.quantization.post_training import nncf
from coppice.studies.cross_validation import mean_with_interval

PAGE = Path("docs/int8.md")
SYSTEMS = {"unpruned": "train", "pruned": "systems/cosine/2-finetune"}
STORED = ("float16", "bfloat16", "dynamic_int8")
CALIBRATION = 100
RUNTIMES = ("onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else []))
INT8 = {"int8": (), "int8-conv1-float": ("conv1",)}
TITLES = {
    "float32": "float32, PyTorch",
    "float16": "float16 stored",
    "bfloat16": "bfloat16 stored",
    "dynamic_int8": "dynamic_int8 stored",
    "int8 onnxruntime": "int8, ONNX Runtime",
    "int8 openvino": "int8, OpenVINO",
    "int8-conv1-float onnxruntime": "int8 but conv1, ONNX Runtime",
    "int8-conv1-float openvino": "int8 but conv1, OpenVINO",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with esc10")
    parser.add_argument("--runs", type=Path, required=True, help="run folder of recipes/esc10-results.yaml")
    parser.add_argument("--records", type=Path, default=Path("runs/int8"))
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    progress.console.quiet = True
    make_folder(given.records)
    work = [(fold, seed, system) for fold in given.folds for seed in given.seeds for system in SYSTEMS]
    for number, (fold, seed, system) in enumerate(work, start=1):
        name = f"fold{fold}-seed{seed}-{system}"
        _measure(given, name, fold, seed, system)
        print(f"{number}/{len(work)} {name}", flush=True)
    found = [read_json(given.records / f"fold{fold}-seed{seed}-{system}.json") for fold, seed, system in work]
    write_text(given.page, page(found))
    print(f"wrote {given.page}")


def _measure(given: argparse.Namespace, name: str, fold: int, seed: int, system: str) -> None:
    """Score one network in all formats on the test clips of its fold, unless that is done."""
    record = given.records / f"{name}.json"
    if record.exists():
        return
    checkpoint = given.runs / f"fold{fold}-seed{seed}" / SYSTEMS[system] / "checkpoint.safetensors"
    network = cp.load(checkpoint)
    choice = {"strategy": "folds", "test_fold": fold}
    prepared = cp.prepare("esc10", root=given.data / "esc10", front_end=network.front_end, split=choice)
    log_mel, targets, clips = prepared.log_mel("test"), prepared.targets("test"), prepared.clips("test")
    posteriors = {"float32": network.posteriors(log_mel)}
    sizes = {"float32": checkpoint.stat().st_size}
    for to in STORED:
        path = cp.save(cp.quantize(network, to=to), given.records / f"{name}-{to}.safetensors")
        posteriors[to], sizes[to] = cp.load(path).posteriors(log_mel), path.stat().st_size
    sizes["float32 ONNX"] = cp.export_onnx(network, given.records / f"{name}-float32.onnx").size_bytes
    seen, _ = cp.training_clips(network, prepared, count=CALIBRATION, seed=derive_seed(seed, "int8", fold))
    calibration = {}
    for form, in_float in INT8.items():
        done = cp.quantize_int8(network, given.records / f"{name}-{form}.onnx", clips=seen, in_float=in_float)
        sizes[f"{form} ONNX"], calibration[form] = done.size_bytes, _agreement(done)
        for runtime in RUNTIMES:
            posteriors[f"{form} {runtime}"] = cp.load_onnx(done.path, runtime=runtime).posteriors(log_mel)
    write_json(
        record,
        {
            "fold": fold,
            "seed": seed,
            "system": system,
            "clip_id": clips["clip_id"].tolist(),
            "recording": clips["recording"].astype(str).tolist(),
            "sizes": sizes,
            "calibration": calibration,
            "scores": {form: _scores(found, targets, posteriors["float32"]) for form, found in posteriors.items()},
        },
    )


def _agreement(done: Quantized) -> dict[str, Any]:
    return {"clips": done.calibration_clips, "max_delta": done.agreement.max_delta, "top1": done.agreement.top1}


def _scores(posteriors: Tensor, targets: Tensor, expected: Tensor) -> dict[str, Any]:
    losses = -posteriors.gather(1, targets[:, None])[:, 0].clamp(min=1e-15).log()
    return {
        "log_loss": losses.tolist(),
        "accuracy": (posteriors.argmax(1) == targets).double().tolist(),
        "same": (posteriors.argmax(1) == expected.argmax(1)).double().tolist(),
        "delta": (posteriors - expected).abs().amax(dim=1).tolist(),
    }


# The page


def page(found: Sequence[dict[str, Any]]) -> str:
    """Say in Markdown how int8 is made and what it costs."""
    folds, seeds = (sorted({row[key] for row in found}) for key in ("fold", "seed"))
    lines = [
        GUIDE,
        "## Measured on ESC-10",
        "",
        "Written by `experiments/quantize_esc10.py`. The networks of `recipes/esc10-results.yaml`, folds "
        f"{', '.join(map(str, folds))} by seeds {', '.join(map(str, seeds))}, 5-s clips: 16-16-32 filters unpruned, "
        "and pruned (11 of conv2's 16 filters stay, cosine similarity) and fine-tuned. int8 is calibrated on "
        f"{CALIBRATION} training clips drawn with a seed; all layers are in int8, or all but conv1. Changes are "
        "paired: the same clip, fold and seed in float32; 95 % bootstrap over recordings and seeds. *Same class*: "
        "share of the test clips that get the class that they get in float32.",
        "",
    ]
    for system in SYSTEMS:
        lines += _table([row for row in found if row["system"] == system], system)
    lines += _size_lines(found)
    lines += [
        f"Coppice {cp.__version__}, PyTorch {torch.__version__}, NNCF {nncf().__version__}, {processor()}.",
        "",
    ]
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]], system: str) -> list[str]:
    recording = pd.concat([pd.Series(row["recording"], index=row["clip_id"]) for row in rows])
    recording = recording[~recording.index.duplicated()]

    def outcomes(form: str, score: str) -> pd.DataFrame:
        by_seed: dict[int, list[pd.Series]] = {}
        for row in rows:
            one = pd.Series(row["scores"][form][score], index=row["clip_id"])
            by_seed.setdefault(row["seed"], []).append(one)
        return pd.DataFrame({seed: pd.concat(parts) for seed, parts in by_seed.items()})

    lines = [
        f"### {system.capitalize()}",
        "",
        "| numbers | accuracy % | change, points | log-loss | change | same class | largest change of a posterior |",
        "|---|---:|---|---:|---|---:|---:|",
    ]
    for form in rows[0]["scores"]:
        cells = [TITLES[form]]
        for score, scale, digits in (("accuracy", 100, 1), ("log_loss", 1, 4)):
            own = outcomes(form, score)
            cells.append(f"{scale * own.to_numpy().mean():.{digits}f}")
            if form == "float32":
                cells.append("")
                continue
            change = mean_with_interval(own - outcomes("float32", score), recording)
            low, high = (scale * end for end in change["interval"])
            cells.append(f"{scale * change['mean']:+.{digits + 1}f} [{low:+.{digits + 1}f}, {high:+.{digits + 1}f}]")
        if form == "float32":
            cells += ["", ""]
        else:
            cells.append(f"{100 * outcomes(form, 'same').to_numpy().mean():.1f} %")
            cells.append(f"{outcomes(form, 'delta').to_numpy().max():.4f}")
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _size_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    names = list(found[0]["sizes"])
    lines = [
        "### Bytes of the files",
        "",
        "Measured; mean of the networks above. Checkpoints hold the network's history beside its numbers, and the "
        "float32 ONNX file has batch normalisation folded in.",
        "",
        "| network | " + " | ".join(name.replace("-conv1-float", " but conv1") for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for system in SYSTEMS:
        own = [row["sizes"] for row in found if row["system"] == system]
        cells = [bytes_text(round(float(np.mean([sizes[name] for sizes in own])))) for name in names]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return [*lines, ""]


GUIDE = """# int8 and other number formats

A pruned and fine-tuned network becomes smaller once more when its numbers take fewer bits, and faster when the
processor multiplies whole numbers. Two things go by that name.

**Stored in fewer bits.** The file is smaller; on loading, the numbers become float32 again, and arithmetic and time are
those of float32.

```python
small = cp.quantize(net, to="float16")       # 11 bits of each number; ends at 65,504
small = cp.quantize(net, to="bfloat16")      # 8 bits of each number; the range of float32
small = cp.quantize(net, to="dynamic_int8")  # weights of 1,024 values or more in one byte each
cp.save(small, "small.safetensors")
```

`coppice quantize checkpoint.safetensors --to float16 --out small.safetensors`. `dynamic_int8` is what TensorFlow Lite's
dynamic-range quantization made of the published networks of the DCASE 2022 system of Singh and Plumbley: weights of
1,024 values or more, symmetric, one scale per tensor; smaller tensors and biases stay float32. From the published
float32 files it gives the published int8 files, bit for bit.

**Computed in int8.** Weights *and* what flows between the layers are whole numbers, so ranges have to be measured on
clips, and the result is a file for a runtime:

```python
log_mel, _ = cp.training_clips(net, data, count=100)
done = cp.quantize_int8(net, "model.int8.onnx", clips=log_mel)
done.int8_layers, done.size_bytes, done.agreement
heard = cp.load_onnx("model.int8.onnx")                     # or runtime="openvino"
heard.posteriors(data.log_mel("validation"))
```

```
coppice quantize checkpoint.safetensors --to int8 --data esc10 --test-fold 1 --out model.int8.onnx
coppice quantize checkpoint.safetensors --to int8 --sounds recordings/ --with-front-end --out ear.int8.onnx
coppice evaluate model.int8.onnx --data esc10 --test-fold 1
coppice classify kitchen.wav --model ear.int8.onnx
coppice profile model.int8.onnx --before model.onnx --runtime onnxruntime,openvino
```

* Calibrate on training clips only, eight or more; 100 are usual. `--data` takes them from the training part. Neither
  validation nor test clips are needed.
* NNCF does it, on the ONNX graph: weights symmetric with one scale per filter, activations with one scale and zero
  point each, biases corrected layer by layer. The file is ONNX with `QuantizeLinear` and `DequantizeLinear`; ONNX
  Runtime and OpenVINO run it. They do not round alike to the last bit, and posteriors differ a little between them.
* Two settings are not NNCF's own. Ranges are those of the loudest clip, not the mean over the clips, which clips loud
  sounds. And weights keep 7 bits: processors without VNNI (before Intel's Ice Lake and AMD's Zen 4) add two products
  in 16 bits, where those of 8-bit weights do not fit, and would hear something else from the same file.
* With the front end inside (`--with-front-end`), waveform to log-mel stays in float32: a logarithm spans more powers of
  two than a byte.
* `--max-drop 0.005` allows half a point of accuracy on the validation clips to go. Where int8 costs more, the layer
  goes back into float without which the log-loss is smallest, and another one, until it does not; the file says which.
  Where that cannot be met it says so and writes nothing. `--float conv1` leaves a layer in float in any case, which
  can be faster, too: ONNX Runtime's int8 kernels gain nothing on a convolution that reads one channel. With
  `--sounds`, or a classifier that tags, it is the share of clips that get the class that they get in float32.
* NNCF would tell its makers about its use; Coppice switches that off.
* Prune and fine-tune first, quantize last. Members of an ensemble are quantized one by one, and their posteriors
  averaged as before.
* How fast it is, runtime by runtime: [benchmarks.md](benchmarks.md#runtimes), and as Coppice's own C
  [there](benchmarks.md#coppices-own-c).
"""


if __name__ == "__main__":
    main()

import re
import subprocess

import numpy as np
import pytest
import soundfile
import torch
from tests.compiler.conftest import WARNINGS, make, needed
from torch import nn

import coppice as cp
from coppice.compiler.export_c import export_c
from coppice.core.errors import CoppiceError
from coppice.core.seeds import numpy_stream
from coppice.export.onnx_classifier import load_onnx
from coppice.native.toolchain import EXACT_FLAGS
from coppice.networks.classifier import Classifier
from coppice.quantization.int8 import quantize_int8
from quick import quick

pytestmark = pytest.mark.usefixtures("cc")
SANITIZED = "-std=c99 -O1 -ffp-contract=off -fsanitize=address,undefined -fno-sanitize-recover=all"
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")


@pytest.fixture(scope="module")
def quantized(classifier, sounds, tmp_path_factory):
    """The classifier in int8, as ONNX Runtime runs it."""
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    quantize_int8(classifier, path, clips=sounds)
    return load_onnx(path)


@pytest.fixture(scope="module")
def folders(classifier, quantized, sounds, tmp_path_factory):
    """Target and precision -> what the export says of its folder."""
    root = tmp_path_factory.mktemp("c")
    return {
        (target, precision): export_c(
            one, root / f"{target}_{precision}", target=target, with_front_end=True, clips=sounds
        )
        for target in ("simd", "portable")
        for precision, one in (("float32", classifier), ("int8", quantized))
    }


KINDS = [(target, precision) for target in ("simd", "portable") for precision in ("float32", "int8")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_holds_what_it_should_and_says_what_it_needs(folders, kind):
    done = folders[kind]
    sources = {"model.h", "model.c", "weights.c", "front_end.c", "main.c", "check.c", "test_vector.h"}
    assert {file.name for file in done.path.iterdir()} == sources | {"Makefile", "README.txt"}
    header, readme = (done.path / "model.h").read_text(), (done.path / "README.txt").read_text()
    assert f"model_listen_bytes = {done.work_bytes}" in header and str(done.work_bytes) in readme
    assert f"{done.weight_bytes} bytes of weights" in readme
    assert len((done.path / "model.c").read_text().splitlines()) <= 1500
    assert done.agreement.max_delta <= (1e-5 if kind[1] == "float32" else 0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compiler", quick(["gcc", "clang"], "gcc"))
def test_it_compiles_without_a_warning_and_passes_its_own_check(folders, kind, compiler):
    flags = " ".join((*EXACT_FLAGS, *WARNINGS))
    said = make(folders[kind].path, f"CC={needed(compiler)}", f"CFLAGS={flags}", "clean", "all", "check")
    assert said.endswith("good\n")
    assert "not the same" not in said


@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
def test_it_touches_no_memory_that_is_not_its_own(folders, kind, cc):
    assert make(folders[kind].path, f"CC={cc}", f"CFLAGS={SANITIZED}", "clean", "check").endswith("good\n")


@pytest.mark.proof
@pytest.mark.parametrize("flags", ["-O0", "-O2 -mavx2", "-O2 -mavx512f -mavx512bw", "-O2 -mavx2 -mavxvnni", "-O3"])
def test_int8_is_the_same_bit_for_bit_however_it_is_compiled(folders, flags, cc):
    if "-m" in flags:
        _needs_processor(flags)
    done = folders["simd", "int8"]
    said = make(done.path, f"CC={cc}", f"CFLAGS=-std=c99 -ffp-contract=off {flags}", "clean", "check")
    assert "the same bit for bit\n" in said
    vectors = [(folders[target, "int8"].path / "test_vector.h").read_text() for target in ("simd", "portable")]
    assert vectors[0] == vectors[1]


def _needs_processor(flags: str) -> None:
    from pathlib import Path

    known = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    for flag in re.findall(r"-mavx(\w+)", flags):
        if not re.search(rf"\bavx_?{flag}\b", known):
            pytest.skip(f"this processor has no avx{flag}")


@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
def test_64_bit_arm_computes_the_same(folders, kind):
    compiler, emulator = needed("aarch64-linux-gnu-gcc"), needed("qemu-aarch64-static")
    flags = "CFLAGS=-std=c99 -O2 -static -ffp-contract=off"
    said = make(folders[kind].path, f"CC={compiler}", flags, f"RUN={emulator}", "clean", "check")
    assert said.endswith("good\n")
    assert "not the same" not in said


_START = """
#include "model.h"
#include "test_vector.h"
static void leave(int code) {
  register int r0 __asm__("r0") = code;
  register int r7 __asm__("r7") = 1;
  __asm__ volatile("svc 0" : : "r"(r0), "r"(r7));
}
static union { char bytes[model_work_bytes]; double aligned; } work;
void *memcpy(void *to, const void *from, unsigned size) {
  for (unsigned i = 0; i < size; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
  return to;
}
void *memset(void *to, int byte, unsigned size) {
  for (unsigned i = 0; i < size; i++) ((volatile char *)to)[i] = (char)byte;
  return to;
}
void _start(void) {
  float found[model_classes];
  for (int i = 0; i < test_clips; i++) {
    if (model_run(test_features + i * model_features, found, &work)) leave(2);
    for (int c = 0; c < model_classes; c++) {
      const float apart = found[c] - test_posteriors[i * model_classes + c];
      if (!(apart <= test_tolerance && apart >= -test_tolerance)) leave(1);
    }
  }
  leave(0);
}
"""


@pytest.mark.proof
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_cortex_m4_computes_it_within_16_kb_of_code(folders, precision, tmp_path):
    compiler, size = needed("arm-none-eabi-gcc"), needed("arm-none-eabi-size")
    done = folders["portable", precision]
    (tmp_path / "start.c").write_text(_START)
    common = [compiler, "-std=c99", "-O2", "-ffp-contract=off", *CORTEX_M4]
    for file in ("model", "weights", "front_end"):
        call = [*common, *WARNINGS, "-c", str(done.path / f"{file}.c"), "-o", str(tmp_path / f"{file}.o")]
        subprocess.run(call, check=True)
    said = subprocess.run([size, *map(str, sorted(tmp_path.glob("*.o")))], capture_output=True, text=True, check=True)
    rows = {
        line.split()[-1].rpartition("/")[2]: [int(n) for n in line.split()[:3]] for line in said.stdout.splitlines()[1:]
    }
    assert rows["model.o"][0] < 16_000 and rows["model.o"][1:] == [0, 0]  # code and constants; no variables
    assert abs(rows["weights.o"][0] - done.weight_bytes) < 64
    emulator = needed("qemu-arm-static")
    program = tmp_path / "checked"
    start = [*common, f"-I{done.path}", "-nostdlib", "-static", str(tmp_path / "start.c")]
    subprocess.run(
        [*start, str(tmp_path / "model.o"), str(tmp_path / "weights.o"), "-o", str(program), "-lgcc"], check=True
    )
    assert subprocess.run([emulator, str(program)], check=False).returncode == 0


def test_the_program_hears_a_wav_file_as_the_classifier_does(folders, classifier, tmp_path, cc):
    done = folders["simd", "float32"]
    make(done.path, f"CC={cc}", "clean", "classify")
    rate, length = classifier.front_end.sample_rate, classifier.front_end.samples
    noise = numpy_stream(1, "wav").standard_normal((2 * length + 900, 2)) / 9
    for samples, subtype in (
        (2 * length + 900, "PCM_16"),
        (length, "PCM_24"),
        (length - 700, "FLOAT"),
        (length, "PCM_U8"),
    ):
        file = tmp_path / f"{samples}{subtype}.wav"
        soundfile.write(file, noise[:samples], rate, subtype=subtype)
        said = subprocess.run([done.path / "classify", file], capture_output=True, text=True, check=True).stdout
        found = [float(line.split()[0]) for line in said.splitlines()[:-1]]
        heard = cp.classify(classifier, file)
        assert said.splitlines()[-1] == heard.label
        np.testing.assert_allclose(found, list(heard.posteriors.values()), atol=1e-4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no sound at all", "is not a WAV file"),
        (b"", "cannot be read"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00", "is not a WAV file"),
    ],
)
def test_the_program_says_what_is_wrong_with_a_file(folders, content, said, tmp_path, cc):
    done = folders["portable", "float32"]
    make(done.path, f"CC={cc}", f"CFLAGS={SANITIZED}", "clean", "classify")
    (tmp_path / "a.wav").write_bytes(content)
    ended = subprocess.run([done.path / "classify", tmp_path / "a.wav"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (2, f"{tmp_path / 'a.wav'}: {said}")


def test_another_rate_and_samples_that_are_no_numbers_are_refused_by_the_program(folders, classifier, tmp_path, cc):
    done = folders["portable", "float32"]
    make(done.path, f"CC={cc}", "clean", "classify")
    silence = np.zeros(classifier.front_end.samples, np.float32)
    soundfile.write(tmp_path / "slow.wav", silence, 8000)
    silence[5] = np.nan
    soundfile.write(tmp_path / "nan.wav", silence, classifier.front_end.sample_rate, subtype="FLOAT")
    for name, said in (("slow", "another sample rate"), ("nan", "samples that are not numbers")):
        ended = subprocess.run(
            [done.path / "classify", tmp_path / f"{name}.wav"], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 2 and said in ended.stderr


def test_a_network_without_a_front_end_is_fed_with_features(used, tmp_path, cc):
    network = used(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    network.input_shape = (1, 6, 9)
    done = export_c(Classifier(network, None, ("a", "b", "c"), None, None), tmp_path / "c")
    features = torch.randn(1, 6, 9)
    (tmp_path / "features.f32").write_bytes(features.numpy().tobytes())
    make(done.path, f"CC={cc}", "all", "check")
    said = subprocess.run(
        [done.path / "classify", tmp_path / "features.f32"], capture_output=True, text=True, check=True
    )
    expected = network(features[None]).softmax(dim=1)[0].detach().numpy()
    found = [float(line.split()[0]) for line in said.stdout.splitlines()[:-1]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_folder_that_is_not_empty_is_left_alone(classifier, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CoppiceError, match="is there already and not an empty folder; give another one"):
        export_c(classifier, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_too_little_memory_is_refused_with_the_layer_that_needs_most(classifier, tmp_path):
    with pytest.raises(CoppiceError, match=r"most of it at 'conv2', and 10\.0 kB are allowed"):
        export_c(classifier, tmp_path / "c", most_bytes=10_000)
    assert not (tmp_path / "c").exists()


def test_an_operator_without_c_is_refused_before_anything_is_written(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.input_shape = (1, 6, 9)
    with pytest.raises(CoppiceError, match="Elu"):
        export_c(Classifier(network.eval(), None, ("a", "b", "c"), None, None), tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.proof
def test_a_file_with_its_front_end_inside_is_refused(classifier, tmp_path):
    cp.export_onnx(classifier, tmp_path / "ear.onnx", with_front_end=True)
    with pytest.raises(CoppiceError, match="has its front end inside, which becomes C apart from the network"):
        export_c(load_onnx(tmp_path / "ear.onnx"), tmp_path / "c")


def test_real_clips_are_heard_within_a_hundred_thousandth(shared_data, tmp_path):
    from coppice.export.sound_clips import sound_clips
    from coppice.networks.dcase2021 import DCASE2021

    torch.manual_seed(0)
    ear = cp.front_end("dcase2021", duration_s=2.0)
    sounds = sound_clips([shared_data / "esc10" / "audio"], ear)[:80]
    pictures = torch.stack([cp.log_mel(sound, ear) for sound in sounds])
    bands = pictures.mean(dim=(0, 2)), pictures.std(dim=(0, 2))
    one = Classifier(DCASE2021(widths=(11, 8, 9), frames=100).eval(), ear, tuple("abcdefghij"), *bands)
    done = export_c(one, tmp_path / "c", clips=sounds)
    assert done.agreement.clips == 80
    assert done.agreement.max_delta < 1e-5

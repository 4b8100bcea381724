"""The page in a browser: the same answers as Python, from files and from a microphone; plain words where that fails."""

import base64
import io

import numpy as np
import pytest
import soundfile
import torch

import coppice as cp
from coppice.audio.decode import decode
from coppice.audio.front_end import front_end
from coppice.audio.log_mel import log_mel
from coppice.audio.resample import resample
from coppice.core.seeds import numpy_stream
from coppice.datasets.synthetic import open_synthetic
from coppice.evaluation.classify import classify
from coppice.export.web.folder import export_web
from coppice.networks.classifier import Classifier
from coppice.networks.dcase2021 import DCASE2021

pytestmark = pytest.mark.proof
RATE = 44100
DONE = "['heard', 'failed'].includes(document.body.dataset.state)"
ROWS = "[...document.querySelectorAll('#bars tr')]"
POSTERIORS = f"{ROWS}.map((row) => [...row.querySelectorAll('.fill')].map((fill) => +fill.dataset.posterior))"
LABELS = "[...document.querySelectorAll('.value')].map((value) => value.dataset.label)"
MESSAGE = "document.getElementById('message').textContent"
SCENES = [
    "airport",
    "bus",
    "shopping_mall",
    "metro",
    "street_pedestrian",
    "public_square",
    "street_traffic",
    "tram",
    "metro_station",
    "park",
]


def heard(page, *files):
    """What the page says of a file: the classes, and posteriors (networks, classes)."""
    page.choose("#file", *files)
    page.wait(DONE)
    assert page.value(MESSAGE) == ""
    return page.value(LABELS), np.array(page.value(POSTERIORS)).T


def looped_label(classifier, file):
    """The class of a clip wherever its loop is cut open, where that is one; else None."""
    waveform = torch.from_numpy(decode(file, sample_rate=RATE))[: classifier.front_end.samples]
    shifts = [waveform.roll(shift) for shift in range(0, len(waveform), len(waveform) // 12)]
    posteriors = classifier.posteriors(torch.stack([log_mel(one, classifier.front_end) for one in shifts]))
    labels = set(posteriors.argmax(dim=1).tolist())
    return classifier.labels[labels.pop()] if len(labels) == 1 and posteriors.amax(dim=1).min() > 0.6 else None


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    dataset = open_synthetic(root=tmp_path_factory.mktemp("scenes") / "s", clips_per_class=5, duration_s=1.0)
    return dataset.clips


@pytest.fixture(scope="module")
def networks(sounds):
    """A network that has learnt these sounds, and a pruned one."""
    torch.manual_seed(0)
    ear = front_end("dcase2021", duration_s=1.0)
    labels = tuple(sorted(set(sounds["label"])))
    features = torch.stack([log_mel(torch.from_numpy(decode(f, sample_rate=RATE)), ear) for f in sounds["file"]])
    target = torch.tensor([labels.index(label) for label in sounds["label"]])
    whole = Classifier(
        DCASE2021(widths=(4, 4, 8), dense=16, frames=50), ear, labels, features.mean((0, 2)), features.std((0, 2))
    )
    optimizer = torch.optim.Adam(whole.network.parameters(), 5e-3)
    whole.network.train()
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(whole.network(whole.normalise(features)), target).backward()
        optimizer.step()
    whole.network.eval()
    return whole, cp.prune(whole, cp.plan(whole, "l1", ratios={"conv3": 0.25}))


@pytest.fixture(scope="module")
def site(networks, runtime, tmp_path_factory):
    whole, pruned = networks
    folder = tmp_path_factory.mktemp("site")
    export_web(pruned, folder, compare=whole, runtime=runtime)
    return folder


@pytest.fixture(scope="module")
def spoken(networks, sounds):
    """A clip that is one class wherever its loop begins."""
    labels = {file: looped_label(networks[0], file) for file in sounds["file"]}
    return next((file, label) for file, label in labels.items() if label)


@pytest.fixture(scope="module")
def page(browser, served, site, spoken):
    with served(site) as address, browser(microphone=spoken[0]) as opened:
        page = opened.page()
        page.address, page.browser = address, opened
        yield page


@pytest.fixture(autouse=True)
def fresh(request):
    """Each test begins with the page as it is when it has just been opened."""
    if "page" in request.fixturenames:
        page = request.getfixturevalue("page")
        page.open("about:blank")
        page.open(page.address)
        page.wait("document.body.dataset.state")


def test_chosen_files_get_the_answers_of_python(page, networks, sounds):
    answers = set()
    files = list(sounds["file"])[::2]
    assert len(files) >= 20
    for file in files:
        labels, posteriors = heard(page, file)
        expected = [classify(network, file) for network in networks]
        assert labels == [one.label for one in expected]
        for found, one in zip(posteriors, expected, strict=True):
            np.testing.assert_allclose(found, list(one.posteriors.values()), atol=1e-3)
        answers.add(labels[0])
    assert len(answers) >= 8
    assert page.complaints == []


def test_any_length_rate_and_number_of_channels_is_heard_as_python_hears_it(page, networks, sounds, tmp_path):
    clips = [soundfile.read(file, dtype="float32")[0] for file in sounds["file"][::10]]
    waves = {
        "long.wav": (np.concatenate(clips)[: round(3.4 * RATE)], RATE),
        "short.wav": (clips[0][:20_000], RATE),
        "stereo.flac": (np.stack([clips[1], 0.2 * clips[2]], axis=1), RATE),
        "lower.wav": (clips[3][::2], RATE // 2),
        "higher.flac": (clips[4], 48000),
        "speech.wav": (clips[1][:12_000], 16000),
    }
    for name, (wave, rate) in waves.items():
        file = tmp_path / name
        soundfile.write(file, wave, rate, subtype="PCM_24")
        labels, posteriors = heard(page, file)
        expected = [classify(network, file) for network in networks]
        assert labels == [one.label for one in expected], name
        for found, one in zip(posteriors, expected, strict=True):
            np.testing.assert_allclose(found, list(one.posteriors.values()), atol=1e-3, err_msg=name)
    remarks = {"long.wav": "mean of 4 windows of 1 s", "short.wav": "filled up", "lower.wav": "resampled from 22050 Hz"}
    for name, remark in remarks.items():
        heard(page, tmp_path / name)
        assert remark in page.value("document.getElementById('sound-facts').textContent")


@pytest.mark.parametrize("kind, tolerance", [("soxr_hq", 3e-4), ("sinc_hann", 1e-6)])
@pytest.mark.parametrize("rates", [(48000, 44100), (16000, 44100), (44100, 32000), (44100, 16000)])
def test_the_page_resamples_as_python_does(page, kind, tolerance, rates):
    wave = numpy_stream(0, "noise").uniform(-0.5, 0.5, 1400).astype(np.float32)
    wave = resample(wave, from_hz=1, to_hz=3)  # what lies beside the lower rate's limit is the filters' own affair
    expected = resample(wave, from_hz=rates[0], to_hz=rates[1], resampler=kind)
    start = 700
    found = page.value(f"""import("./resample.js").then(({{ Resampler }}) => {{
        const wave = Float32Array.from({wave.tolist()});
        const resampler = new Resampler({rates[0]}, {rates[1]}, {kind!r});
        const [first, last] = resampler.needs({start}, 500);
        return [...resampler.resampled(wave.slice(first, last), {start}, 500)];
    }})""")
    np.testing.assert_allclose(found, expected[start : start + 500], atol=tolerance)


def test_the_page_reads_the_rate_of_every_format(page, tmp_path):
    rates = {"a.wav": 44100, "b.flac": 22050, "c.ogg": 16000, "d.mp3": 24000, "e.mp3": 48000, "f.mp3": 11025}
    for name, rate in rates.items():
        soundfile.write(tmp_path / name, np.zeros(9000), rate)
    (tmp_path / "g.bin").write_bytes(b"RI")
    for name, rate in {**rates, "g.bin": "unknown"}.items():
        content = base64.b64encode((tmp_path / name).read_bytes()).decode()
        found = page.value(f"""import("./rate.js").then(({{ rateOf }}) => {{
            const bytes = Uint8Array.from(atob("{content}"), (c) => c.charCodeAt(0));
            return rateOf(bytes.buffer) ?? "unknown";
        }})""")
        assert found == rate, name


def test_a_dropped_file_is_heard(page, networks, sounds):
    file = sounds["file"][7]
    content = io.BytesIO()
    soundfile.write(content, *soundfile.read(file), format="WAV")
    page.value(f"""(() => {{
        const bytes = Uint8Array.from(atob("{base64.b64encode(content.getvalue()).decode()}"), (c) => c.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], "dropped.wav"));
        document.querySelector("h1").dispatchEvent(new DragEvent("drop", {{ dataTransfer, bubbles: true }}));
    }})()""")
    page.wait(DONE)
    assert page.value(LABELS) == [classify(network, file).label for network in networks]
    assert page.value("document.getElementById('status').textContent").startswith("dropped.wav: ")


def test_the_microphone_gets_the_answer_of_python(page, spoken):
    page.browser.call("Browser.setPermission", permission={"name": "microphone"}, setting="granted")
    page.click("#listen")
    page.wait(DONE)
    assert page.value(MESSAGE) == ""
    assert page.value(LABELS)[0] == spoken[1]
    picture = "new Set(document.querySelector('canvas').getContext('2d').getImageData(0, 40, 2000, 1).data).size"
    page.wait(f"{picture} > 20")
    page.click("#listen")
    page.wait("document.getElementById('status').textContent === 'Stopped.'")
    assert page.complaints == []


def test_a_microphone_that_cannot_be_had_is_said(page):
    page.browser.call("Browser.setPermission", permission={"name": "microphone"}, setting="denied")
    reject = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{}'))"
    sentences = {
        "": "The microphone was refused.",
        reject.format("NotFoundError"): "This device has no microphone",
        reject.format("NotReadableError"): "another program may be using it",
        "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })": "from https:// or localhost only",
    }
    for script, sentence in sentences.items():
        page.value(script)
        page.click("#listen")
        page.wait(f"{MESSAGE}.includes({sentence!r})")
        page.wait("document.body.dataset.state === 'failed'")


def test_files_that_are_no_sounds_are_said(page, tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "letter.wav").write_bytes(b"Dear reader, this is no sound.")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    sentences = {"empty.wav": "it has 0 bytes", "letter.wav": "cannot be decoded", "silent.wav": "every sample is 0"}
    for name, sentence in sentences.items():
        page.choose("#file", tmp_path / name)
        page.wait(f"{MESSAGE}.includes({sentence!r})")
        assert name in page.value(MESSAGE)
        assert page.value(LABELS) == [None, None]


def test_a_browser_that_cannot_is_told_so(page, site):
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.WebAssembly")["identifier"]
    page.open(page.address)
    page.wait(f"{MESSAGE}.includes('need WebAssembly')")
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    page.open((site / "index.html").as_uri())
    page.wait(f"{MESSAGE}.includes('python -m http.server')")
    page.browser.events.clear()  # the browser complains of files itself


def test_no_request_leaves_the_folder(page, sounds):
    page.browser.events.clear()
    page.open("about:blank")
    page.open(page.address)
    page.wait("document.body.dataset.state")
    heard(page, sounds["file"][0])
    asked = {url for url in page.requests if not url.startswith(("blob:", "data:", "about:"))}
    assert all(url.startswith(page.address) for url in asked), asked
    assert any(url.endswith(".wasm") for url in asked)  # what the worker asks for is seen as well


def test_sizes_and_times_stand_beside_each_other(page, site):
    page.wait("document.querySelectorAll('.change')[1].textContent.includes('time')")
    first, second = page.value("[...document.querySelectorAll('.tile')].map((tile) => tile.innerText)")
    assert "unpruned" in first and "ms for a clip of 1" in first
    assert "pruned" in second and "−" in second.split("size")[0]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_screen_and_can_be_used_by_keyboard(page, sounds, width):
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
    heard(page, sounds["file"][0])
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value("document.querySelector('canvas').clientWidth") > 0.6 * min(width, 800)
    for wanted in ("file", "listen"):
        page.press("Tab", 9)
        assert page.value("document.activeElement.id") == wanted
        ring = page.value(
            f"getComputedStyle(document.querySelector('{'.drop' if wanted == 'file' else '#listen'}')).outlineStyle"
        )
        assert ring == "solid"
    assert page.value("document.getElementById('status').getAttribute('role')") == "status"
    page.call("Emulation.clearDeviceMetricsOverride")


def test_real_recordings_get_the_answers_of_python(browser, served, runtime, shared_data, tmp_path):
    network = cp.load(shared_data / "surrey2022/C123/float32.tflite", front_end="surrey2022", labels=SCENES)
    files = sorted((shared_data / "tau2022_sample" / "audio").glob("*.wav"))
    order = numpy_stream(0, "page").permutation(len(files))
    microphone, label = next((files[i], found) for i in order if (found := looped_label(network, files[i])))
    soundfile.write(tmp_path / "heard.wav", *soundfile.read(microphone), subtype="PCM_16")  # the browser's own limit
    export_web(network, tmp_path / "site", runtime=runtime)
    with served(tmp_path / "site") as address, browser(microphone=tmp_path / "heard.wav") as opened:
        page = opened.page()
        opened.call("Browser.setPermission", permission={"name": "microphone"}, setting="granted")
        page.open(address)
        page.wait("document.body.dataset.state")
        answers = set()
        for file in (files[i] for i in order[:24]):
            labels, posteriors = heard(page, file)
            expected = classify(network, file)
            assert labels == [expected.label], file
            np.testing.assert_allclose(posteriors[0], list(expected.posteriors.values()), atol=1e-3)
            answers.add(expected.label)
        assert len(answers) >= 6
        page.click("#listen")
        page.wait("document.getElementById('status').textContent.startsWith('Microphone: ')")
        assert page.value(LABELS) == [label]

"""Files of torch.export against the networks, read back by torch alone."""

import json
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from coppice.audio.log_mel import log_mel
from coppice.core.errors import CoppiceError
from coppice.export import pytorch as exporting
from coppice.export.model_files import read_model_file
from coppice.export.pytorch import export_torch
from coppice.export.verify import noise_clips
from coppice.networks.classifier import Classifier


@pytest.mark.parametrize("with_front_end", [False, True])
def test_the_program_gives_the_posteriors_of_the_classifier(classifier, tmp_path, with_front_end):
    done = export_torch(classifier, tmp_path / "a.pt2", with_front_end=with_front_end)
    assert (done.format, done.size_bytes) == ("torch.export", (tmp_path / "a.pt2").stat().st_size)
    program = torch.export.load(done.path).module()
    sounds = noise_clips(classifier.front_end)
    heard = torch.stack([log_mel(sound, classifier.front_end) for sound in sounds])
    inputs = sounds if with_front_end else classifier.normalise(heard)
    for count in (1, 8):
        found = program(inputs[:count])[1].detach().numpy()
        np.testing.assert_allclose(found, classifier.posteriors(heard[:count]).numpy(), rtol=0, atol=1e-5)


def test_the_file_needs_no_class_of_ours_and_tells_nothing_of_the_machine(classifier, tmp_path):
    done = export_torch(classifier, tmp_path / "a.pt2", with_front_end=True)
    with zipfile.ZipFile(done.path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, data in content.items() if b".py" in data or b"/home" in data or b"Traceback" in data]
    (said,) = (json.loads(data) for name, data in content.items() if name.endswith("extra/coppice.json"))
    assert said["labels"] == list(classifier.labels)
    parameters = sum(tensor.numel() for tensor in classifier.network.state_dict().values())
    assert done.size_bytes < 4 * parameters + 1_200_000  # no example inputs in it


def test_a_file_that_disagrees_is_not_written(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "verify", lambda run, *a, **k: run(np.zeros((1, 1, 40, 26), np.float32)))
    with pytest.raises(Exception, match=r"26|[Gg]uard|shape"):
        export_torch(classifier, tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())


def test_a_network_that_looks_at_values_is_refused_in_one_sentence(classifier, tmp_path, capfd):
    class Looks(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] if x.sum() > 0 else x.flatten(1)[:, 3:6]

    one = Classifier(**{**vars(classifier), "network": Looks()})
    with pytest.raises(CoppiceError, match="cannot be traced into a graph"):
        export_torch(one, tmp_path / "a.pt2")
    assert capfd.readouterr() == ("", "")


def test_files_of_others_are_not_read(tmp_path):
    with pytest.raises(CoppiceError, match=r"loading a \.pt2 file can run code"):
        read_model_file(tmp_path / "a.pt2")
    with pytest.raises(CoppiceError, match=r"ends in '\.h5'"):
        read_model_file(tmp_path / "a.h5")

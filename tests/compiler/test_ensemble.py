import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.compiler.interpreter import interpret

import coppice as cp
from coppice.compiler.compiled import compile_planned
from coppice.compiler.export_c import export_c
from coppice.compiler.planned import TARGETS, planned
from coppice.compiler.programs import classifier_program
from coppice.ensembles.build import ensemble
from coppice.ensembles.combination import Combination
from coppice.networks.classifier import Classifier

pytestmark = pytest.mark.usefixtures("cc")


@pytest.fixture(scope="module")
def kin(classifier) -> dict[str, Classifier]:
    """Two networks cut from one parent behind conv2, which they still have in common."""
    return {
        criterion: cp.prune(classifier, cp.plan(classifier, criterion, ratios={"conv3": 0.5}))
        for criterion in ("l1", "random")
    }


@pytest.fixture(scope="module")
def stranger(classifier) -> Classifier:
    """A network of its own, whose classes are in another order and whose bands are normalised otherwise."""
    return replace(
        classifier,
        network=copy.deepcopy(classifier.network),
        labels=(*classifier.labels[3:], *classifier.labels[:3]),
        band_mean=classifier.band_mean + 0.3,
        band_std=classifier.band_std * 1.2,
    )


# One pair of each in the usual suite; the two others among the proofs.
@pytest.mark.parametrize(
    "how, target",
    [
        (how, target)
        if (how == "geometric") == (target == "simd")
        else pytest.param(how, target, marks=pytest.mark.proof)
        for how in ("arithmetic", "geometric")
        for target in TARGETS
    ],
)
@pytest.mark.proof
def test_members_that_name_the_classes_in_another_order_are_compiled(classifier, stranger, how, target):
    rule = Combination((0.4, 0.6), how=how, temperature=1.3)
    made = ensemble({"one": classifier, "other": stranger}, combination=rule)
    log_mel = torch.randn(5, *made.front_end.shape)
    program = classifier_program(made)
    clips = made.normalise(log_mel).numpy()
    found = compile_planned(planned(program, target=target), clips.shape[1:])(clips)
    np.testing.assert_allclose(found, made.posteriors(log_mel).numpy(), atol=1e-6)
    expected = [interpret(program, clip)["posteriors"] for clip in clips]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.proof
@pytest.mark.parametrize("how", ["arithmetic", "geometric"])
def test_an_ensemble_is_one_program_that_computes_a_shared_trunk_once(kin, how, tmp_path):
    made = ensemble(kin, combination=Combination((0.3, 0.7), how=how))
    kinds = [type(step).__name__ for step in classifier_program(made).steps]
    assert kinds.count("Convolution") == 4  # conv1, conv2, and conv3 of each
    log_mel = torch.randn(5, *made.front_end.shape)
    found = cp.compile(made)(made.normalise(log_mel).numpy())
    np.testing.assert_allclose(found, made.posteriors(log_mel).numpy(), atol=1e-6)
    done = export_c(made, tmp_path / "c", target="portable")
    assert done.agreement.max_delta <= 1e-5

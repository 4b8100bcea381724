import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coppice.audio.front_end import front_end
from coppice.core.errors import CoppiceError
from coppice.criteria.registry import criterion_names, needs_clips
from coppice.networks.classifier import Classifier
from coppice.pruning.evidence import gather as collecting
from coppice.pruning.evidence.gather import collect_evidence
from coppice.pruning.planning.decide import plan, rankings
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import traceable_layers
from coppice.pruning.tracing.handed_on import handed_on

SUMMARIES = ["map_products", "mean_magnitude", "mean_map_rank", "mean_nuclear_norm", "nonzero_share", "saliency"]
ACTIVE = [name for name in criterion_names() if needs_clips(name)]


class Written(nn.Module):
    """Activations and residuals as people write them, in place where they can be."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.third = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)), inplace=True)
        y = self.second(x)
        y = y * torch.sigmoid(y) * self.scale
        y += x
        y = torch.relu_(y)
        z = self.third(y)
        y = y + z  # not activated yet when it is read
        return self.head(F.hardswish(y).mean((2, 3)))

    def reference(self, x):
        """The same, with what each layer hands on."""
        first = torch.relu(self.norm(self.first(x)))
        second = F.silu(self.second(first)) * self.scale
        joined = torch.relu(second + first)
        third = self.third(joined)
        out = self.head(F.hardswish(joined + third).mean((2, 3)))
        return {"first": first, "second": second, "third": third, "head": out}


class Pieces(nn.Module):
    """Bands become clips of their own on the way, then frames come first."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense, self.head = nn.Conv1d(1, 3, 3, padding=1), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x):
        clips, _, bands, frames = x.shape
        x = torch.relu(self.conv(x.reshape(clips * bands, 1, frames)))
        x = x.view(clips, bands, 3, frames).mean(1).permute(2, 0, 1)  # frames, clips, channels
        return self.head(torch.relu(self.dense(x)).amax(0))


@pytest.fixture
def written():
    network = Written().eval()
    with torch.no_grad():
        network.norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 0.3]))
        network.norm.running_mean.normal_()
    return network


@pytest.fixture
def seven():
    return torch.randn(7, 1, 8, 12), torch.arange(7) % 3


def state(network):
    return {
        "training": [module.training for module in network.modules()],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "grad": [parameter.grad for parameter in network.parameters()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()],
        "numbers": [tensor.clone() for tensor in network.state_dict().values()],
    }


def same(before, after):
    numbers = zip(before["numbers"], after["numbers"], strict=True)
    flags = ({**one, "numbers": None} for one in (before, after))
    return next(flags) == next(flags) and all(torch.equal(*pair) for pair in numbers)


def test_maps_and_gradients_are_those_of_the_network_written_out(written, seven):
    clips, targets = seven
    found = collect_evidence(
        written, list(traceable_layers(written)), ["maps", "gradients"], clips=clips, targets=targets
    )
    expected = written.reference(clips)
    slopes = torch.autograd.grad(F.cross_entropy(expected["head"], targets, reduction="sum"), list(expected.values()))
    forward_only = collect_evidence(written, list(expected), ["maps"], clips=clips)
    for (name, maps), slope in zip(expected.items(), slopes, strict=True):
        torch.testing.assert_close(found[name].maps, maps.detach())
        assert torch.equal(forward_only[name].maps, found[name].maps)
        torch.testing.assert_close(found[name].gradients, slope)


def test_the_gradient_is_what_the_log_loss_loses_when_a_map_changes(written, seven):
    clips, targets = seven[0][:1].double(), seven[1][:1]
    written = written.double()
    gradient = collect_evidence(written, ["third"], ["gradients"], clips=clips, targets=targets)["third"].gradients
    losses = []
    for step in (1e-5, -1e-5):
        nudge = torch.zeros(1, 4, 8, 12, dtype=torch.float64)
        nudge[0, 2, 3, 4] = step
        handle = written.third.register_forward_hook(lambda _layer, _given, out, nudge=nudge: out + nudge)
        losses.append(F.cross_entropy(written(clips), targets).item())
        handle.remove()
    assert float(gradient[0, 2, 3, 4]) == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "layer", "handed"),
    [
        ("Plain", "conv1", lambda n, x: F.relu(n.bn1(n.conv1(x)))),
        ("Plain", "conv2", lambda n, x: torch.tanh(n.bn2(n.conv2(F.relu(n.bn1(n.conv1(x))))))),
        ("Plain", "dense1", None),
        ("Residual", "second.0", lambda n, x: n.second(n.first(n.stem(x)))),
        ("Depthwise", "depthwise.0", lambda n, x: n.depthwise(n.stem(x))),
        ("SqueezeExcite", "stem.0", lambda n, x: n.stem(x)),
        ("SqueezeExcite", "excite", None),
        ("FrequencyMajor", "project", None),
        ("OneDimensional", "conv1", lambda n, x: n.norm1(n.act1(n.conv1(x)))),
        ("OneDimensional", "up", lambda n, x: None),
        ("SubSpectral", "last", None),
    ],
)
def test_a_layer_hands_on_what_the_next_reads(networks, kind, layer, handed):
    network, example = networks[kind]
    network.eval()
    found = collect_evidence(network, [layer], ["maps"], clips=example)[layer].maps
    shapes = {"dense1": (1, 9), "excite": (1, 6), "project": (1, 7, 6), "up": (1, 5, 26), "last": (1, 5, 8, 12)}
    if layer in shapes:
        assert found.shape == shapes[layer]
        assert layer == "up" or float(found.min()) >= 0  # behind ReLU or sigmoid
    else:
        torch.testing.assert_close(found, handed(network, example).detach())


def test_normalisation_of_folded_channels_is_followed(networks):
    network, example = networks["SubSpectral"]
    network.eval()
    maps = collect_evidence(network, ["twice"], ["maps"], clips=example)["twice"].maps
    first = torch.relu(network.twice(network.stem(example)))
    second = network.twice(first)
    folded = F.relu6(network.norm(second.view(1, 12, 4, 12)).view(1, 6, 8, 12))
    torch.testing.assert_close(maps, torch.cat([first, folded]).detach())  # it runs twice: two maps


def test_pieces_of_a_clip_are_positions():
    network, clips = Pieces(), torch.randn(4, 1, 5, 9)
    found = collect_evidence(network, ["conv", "dense", "head"], ["maps"], clips=clips)
    rows = torch.relu(network.conv(clips.reshape(20, 1, 9)))
    torch.testing.assert_close(found["conv"].maps, rows.view(4, 5, 3, 9).transpose(1, 2).detach())
    dense = torch.relu(network.dense(rows.view(4, 5, 3, 9).mean(1).transpose(1, 2)))  # clips, frames, filters
    torch.testing.assert_close(found["dense"].maps.flatten(2), dense.transpose(1, 2).detach())
    assert found["head"].maps.shape == (4, 2)


def test_summaries_do_not_depend_on_the_size_of_batches(written, seven, monkeypatch):
    clips, targets = seven
    names = list(traceable_layers(written))
    found = []
    for numbers in (1, 4 * 8 * 12 * 3, 2**22):
        monkeypatch.setattr(collecting, "BATCH_NUMBERS", numbers)
        found.append(collect_evidence(written, names, SUMMARIES, clips=clips, targets=targets))
    whole = collect_evidence(written, names, ["maps", "gradients"], clips=clips, targets=targets)
    for name in names:
        filters = whole[name].maps.shape[1]
        for summary in SUMMARIES:
            expected = whole[name].look_up(summary, filters)
            for one in found:
                torch.testing.assert_close(one[name].summaries[summary], expected, rtol=1e-5, atol=1e-7)


def test_a_frozen_network_is_as_it_was_also_under_no_grad_and_inference_mode(written, seven):
    clips, targets = seven
    expected = collect_evidence(written, ["first"], ["saliency"], clips=clips, targets=targets)["first"].summaries
    for parameter in written.parameters():
        parameter.requires_grad_(False)
    written.train()
    written.norm.eval()
    written.first.register_forward_hook(lambda *_: None)
    before = state(written)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            found = collect_evidence(written, ["first"], ["saliency"], clips=clips.clone(), targets=targets)
        torch.testing.assert_close(found["first"].summaries, expected)
    assert same(before, state(written))


def test_a_failure_leaves_the_network_as_it_was(written, seven):
    clips, targets = seven
    written.train()
    before = state(written)
    with pytest.raises(CoppiceError, match=r"does not run on clips of shape \(1, 2, 8, 12\)"):
        collect_evidence(written, ["first"], ["saliency"], clips=clips.expand(-1, 2, -1, -1), targets=targets)
    assert same(before, state(written))
    before = state(written.eval())
    with pytest.raises(ZeroDivisionError), torch.no_grad(), handed_on(written, ["first"], lambda run: 1 / 0):
        written(clips)
    assert same(before, state(written))


@pytest.fixture
def classifier():
    shape = front_end("dcase2021", duration_s=0.5)
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return Classifier(network, shape, ("a", "b", "c"), torch.randn(40) - 3, torch.rand(40) + 1)


def test_a_classifier_looks_at_normalised_clips(classifier):
    clips, targets = torch.randn(5, *classifier.front_end.shape) - 3, torch.arange(5) % 3
    found = collect_evidence(classifier, ["0"], SUMMARIES, clips=clips, targets=targets)
    bare = collect_evidence(classifier.network, ["0"], SUMMARIES, clips=classifier.normalise(clips), targets=targets)
    torch.testing.assert_close(found["0"].summaries, bare["0"].summaries)


def test_a_tagging_classifier_has_the_log_loss_of_each_class(classifier):
    tagging = Classifier(**{**classifier.__dict__, "score": "sigmoid"})
    clips, targets = torch.randn(2, *classifier.front_end.shape), torch.tensor([0, 2])
    found = collect_evidence(tagging, ["4"], ["gradients"], clips=clips, targets=targets)["4"].gradients
    expected = torch.sigmoid(tagging.logits(clips)) - F.one_hot(targets, 3)
    torch.testing.assert_close(found, expected)


def test_scale_is_that_of_the_batch_normalisation_behind(networks):
    network, example = networks["Plain"]
    found = collect_evidence(network, ["conv1", "conv3", "dense1"], ["scale"], example=example)
    assert torch.equal(found["conv1"].scale, network.bn1.weight)
    assert found["conv3"].scale is None and found["dense1"].scale is None
    assert collect_evidence(network, ["conv1"], ["scale"], clips=example)["conv1"].scale is not None


def test_what_is_not_given_is_not_gathered(plain, image):
    assert collect_evidence(plain, ["conv1"], ["maps"]) == {}
    assert collect_evidence(plain, [], ["maps"], clips=image) == {}
    found = collect_evidence(plain, ["conv1"], ["maps", "saliency"], clips=image)["conv1"]
    assert found.maps is not None and found.gradients is None and not found.summaries


@pytest.mark.parametrize(
    ("clips", "targets", "said"),
    [
        (np.zeros((2, 1, 8, 12)), None, "clips is a ndarray; give a tensor"),
        (torch.zeros(0, 1, 8, 12), None, r"clips of shape \(0, 1, 8, 12\) hold nothing"),
        (torch.zeros(3), None, "hold nothing"),
        (torch.zeros(2, 1, 8), None, "does not run on clips of shape"),
        (torch.full((2, 1, 8, 12), float("nan")), None, "clip 0 has values that are not finite"),
        (torch.full((2, 1, 8, 12), 1e38), None, "'conv1' hands on values that are not finite .* for clip 0"),
        (torch.zeros(2, 1, 8, 12), torch.tensor([0]), r"targets of shape \(1,\) do not go with 2 clips"),
        (torch.zeros(2, 1, 8, 12), torch.tensor([0, 4]), "target 4 of clip 1 is not a class: the network has 4"),
        (torch.zeros(2, 1, 8, 12), torch.tensor([-1, 0]), "target -1 of clip 0 is not a class"),
        (torch.zeros(2, 1, 8, 12), torch.tensor([0.0, 1.0]), "targets are float32; give a tensor of whole numbers"),
        (torch.zeros(2, 1, 8, 12), [0, 1], "targets are list"),
    ],
)
def test_clips_and_targets_that_do_not_fit_are_refused(plain, clips, targets, said):
    with torch.no_grad():
        plain.conv1.weight.abs_().add_(10)
        plain.bn1.weight.fill_(10)
    needed = ["saliency"] if targets is not None else ["nonzero_share"]
    with pytest.raises(CoppiceError, match=said):
        collect_evidence(plain, ["conv1"], needed, clips=clips, targets=targets)


def test_clips_of_the_wrong_length_are_refused_by_a_classifier(classifier):
    with pytest.raises(CoppiceError, match=r"clips of shape \(2, 40, 7\) do not fit: this classifier takes log-mel"):
        collect_evidence(classifier, ["0"], ["nonzero_share"], clips=torch.zeros(2, 40, 7))


def test_layers_and_outputs_that_cannot_be_looked_at_are_named(networks):
    network, example = networks["Plain"]
    network.spare = nn.Conv2d(1, 2, 1)
    with pytest.raises(CoppiceError, match="does not run layer 'spare'"):
        collect_evidence(network, ["spare"], ["nonzero_share"], clips=example)
    headless = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    with pytest.raises(
        CoppiceError, match=r"output is of shape \(1, 3, 6, 10\); gradients of the log-loss need logits"
    ):
        collect_evidence(headless, ["0"], ["saliency"], clips=example, targets=torch.tensor([0]))

    class Detached(nn.Sequential):
        def forward(self, x):
            with torch.no_grad():
                x = self[0](x)
            return self[1](x.mean((2, 3)))

    with pytest.raises(CoppiceError, match="no gradient reaches layer '0'"):
        collect_evidence(
            Detached(nn.Conv2d(1, 3, 3), nn.Linear(3, 2)), ["0"], ["saliency"], clips=example, targets=torch.tensor([0])
        )


def test_a_layer_without_part_in_the_output_has_no_saliency(image):
    class Aside(nn.Sequential):
        def forward(self, x):
            self[0](x).mean()
            return self[1](x.mean((2, 3)))

    network = Aside(nn.Conv2d(1, 3, 3), nn.Linear(1, 2))
    found = collect_evidence(network, ["0"], ["saliency"], clips=image, targets=torch.tensor([0]))
    assert found["0"].summaries["saliency"].tolist() == [0.0] * 3


def test_maps_that_would_fill_the_memory_are_refused_but_not_their_summaries(plain, monkeypatch):
    clips, layers = torch.zeros(8, 1, 8, 12), ["conv1", "conv2"]
    monkeypatch.setattr(collecting, "MOST_BYTES", 3 * 11 * 8 * 12 * 4)
    with pytest.raises(CoppiceError, match=r"the maps of 8 clips take 33.8 kB, .*; give no more than 3 of them"):
        collect_evidence(plain, layers, ["maps"], clips=clips)
    assert collect_evidence(plain, layers, ["maps"], clips=clips[:3])["conv2"].maps.shape == (3, 5, 8, 12)
    assert collect_evidence(plain, layers, SUMMARIES[:3], clips=clips)["conv2"].summaries
    monkeypatch.setattr(collecting, "MOST_BYTES", 100)
    with pytest.raises(CoppiceError, match="rank one layer at a time"):
        collect_evidence(plain, layers, ["maps"], clips=clips)


def test_slow_work_shows_its_progress(plain, monkeypatch):
    shown = []

    class Bar:
        def __init__(self, what, total):
            shown.append((what, total))

        def __enter__(self):
            return lambda steps, note: shown.append(steps)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(collecting, "progress_bar", Bar)
    monkeypatch.setattr(collecting, "BATCH_NUMBERS", 3 * 6 * 8 * 12)
    clips = torch.randn(7, 1, 8, 12)
    rankings(plain, "mean_activation", clips=clips)
    assert shown == []
    monkeypatch.setattr(collecting, "PATIENCE_S", 0.0)
    rankings(plain, "mean_activation", clips=clips)
    assert shown == [("activations", 7), 3, 3, 1]


@pytest.mark.parametrize("name", ACTIVE)
def test_every_active_criterion_plans_and_prunes_every_network(any_network, name):
    network, example = any_network
    clips, targets = torch.randn(3, *example.shape[1:]), torch.tensor([0, 1, 2])
    try:
        made = plan(network, name, ratios=0.4, example=example, clips=clips, targets=targets)
    except CoppiceError as refused:
        assert name == "apoz" and "there is no ReLU behind it" in str(refused)
        return
    assert all(layer.keep for layer in made.layers)
    prune(network, made, example=example)


def test_an_active_plan_without_clips_is_refused_in_one_sentence(plain, image):
    with pytest.raises(
        CoppiceError,
        match=r"^layer 'conv1': criterion 'apoz' needs clips to look at: give clips \(on the command line, --data\)\.$",
    ):
        plan(plain, "apoz", ratios=0.5, example=image)

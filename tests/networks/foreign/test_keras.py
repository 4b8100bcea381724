import json

import h5py
import numpy as np
import pytest
import torch

from coppice.networks.foreign.keras import read_keras

PUBLISHED = {
    "surrey2021/nets/C1.h5": 42_056,
    "surrey2021/nets/C2.h5": 34_461,
    "surrey2021/nets/C3.h5": 36_356,
    "surrey2021/nets/C12.h5": 31_496,
    "surrey2021/nets/C23.h5": 27_021,
    "surrey2021/nets/C123.h5": 24_056,
    "iitmandi2021/entry1.float16.h5": 14_914,
    "iitmandi2021/entry2.float16.h5": 27_390,
    "iitmandi2021/entry3.float16.h5": 38_334,
    "iitmandi2021/entry4.float16.h5": 36_818,
}


def keras_total(network):
    return sum(tensor.numel() for name, tensor in network.state_dict().items() if "tracked" not in name)


def posteriors_from_file(path, x, layers):
    """Run a Sequential of the published kinds straight from the file, in float64, channels last."""
    with h5py.File(path) as file:
        for entry in json.loads(file.attrs["model_config"])["config"]["layers"]:
            kind, config = entry["class_name"], entry["config"]
            group = file["model_weights"][config["name"]]
            w = [group[name.decode()][()].astype(np.float64) for name in group.attrs["weight_names"]]
            if kind == "Conv2D":
                x = layers.conv(x, *w, padding=config["padding"])
            elif kind == "BatchNormalization":
                x = layers.batch_norm(x, *w, config["epsilon"])
            elif kind == "MaxPooling2D":
                x = layers.pool(x, config["pool_size"], stride=config["strides"], padding=config["padding"])
            elif kind == "Flatten":
                x = x.ravel()
            elif kind == "Dense":
                x = x @ w[0] + w[1]
            x = layers.activations[config.get("activation", "linear")](x)
    return x


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_has_its_published_parameters_and_the_posteriors_of_its_file(
    name, shared_data, channels_last
):
    path = shared_data / name
    imported = read_keras(path)
    number_format, size = ("float16", 2) if "float16" in name else ("float32", 4)
    assert keras_total(imported.network) == PUBLISHED[name]
    assert imported.stored_bytes == {number_format: size * PUBLISHED[name]}
    assert imported.score == "softmax" and not imported.network.training
    x = np.random.default_rng(0).normal(size=(40, 500, 1)).astype(np.float32)
    expected = posteriors_from_file(path, x.astype(np.float64), channels_last)
    with torch.no_grad():
        logits = imported.network(torch.from_numpy(x).permute(2, 0, 1)[None])
    np.testing.assert_allclose(logits.double().softmax(1)[0].numpy(), expected, rtol=0, atol=1e-5)
    # Logits up to a constant, which the softmax of the file loses.
    centred = (logits - logits.mean()).double().numpy()[0]
    np.testing.assert_allclose(centred, np.log(expected) - np.log(expected).mean(), rtol=1e-5, atol=2e-5)


def test_layers_are_named_by_kind_and_order_and_know_their_names_in_the_file(shared_data):
    imported = read_keras(shared_data / "iitmandi2021/entry3.float16.h5")
    assert list(imported.layer_names)[:7] == ["conv1", "bn1", "act1", "conv2", "bn2", "act2", "pool1"]
    assert imported.layer_names["conv1"] == "conv2d_4"
    assert imported.network.bn1.eps == 1e-3 and imported.network.bn1.momentum == pytest.approx(0.01)
    assert {name.split(".")[0] for name, _ in imported.network.named_parameters()} <= imported.layer_names.keys()


# ---- generated files: kinds that the published ones lack ------------------------------------------------------------


def random_weights(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32) * 0.3


def norm_weights(channels, seed=0):
    values = np.random.default_rng(seed).uniform(0.5, 1.5, size=(4, channels)).astype(np.float32)
    return dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), values, strict=True))


def conv2d(filters, kernel, channels, seed=0, **config):
    weights = {"kernel": random_weights(*kernel, channels, filters, seed=seed), "bias": random_weights(filters)}
    return ("Conv2D", {"filters": filters, "kernel_size": list(kernel), **config}, weights)


def dense(features, units, seed=0, **config):
    weights = {"kernel": random_weights(features, units, seed=seed), "bias": random_weights(units)}
    return ("Dense", {"units": units, **config}, weights)


def start(*shape, key="batch_input_shape"):
    return ("InputLayer", {key: [None, *shape]}, {})


def forward(layers, x, ops):
    """Run (class, config, weights) as Keras documents them; 1-D maps as maps of one row."""
    flat = x.ndim == 1
    one = x.ndim == 2
    x = x[None] if one else x
    for kind, config, weights in layers:
        w = [np.asarray(array, np.float64) for array in weights.values()]

        def pair(value, one=one):
            value = [value] * (1 if one else 2) if isinstance(value, int) else list(value)
            return tuple([1, *value] if one else value)

        sliding = {
            "stride": pair(config.get("strides") or config.get("pool_size", 1)),
            "padding": config.get("padding", "valid"),
        }
        gap = {"dilation": pair(config.get("dilation_rate", 1))}
        if kind in ("Conv1D", "Conv2D"):
            w[0] = w[0][None] if one else w[0]
            if sliding["padding"] == "causal":
                reach = (w[0].shape[1] - 1) * gap["dilation"][1]
                x, sliding["padding"] = np.pad(x, [(0, 0), (reach, 0), (0, 0)]), "valid"
            x = ops.conv(x, *w, **sliding, **gap, groups=config.get("groups", 1))
        elif kind.startswith("DepthwiseConv"):
            x = ops.depthwise(x, w[0][None] if one else w[0], *w[1:], **sliding, **gap)
        elif kind == "BatchNormalization":
            scale = w.pop(0) if config.get("scale", True) else 1.0
            shift = w.pop(0) if config.get("center", True) else 0.0
            x = ops.batch_norm(x, scale, shift, *w, config.get("epsilon", 1e-3))
        elif kind in ("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"):
            x = ops.pool(x, pair(config["pool_size"]), **sliding, maximum=kind.startswith("Max"))
        elif kind.startswith("GlobalMax"):
            x, flat = x.max((0, 1)), True
        elif kind.startswith("GlobalAverage"):
            x, flat = x.mean((0, 1)), True
        elif kind.startswith("ZeroPadding"):
            given = config["padding"]
            given = [[0, 0], given] if one else [[p, p] if isinstance(p, int) else p for p in given]
            x = np.pad(x, [*given, (0, 0)])
        elif kind == "Flatten":
            x, flat = x.ravel(), True
        elif kind == "Reshape":
            x, one = x.reshape(config["target_shape"]), False
        elif kind == "Dense":
            assert flat
            x = x @ w[0] + (w[1] if len(w) > 1 else 0.0)
        elif kind == "ReLU":
            x = np.clip(x, 0, config.get("max_value") or np.inf)
        elif kind == "LeakyReLU":
            x = np.where(x > 0, x, config.get("alpha", 0.3) * x)
        elif kind == "ELU":
            x = np.where(x > 0, x, config["alpha"] * np.expm1(x))
        if config is not layers[-1][1]:  # logits: without the last function
            x = ops.activations[config.get("activation", "linear")](x)
    return x


SAME = {"padding": "same"}
NETWORKS = {
    "strides with same padding": [
        start(9, 12, 2),
        conv2d(4, (3, 4), 2, strides=[2, 3], activation="relu", **SAME),
        conv2d(3, (2, 2), 4, strides=[2, 1], use_bias=True, **SAME),
        ("Flatten", {}, {}),
        dense(3 * 4 * 3, 5, activation="softmax"),
    ],
    "average pooling with same padding": [
        start(7, 10, 1),
        conv2d(4, (3, 3), 1, activation="tanh"),
        ("AveragePooling2D", {"pool_size": [2, 3], "strides": [2, 2], **SAME}, {}),
        ("AveragePooling2D", {"pool_size": [3, 3], "strides": [1, 1], **SAME}, {}),
        ("MaxPooling2D", {"pool_size": [2, 2], "strides": [2, 1], **SAME}, {}),
        ("Flatten", {}, {}),
        dense(2 * 4 * 4, 3, activation="softmax"),
    ],
    "depthwise separable": [
        start(8, 9, 3),
        (
            "DepthwiseConv2D",
            {"kernel_size": [3, 3], "depth_multiplier": 2, "strides": [2, 2], "use_bias": False, **SAME},
            {"depthwise_kernel": random_weights(3, 3, 3, 2)},
        ),
        ("BatchNormalization", {"axis": [3], "epsilon": 0.01, "momentum": 0.9}, norm_weights(6)),
        ("ReLU", {"max_value": 6.0}, {}),
        conv2d(5, (1, 1), 6, activation="swish"),
        ("GlobalAveragePooling2D", {}, {}),
        dense(5, 4, activation="softmax"),
    ],
    "one-dimensional": [
        start(33, 3, key="batch_shape"),
        (
            "Conv1D",
            {"filters": 4, "kernel_size": [4], "strides": [2], "padding": "same", "activation": "relu"},
            {"kernel": random_weights(4, 3, 4), "bias": random_weights(4)},
        ),
        (
            "Conv1D",
            {"filters": 6, "kernel_size": [3], "dilation_rate": [2], "padding": "causal", "groups": 2},
            {"kernel": random_weights(3, 2, 6), "bias": random_weights(6)},
        ),
        ("BatchNormalization", {"axis": -1}, norm_weights(6)),
        ("LeakyReLU", {"alpha": 0.1}, {}),
        ("ZeroPadding1D", {"padding": [1, 2]}, {}),
        ("SpatialDropout1D", {"rate": 0.2}, {}),
        ("MaxPooling1D", {"pool_size": [3], "strides": [3], "padding": "same"}, {}),
        ("AveragePooling1D", {"pool_size": 2, "strides": None, "padding": "valid"}, {}),
        ("Flatten", {}, {}),
        ("BatchNormalization", {"axis": 1}, norm_weights(18)),
        dense(18, 7, activation="elu"),
        dense(7, 3, activation="softmax"),
    ],
    "what stands between flatten and dense": [
        start(4, 6, 1),
        ("ZeroPadding2D", {"padding": [[1, 0], [2, 3]]}, {}),
        conv2d(3, (2, 2), 1, dilation_rate=[2, 2]),
        ("ELU", {"alpha": 0.7}, {}),
        ("Flatten", {}, {}),
        ("Dropout", {"rate": 0.4}, {}),
        (
            "BatchNormalization",
            {"scale": False, "axis": [1]},
            {name: value for name, value in norm_weights(3 * 3 * 9).items() if name != "gamma"},
        ),
        ("Activation", {"activation": "sigmoid"}, {}),
        dense(81, 6, activation="softplus"),
        ("Dense", {"units": 2, "use_bias": False, "activation": "sigmoid"}, {"kernel": random_weights(6, 2)}),
    ],
    "global maximum": [
        start(6, 12),
        ("Reshape", {"target_shape": [6, 12, 1]}, {}),
        conv2d(2, (1, 7), 1),
        conv2d(4, (3, 3), 2, activation="selu"),
        ("GlobalMaxPooling2D", {}, {}),
        ("Reshape", {"target_shape": [1, 1, 4]}, {}),
        conv2d(2, (1, 1), 4, activation="gelu"),
        ("Reshape", {"target_shape": [-1]}, {}),
        dense(2, 2, activation="softmax"),
    ],
    "every activation": [
        dense(3, 4, batch_input_shape=[None, 3]),
        *[
            dense(4, 4, seed=position, activation=name)
            for position, name in enumerate(
                ["relu6", "softsign", "mish", "hard_sigmoid", "hard_swish", "leaky_relu", "softplus", "swish"]
            )
        ],
        dense(4, 3, activation="softmax"),
    ],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_keras_network_computes_what_keras_documents(name, tmp_path, write_keras, channels_last):
    layers = NETWORKS[name]
    imported = read_keras(write_keras(tmp_path / "net.h5", layers))
    first = layers[0][1]
    shape = (first.get("batch_input_shape") or first["batch_shape"])[1:]
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=shape)
        expected = forward(layers, x, channels_last)
        with torch.no_grad():
            clip = np.moveaxis(x, -1, 0) if len(imported.network.input_shape) == x.ndim else x[None]
            found = imported.network.double()(torch.from_numpy(clip)[None])[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert imported.score == layers[-1][1]["activation"]


def test_a_functional_chain_written_by_a_newer_library_is_the_same_network(tmp_path, write_keras):
    layers = NETWORKS["depthwise separable"]
    renamed = [
        (kind, config, {"kernel": next(iter(weights.values()))} if "Depthwise" in kind else weights)
        for kind, config, weights in layers
    ]
    old = read_keras(write_keras(tmp_path / "old.h5", layers))
    new = read_keras(
        write_keras(tmp_path / "new.h5", renamed, version="3.4.1", functional=True, suffix="", libver="latest")
    )
    assert old.network.config() == new.network.config()
    for name, tensor in old.network.state_dict().items():
        assert torch.equal(tensor, new.network.state_dict()[name])


def test_the_words_of_keras_1_are_understood(tmp_path, write_keras):
    kernel, bias = random_weights(3, 3, 1, 2), random_weights(2)
    matrix, vector = random_weights(8, 2), random_weights(2)
    old = [
        (
            "Convolution2D",
            {
                "nb_filter": 2, "nb_row": 3, "nb_col": 3, "border_mode": "same", "subsample": [2, 2],
                "dim_ordering": "tf", "bias": True, "batch_input_shape": [None, 4, 4, 1],
            },
            {"conv_1_W": kernel, "conv_1_b": bias},
        ),
        ("Dropout", {"p": 0.25}, {}),
        ("Flatten", {}, {}),
        ("Dense", {"output_dim": 2, "activation": "softmax"}, {"dense_1_W": matrix, "dense_1_b": vector}),
    ]  # fmt: skip
    new = [
        start(4, 4, 1),
        ("Conv2D", {"filters": 2, "kernel_size": [3, 3], "strides": [2, 2], **SAME}, {"kernel": kernel, "bias": bias}),
        ("Dropout", {"rate": 0.25}, {}),
        ("Flatten", {}, {}),
        ("Dense", {"units": 2, "activation": "softmax"}, {"kernel": matrix, "bias": vector}),
    ]
    networks = [
        read_keras(write_keras(tmp_path / "net.h5", layers, version=version)).network
        for layers, version in ((old, "1.2.2"), (new, "2.4.0"))
    ]
    x = torch.randn(2, 1, 4, 4)
    assert torch.equal(networks[0](x), networks[1](x))

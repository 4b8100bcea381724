"""What becomes of labels in operators with weights: convolution, linear, weight and batch normalisation, LSTM."""

import torch
from jaxtyping import Int64
from torch import Tensor

from coppice.pruning.tracing.labels import varying_axes, vector_along
from coppice.pruning.tracing.rules import mixed
from coppice.pruning.tracing.tracer import Call, Labels, Tracer, Weight, rule


def channel_labels(trace: Tracer, labels: Labels, axis: int) -> Int64[Tensor, " channels"]:
    """Return one label per channel; filters that share a channel are pinned and read as 0."""
    vector = vector_along(labels, axis)
    if vector is None:
        trace.coupling.pin(labels, f"are mixed on the way into {trace.place}")
        return torch.zeros(labels.shape[axis], dtype=torch.int64)
    return vector


@rule("convolution", "_convolution", "convolution_overrideable", "cudnn_convolution", "mkldnn_convolution")
def convolution(trace: Tracer, call: Call) -> Labels | None:
    """Follow a convolution: plain, transposed, grouped, depthwise with or without multiplier."""
    labels = trace.labels(call.args[0])
    weight = trace.weight(call["weight"])
    filters = trace.filters(weight, call.out.shape[1]) if weight is not None else None
    if weight is None or filters is None:
        trace.coupling.pin(labels, f"are read in {trace.place} by weights that are computed, not stored")
        return None
    channels, groups = labels.shape[1], call["groups"]
    transposed = call.has("transposed") and call["transposed"]
    inside, outside = (0, 1) if transposed else (1, 0)
    inputs = channel_labels(trace, labels, 1)
    if groups == 1:
        trace.read(weight, inside, inputs)
        trace.make(weight, outside, filters)
    elif groups == channels:  # depthwise: a channel leaves with its filters
        trace.coupling.unite(filters, inputs.repeat_interleave(len(filters) // channels))
        trace.make(weight, 0, inputs if transposed else filters)
    else:  # the same channels and filters of every group leave
        per_group = couple_groups(trace, inputs, groups), couple_groups(trace, filters, groups)
        trace.read(weight, inside, inputs if transposed else per_group[0])
        trace.make(weight, outside, per_group[1] if transposed else filters)
    trace.bind(call["bias"], filters)
    return filters.view(1, -1, *[1] * (call.out.ndim - 2)).expand(call.out.shape)


def couple_groups(trace: Tracer, labels: Int64[Tensor, " channels"], groups: int) -> Int64[Tensor, " channels_of_one"]:
    """Couple the channels that have the same place in each of several equal groups; return those of the first."""
    rows = labels.view(groups, -1)
    trace.coupling.unite(rows[:1].expand_as(rows[1:]), rows[1:])
    return rows[0]


@rule("mm", "addmm", "bmm")
def linear(trace: Tracer, call: Call) -> Labels | None:
    """Follow a matrix product with a stored weight; pin what goes into other products."""
    with_bias = call.has("mat1")
    source, matrix = call["mat1"] if with_bias else call["self"], call["mat2"]
    weight = trace.weight(matrix)
    if weight is None:
        return mixed(trace, call)
    labels, axis = trace.labels(source), source.ndim - 1
    filters = trace.filters(weight, call.out.shape[axis]) if weight.transposed else None
    varying = varying_axes(labels)
    if varying and axis not in varying:  # works along time or bands: the channels stay where they are
        if filters is not None:
            trace.coupling.pin(filters, f"work along another axis than channels in {trace.place}")
        return labels.narrow(axis, 0, 1).expand(call.out.shape)
    trace.read(weight, 1 if weight.transposed else 0, channel_labels(trace, labels, axis))
    if filters is None:
        return None
    trace.make(weight, 0, filters)
    if with_bias:
        trace.bind(call["self"], filters)
    return filters.expand(call.out.shape)


@rule("_weight_norm_interface")
def weight_normalised(trace: Tracer, call: Call) -> None:
    """Follow a weight that is stored as direction and magnitude."""
    direction, magnitude = call["v"], call["g"]
    if trace.is_stored(direction) and trace.is_stored(magnitude):
        axis = call["dim"] % direction.ndim
        trace.follow_weight(call.out[0], Weight(direction, magnitude=magnitude, axis=axis))


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_no_update",
    "batch_norm",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "mkldnn_batch_norm",
)
def batch_normalised(trace: Tracer, call: Call) -> Labels:
    """Follow batch (and through it instance) normalisation: parameters vanish with their channel."""
    labels = trace.labels(call.args[0])
    own_statistics = not call.has("running_mean") or call["running_mean"] is None
    if varying_axes(labels) and 1 not in varying_axes(labels) and not own_statistics:
        return labels  # normalises bands, not channels
    channels = channel_labels(trace, labels, 1)
    tensors = [call[name] for name in ("weight", "bias", "running_mean", "running_var") if call.has(name)]
    for tensor in tensors:
        trace.bind(tensor, channels)
    if all(tensor is None for tensor in tensors):
        trace.pass_through(channels)
    return labels


@rule("mkldnn_rnn_layer")
def recurrent(trace: Tracer, call: Call) -> None:
    """Read channels on the input of an LSTM; its own units stay."""
    weight = trace.weight(call["weight0"])
    channels = channel_labels(trace, trace.labels(call["input"]), 2)
    if weight is None:
        trace.coupling.pin(channels, f"are read in {trace.place} by weights that are computed, not stored")
    else:
        trace.read(weight, 1, channels)

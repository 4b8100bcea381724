"""What becomes of labels in operators with weights: convolution, linear, batch normalisation, LSTM."""

import torch
from jaxtyping import Int64
from torch import Tensor

from coppice.pruning.labels import varying_axes, vector_along
from coppice.pruning.rules import mixed
from coppice.pruning.tracer import Call, Labels, Tracer, rule


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
    found = trace.weight(call["weight"])
    filters = trace.filters(found[0], call.out.shape[1]) if found is not None else None
    if found is None or filters is None:
        trace.coupling.pin(labels, f"are read in {trace.place} by weights that are computed, not stored")
        return None
    parameter, channels, groups = found[0], labels.shape[1], call["groups"]
    transposed = call.has("transposed") and call["transposed"]
    inputs = channel_labels(trace, labels, 1)
    if groups == 1:
        trace.read(parameter, 0 if transposed else 1, inputs)
    elif groups == channels and not transposed:
        trace.coupling.unite(filters, inputs.repeat_interleave(len(filters) // channels))
    elif transposed:
        reason = f"take part in a grouped transposed convolution in {trace.place}"
        trace.coupling.pin(inputs, reason)
        trace.coupling.pin(filters, reason)
    else:
        first, others = inputs.view(groups, -1)[:1], inputs.view(groups, -1)[1:]
        trace.coupling.unite(first.expand_as(others), others)
        rows = filters.view(groups, -1)
        trace.coupling.unite(rows[:1].expand_as(rows[1:]), rows[1:])
        trace.read(parameter, 1, trace.coupling.resolve(first[0]))
    trace.bind(call["bias"], filters)
    return filters.view(1, -1, *[1] * (call.out.ndim - 2)).expand(call.out.shape)


@rule("mm", "addmm", "bmm")
def linear(trace: Tracer, call: Call) -> Labels | None:
    """Follow a matrix product with a stored weight; pin what goes into other products."""
    with_bias = call.has("mat1")
    source, matrix = call["mat1"] if with_bias else call["self"], call["mat2"]
    found = trace.weight(matrix)
    if found is None:
        return mixed(trace, call)
    parameter, transposed = found
    labels, axis = trace.labels(source), source.ndim - 1
    filters = trace.filters(parameter, call.out.shape[axis]) if transposed else None
    varying = varying_axes(labels)
    if varying and axis not in varying:  # works along time or bands: the channels stay where they are
        if filters is not None:
            trace.coupling.pin(filters, f"work along another axis than channels in {trace.place}")
        return labels.narrow(axis, 0, 1).expand(call.out.shape)
    trace.read(parameter, 1 if transposed else 0, channel_labels(trace, labels, axis))
    if filters is None:
        return None
    if with_bias:
        trace.bind(call["self"], filters)
    return filters.expand(call.out.shape)


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
    for name in ("weight", "bias", "running_mean", "running_var"):
        trace.bind(call[name] if call.has(name) else None, channels)
    return labels


@rule("mkldnn_rnn_layer")
def recurrent(trace: Tracer, call: Call) -> None:
    """Read channels on the input of an LSTM; its own units stay."""
    found = trace.weight(call["weight0"])
    channels = channel_labels(trace, trace.labels(call["input"]), 2)
    if found is None:
        trace.coupling.pin(channels, f"are read in {trace.place} by weights that are computed, not stored")
    else:
        trace.read(found[0], 1, channels)

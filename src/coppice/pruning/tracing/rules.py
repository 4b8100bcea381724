"""What becomes of labels in operators without weights: elementwise, shape, pooling, reductions."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from coppice.pruning.tracing.labels import varying_axes
from coppice.pruning.tracing.tracer import Call, Labels, Tracer, rule

_UNARY = """
    relu relu_ relu6 tanh tanh_ sigmoid sigmoid_ hardtanh hardtanh_ hardsigmoid hardsigmoid_
    hardswish hardswish_ gelu gelu_ silu silu_ mish mish_ leaky_relu leaky_relu_ elu elu_ selu selu_
    celu celu_ rrelu_with_noise softplus log_sigmoid_forward softshrink hardshrink threshold threshold_
    abs abs_ neg neg_ exp exp_ log log_ log1p log1p_ log2 log10 sqrt sqrt_ rsqrt rsqrt_ square
    reciprocal reciprocal_ sin cos erf sign round floor ceil expm1 logit clamp_min clamp_min_
    clamp_max clamp_max_ nan_to_num isnan isinf logical_not
    dropout dropout_ native_dropout alpha_dropout feature_dropout bernoulli
    clone contiguous _to_copy to detach detach_ alias lift_fresh positive
    zeros_like ones_like full_like empty_like rand_like randn_like fill_ zero_ uniform_ normal_
"""

_TOGETHER = """
    add add_ sub sub_ rsub mul mul_ div div_ pow pow_ maximum minimum fmax fmin clamp clamp_ where lerp
    addcmul addcdiv atan2 masked_fill masked_fill_ _prelu_kernel xlogy eq ne lt le gt ge
    logical_and logical_or logical_xor
"""

_EXECUTED = """
    permute transpose transpose_ t t_ numpy_T unsqueeze unsqueeze_ squeeze squeeze_ expand slice select
    unbind split_with_sizes unsafe_split_with_sizes narrow index_select flip roll
    repeat unfold diagonal movedim pixel_shuffle pixel_unshuffle
"""

_SPATIAL = """
    max_pool#d max_pool#d_with_indices avg_pool#d adaptive_avg_pool#d _adaptive_avg_pool#d
    adaptive_max_pool#d reflection_pad#d replication_pad#d
    upsample_nearest#d _upsample_nearest_exact#d upsample_linear#d upsample_bilinear#d upsample_bicubic#d
    upsample_trilinear#d
"""

_REDUCTIONS = """
    mean sum amax amin max min var std var_mean std_mean logsumexp norm linalg_vector_norm prod any all
    median argmax argmin count_nonzero nansum nanmean
"""

_MIXING = """
    baddbmm mv dot outer einsum sort topk kthvalue _cdist_forward scaled_dot_product_attention
    _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention
    _scaled_dot_product_efficient_attention _scaled_dot_product_attention_math
"""


@rule(*_UNARY.split())
def same(trace: Tracer, call: Call) -> Labels:
    """Keep labels: elementwise functions, copies, tensors made in the likeness of another."""
    return trace.labels(call.args[0])


@rule(*_TOGETHER.split())
def together(trace: Tracer, call: Call) -> Labels | None:
    """Couple the labels that meet in an elementwise function of several tensors."""
    values = [*call.args, *call.kwargs.values()]
    labels = [trace.labels(value) for value in values if isinstance(value, Tensor)]
    met = labels[0]
    for other in labels[1:]:
        met = meet(trace, met, other)
    return met


def meet(trace: Tracer, left: Labels, right: Labels) -> Labels:
    """Couple the labels of two tensors that are broadcast against each other; return those of the result.

    A tensor that is spread over the other's channels (size 1 where the other's labels change) acts on all of
    them: its own filters are pinned, the result vanishes with the other's.
    """
    shape = torch.broadcast_tensors(left, right)[0].shape  # torch.broadcast_shapes loads a computer algebra system
    wide = [trace.coupling.resolve(labels.expand(shape)) for labels in (left, right)]
    varying = [varying_axes(labels) for labels in wide]
    spread = []
    for mine, other_axes in ((left, varying[1]), (right, varying[0])):
        sizes = (1,) * (len(shape) - mine.ndim) + tuple(mine.shape)
        spread.append(any(sizes[axis] == 1 for axis in other_axes))
    for labels, is_spread in zip((left, right), spread, strict=True):
        if is_spread:
            trace.coupling.pin(labels, f"act on all channels of another layer in {trace.place}")
    if spread[0] or spread[1]:
        return wide[1] if spread[0] else wide[0]
    small = list(wide)
    for axis in set(range(len(shape))) - {*varying[0], *varying[1]}:
        small = [labels.narrow(axis, 0, min(1, shape[axis])) for labels in small]
    trace.coupling.unite(small[0], small[1])
    return torch.where(small[0] > 0, small[0], small[1]).expand(shape)


@rule(*_EXECUTED.split())
def executed(trace: Tracer, call: Call) -> Labels | tuple[Labels, ...] | None:
    """Execute on the labels an operator that only moves values."""
    source = call.args[0]
    if _weight_view(trace, call):
        return None
    labels = trace.labels(source)  # looked at anew: an operator may work in place, on shape and strides
    moved = call.operator(labels.expand(labels.shape), *call.args[1:], **call.kwargs)
    return moved if isinstance(moved, Tensor) else tuple(moved)


@rule("split", "unsafe_split", "chunk")
def divided(trace: Tracer, call: Call) -> tuple[Labels, ...]:
    """Couple the channels that have the same place in each part: parts stay equal only when all lose alike."""
    labels = trace.labels(call.args[0])
    axis = call["dim"] % labels.ndim
    if axis in varying_axes(labels):
        small = labels
        for other in set(range(labels.ndim)) - set(varying_axes(labels)):
            small = small.narrow(other, 0, min(1, labels.shape[other]))
        first, *others = call.operator(small, *call.args[1:], **call.kwargs)
        for part in others:
            trace.coupling.unite(first.narrow(axis, 0, part.shape[axis]), part)
    return tuple(call.operator(trace.labels(call.args[0]), *call.args[1:], **call.kwargs))


@rule("index")
def picked(trace: Tracer, call: Call) -> Labels:
    """Pick on the labels alike where other axes than channels are picked from."""
    labels, picks = trace.labels(call.args[0]), call["indices"]
    if any(pick is not None and axis in varying_axes(labels) for axis, pick in enumerate(picks)):
        trace.refuse_filters(call.operator.overloadpacket, [call.args[0]])
    trace.refuse_filters(call.operator.overloadpacket, [pick for pick in picks if pick is not None])
    return call.operator(labels, *call.args[1:], **call.kwargs)


@rule("copy_")
def written(trace: Tracer, call: Call) -> Labels:
    """Follow what is written into a part of a new tensor, such as circular padding: whole channels."""
    target, source = call.args[0], call.args[1]
    labels = trace.labels(source).expand(target.shape)
    whole = target if target._base is None else target._base
    if whole.ndim != target.ndim or any(whole.shape[axis] != target.shape[axis] for axis in varying_axes(labels)):
        trace.refuse_filters(call.operator.overloadpacket, [source])
    for axis in set(range(labels.ndim)) - set(varying_axes(labels)):
        labels = labels.narrow(axis, 0, min(1, labels.shape[axis]))
    trace.write(whole, labels.expand(whole.shape))
    return labels.expand(target.shape)


@rule("view", "_unsafe_view", "reshape", "flatten", "unflatten", "_reshape_alias", "view_as")
def reshaped(trace: Tracer, call: Call) -> Labels | None:
    """Reshape the labels alike."""
    if _weight_view(trace, call):
        return None
    source = trace.labels(call.args[0])
    labels = source.reshape(call.out.shape)
    for axis in varying_axes(source):
        groups = labels.shape[axis] if axis < labels.ndim else 0
        split = [*source.shape[:axis], groups, source.shape[axis] // max(1, groups), *source.shape[axis + 1 :]]
        if list(labels.shape) == split and {axis, axis + 1} <= set(varying_axes(labels)):
            couple_along(trace, labels, axis)  # channels stand in groups, as in a shuffle: all groups lose alike
    return labels


@rule("channel_shuffle", "native_channel_shuffle")
def shuffled(trace: Tracer, call: Call) -> Labels:
    """Couple the channels of the same place in each group, and shuffle the labels alike."""
    labels, groups = trace.labels(call.args[0]), call["groups"]
    couple_along(trace, labels.unflatten(1, (groups, -1)), 1)
    return labels.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def couple_along(trace: Tracer, labels: Labels, axis: int) -> None:
    """Couple labels that stand behind each other along an axis."""
    for other in set(range(labels.ndim)) - set(varying_axes(labels)):
        labels = labels.narrow(other, 0, min(1, labels.shape[other]))
    first, others = labels.narrow(axis, 0, 1), labels.narrow(axis, 1, labels.shape[axis] - 1)
    trace.coupling.unite(first.expand_as(others), others)


@rule("cat", "concat", "stack")
def joined(trace: Tracer, call: Call) -> Labels:
    """Concatenate or stack the labels alike."""
    parts = [trace.labels(part) for part in call.args[0]]
    axes = [axis for axis in range(parts[0].ndim) if axis != call["dim"] % call.out.ndim or _name(call) == "stack"]
    same = [axis for axis in axes if all(part.ndim == parts[0].ndim and part.stride(axis) == 0 for part in parts)]
    for axis in same:  # labels are mostly expanded vectors: join those
        parts = [part.narrow(axis, 0, min(1, part.shape[axis])) for part in parts]
    return call.operator(parts, *call.args[1:], **call.kwargs).expand(call.out.shape)


@rule("glu")
def gated(trace: Tracer, call: Call) -> Labels:
    """Couple the halves of a gated linear unit."""
    first, second = trace.labels(call.args[0]).chunk(2, dim=call["dim"])
    return meet(trace, first, second)


def local(trace: Tracer, call: Call, *, spatial: int) -> Labels:
    """Keep labels that do not change along the last ``spatial`` axes, over which the operator works."""
    labels = trace.labels(call.args[0])
    out = call.out if isinstance(call.out, Tensor) else call.out[0]
    inner = range(labels.ndim - spatial, labels.ndim)
    if set(inner) & set(varying_axes(labels)):
        trace.coupling.pin(labels, f"are mixed by {_name(call)!r} in {trace.place}")
        return torch.zeros((), dtype=torch.int64).expand(out.shape)
    for axis in inner:
        labels = labels.narrow(axis, 0, min(1, labels.shape[axis]))
    return labels.expand(out.shape)


for _axes in (1, 2, 3):

    def _local(trace: Tracer, call: Call, spatial: int = _axes) -> Labels:
        return local(trace, call, spatial=spatial)

    rule(*_SPATIAL.replace("#", str(_axes)).split())(_local)


@rule("constant_pad_nd")
def padded(trace: Tracer, call: Call) -> Labels:
    """Pad with constants; new channels belong to no filter."""
    pad = list(call["pad"])
    labels = trace.labels(call.args[0])
    if set(range(labels.ndim - len(pad) // 2, labels.ndim)) & set(varying_axes(labels)):
        return torch.constant_pad_nd(labels, pad, 0)
    return local(trace, call, spatial=len(pad) // 2)


@rule(*_REDUCTIONS.split())
def reduced(trace: Tracer, call: Call) -> Labels | None:
    """Keep labels when other axes are reduced; pin them when channels are."""
    tensors = [value for value in call.args if isinstance(value, Tensor)]
    if len(tensors) == 2:  # torch.max(a, b)
        return together(trace, call)
    labels = trace.labels(call.args[0])
    given = call["dim"] if call.has("dim") else None
    axes = [given] if isinstance(given, int) else list(given or range(labels.ndim))
    axes = sorted({axis % max(1, labels.ndim) for axis in axes}, reverse=True)
    if set(axes) & set(varying_axes(labels)):
        trace.coupling.pin(labels, f"are mixed by {_name(call)!r} in {trace.place}")
        return None
    out = call.out if isinstance(call.out, Tensor) else call.out[0]
    for axis in axes:
        labels = labels.narrow(axis, 0, 1) if out.ndim == labels.ndim else labels.select(axis, 0)
    return labels


@rule("_softmax", "softmax", "_log_softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp")
def normalised(trace: Tracer, call: Call) -> Labels:
    """Pin labels along the axis of a softmax or running sum: each value depends on the others."""
    return along(trace, call, [call["dim"]])


@rule("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm")
def layer_normalised(trace: Tracer, call: Call) -> Labels:
    """Pin labels that change along the last axes."""
    return along(trace, call, range(-len(call["normalized_shape"]), 0))


@rule("native_group_norm", "group_norm")
def group_normalised(trace: Tracer, call: Call) -> Labels:
    """Pin channels that are normalised in groups."""
    return along(trace, call, [1])


@rule(*_MIXING.split())
def mixed(trace: Tracer, call: Call) -> None:
    """Pin all filters that go into products of activations, sorting and the like."""
    for value in call.args:
        if isinstance(value, Tensor):
            trace.coupling.pin(trace.labels(value), f"are mixed by {_name(call)!r} in {trace.place}")


def along(trace: Tracer, call: Call, axes: Sequence[int]) -> Labels:
    """Pin labels that change along axes over which an operator normalises; the output keeps them."""
    labels = trace.labels(call.args[0])
    if {axis % max(1, labels.ndim) for axis in axes} & set(varying_axes(labels)):
        trace.coupling.pin(labels, f"are normalised together by {_name(call)!r} in {trace.place}")
    return labels


@rule("new_empty", "new_zeros", "new_ones", "new_full")
def unrelated(trace: Tracer, call: Call) -> None:
    """Pass over new tensors whose values come from elsewhere."""


def _weight_view(trace: Tracer, call: Call) -> bool:
    """Follow a stored matrix through transposition and repetition by batch; say whether it is one."""
    source, out = call.args[0], call.out
    found = trace.weight(source)
    if found is None or not isinstance(out, Tensor):
        return False
    if source.ndim == 2 and call.operator.overloadpacket in (torch.ops.aten.t, torch.ops.aten.transpose):
        trace.follow_weight(out, replace(found, transposed=not found.transposed))
        return True
    if not trace.is_stored(source) and out.shape[-2:] == source.shape[-2:]:
        trace.follow_weight(out, found)
        return True
    return False


def _name(call: Call) -> str:
    return str(call.operator.overloadpacket).removeprefix("aten.").strip("_").removesuffix("_")

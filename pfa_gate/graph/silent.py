"""Which values are zero wherever a filter is silent.

A layer without its weights and bias gives zeros. An activation with f(0) = 0, a move, a pooling and a product keep
them; a sigmoid, a shift and a softmax do not. A sum over channels is exact without a silent filter where that filter
is zero there. A value that is called silent here and is not fails the proof.
"""

from collections.abc import Callable
from typing import Any

from torch.fx import Node

from pfa_gate.graph.editing import memory
from pfa_gate.graph.labels import LabelFlow
from pfa_gate.graph.partition import UNTRACKED, varying
from pfa_gate.graph.program import argument, is_tensor, node_of, operator_name, shape_of

Silent = Callable[[LabelFlow, Node], bool]


def note_silent(flow: LabelFlow, node: Node) -> None:
    """Note the value of a node, whose labels are settled, if it is zero wherever a filter is silent."""
    known = _SILENT.get(operator_name(node))
    if known is not None and not _untracked(flow, node) and known(flow, node):
        flow.silent.add(node)


def note_written(flow: LabelFlow, node: Node) -> None:
    """Note that an operator writes something into memory that other values share, which may not be silent."""
    if operator_name(node).endswith("_") and not _written(flow, node):
        first = memory(node_of(node.args[0]))
        flow.silent -= {each for each in flow.silent if memory(each) is first}


def is_silent(flow: LabelFlow, source: object) -> bool:
    """Whether a value, or a trained tensor, is zero wherever a filter is silent; a number is where it is 0."""
    if not isinstance(source, Node):
        return isinstance(source, int | float) and source == 0
    alias = flow.tensor(source)
    if alias is not None:
        return alias.name in flow.program.parameters or alias.name in flow.program.folded
    return source in flow.silent


def _spans(flow: LabelFlow, node: Node, source: object) -> bool:
    """Whether an operand is as wide as the result along the axis of the filters, and not spread over it."""
    if not isinstance(source, Node):
        return True
    labels, shape = flow.values.get(node), shape_of(node)
    if labels is None or isinstance(labels, list):
        return False
    own = (1,) * (len(shape) - len(shape_of(source))) + shape_of(source)
    axes = varying(labels)
    return all(own[axis] == shape[axis] for axis in axes) if axes else own == shape


def _first(flow: LabelFlow, node: Node) -> bool:
    return is_silent(flow, node.args[0])


def _every(flow: LabelFlow, node: Node) -> bool:
    """A sum: zero where all that is added is."""
    return all(is_silent(flow, source) and _spans(flow, node, source) for source in node.args[:2])


def _any(flow: LabelFlow, node: Node) -> bool:
    """A product: zero where one factor is."""
    sources = [source for source in node.args[:2] if isinstance(source, Node)]
    return any(is_silent(flow, source) and _spans(flow, node, source) for source in sources)


def _divided(flow: LabelFlow, node: Node) -> bool:
    return is_silent(flow, node.args[0]) and _spans(flow, node, node.args[0])


def _moved(flow: LabelFlow, node: Node) -> bool:
    """Moved data: what stands beside a silent filter and is never cut may be anything."""
    sources = [source for source in node.all_input_nodes if is_tensor(source)]
    return all(is_silent(flow, source) or _untracked(flow, source) for source in sources)


def _untracked(flow: LabelFlow, source: Node) -> bool:
    labels = flow.values.get(source)
    parts = labels if isinstance(labels, list) else [flow.loose(source)]
    return not any(bool((part != UNTRACKED).any()) for part in parts)


def _activations(flow: LabelFlow, node: Node) -> bool:
    return any(is_silent(flow, source) for source in node.all_input_nodes)


def _always(_flow: LabelFlow, _node: Node) -> bool:
    return True


def _attended(flow: LabelFlow, node: Node) -> bool:
    return is_silent(flow, node.args[2])


def _scaled(position: int) -> Silent:
    """A normalisation: its weight and bias are zero where the filter is silent."""
    return lambda flow, node: is_silent(flow, node.args[position] if len(node.args) > position else None)


def _written(flow: LabelFlow, node: Node) -> bool:
    """What is written into a value is silent too; an index is not written."""
    if operator_name(node) == "zero_":
        return True
    place = 2 if operator_name(node).startswith("index_put") else 1 if len(node.args) == 2 else 3
    return len(node.args) > place and is_silent(flow, node.args[place])


def _kept_and_written(flow: LabelFlow, node: Node) -> bool:
    return is_silent(flow, node.args[0]) and _written(flow, node)


def _power(flow: LabelFlow, node: Node) -> bool:
    exponent: Any = node.args[1]
    return isinstance(exponent, int | float) and exponent > 0 and _first(flow, node)


def _clamped(flow: LabelFlow, node: Node) -> bool:
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if operator_name(node) == "clamp_max":
        low, high = None, argument(node, 1, "max")
    around = all(isinstance(bound, int | float | None) for bound in (low, high))
    return around and (low is None or low <= 0) and (high is None or high >= 0) and _first(flow, node)


def _chosen(flow: LabelFlow, node: Node) -> bool:
    """Either of two values: zero where both are."""
    return all(is_silent(flow, source) and _spans(flow, node, source) for source in node.args[1:3])


def _masked(flow: LabelFlow, node: Node) -> bool:
    return is_silent(flow, node.args[0]) and is_silent(flow, node.args[2])


def _padded(flow: LabelFlow, node: Node) -> bool:
    value = argument(node, 2 if operator_name(node) == "constant_pad_nd" else 3, "value")
    return value in (None, 0) and _first(flow, node)


def _each(names: str, silent: Silent) -> dict[str, Silent]:
    return dict.fromkeys(names.split(), silent)


_SILENT: dict[str, Silent] = {
    **_each("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear addmm embedding", _always),
    **_each("zeros new_zeros zeros_like zero_", _always),
    **_each(
        """
        relu relu_ relu6 relu6_ gelu gelu_ silu silu_ tanh tanh_ hardtanh hardtanh_ hardswish hardswish_
        leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ mish mish_ erf expm1 log1p neg sqrt square abs
        sin sign floor ceil round trunc atan dropout dropout_ feature_dropout alpha_dropout clone contiguous
        to _to_copy alias detach detach_ lift_fresh lift_fresh_copy hardshrink softshrink tanhshrink
        softsign prelu glu type_as float instance_norm getitem expand broadcast_to expand_as mean sum amax
        amin max min index index_select cumsum max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d
        avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
        adaptive_max_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d
        upsample_bicubic2d upsample_linear1d upsample_trilinear3d reflection_pad1d reflection_pad2d
        replication_pad1d replication_pad2d view_as_real view_as_complex real imag angle conj resolve_conj
        fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn
        gather take_along_dim grid_sampler max_unpool2d im2col col2im fft_rfftn fft_irfftn fft_hfft
        fft_ihfft fft_fftshift fft_ifftshift
        """,
        _first,
    ),
    **_each(
        "view reshape _unsafe_view permute transpose t unsqueeze squeeze slice select split split_with_sizes chunk "
        "cat concat stack flatten unflatten roll unbind repeat flip narrow pixel_shuffle pixel_unshuffle "
        "channel_shuffle movedim swapaxes unfold tile repeat_interleave tensor_split",
        _moved,
    ),
    **_each("add add_ sub sub_ subtract rsub maximum minimum complex", _every),
    **_each(
        "copy_ fill_ scatter scatter_ scatter_add scatter_add_ index_add index_add_ index_copy index_copy_ index_fill "
        "index_fill_ index_put index_put_",
        _kept_and_written,
    ),
    **_each("mul mul_ multiply", _any),
    **_each("div div_ divide true_divide polar", _divided),
    **_each("matmul bmm mm einsum", _activations),
    **_each("batch_norm", _scaled(1)),
    **_each("layer_norm rms_norm group_norm", _scaled(2)),
    **_each("clamp clamp_ clamp_min clamp_max", _clamped),
    **_each("pad constant_pad_nd", _padded),
    **_each("masked_fill masked_fill_", _masked),
    "where": _chosen,
    "pow": _power,
    "scaled_dot_product_attention": _attended,
}

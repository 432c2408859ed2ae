"""int8 for ExecuTorch: the quantiser of its XNNPACK backend, with calibration data."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
from torchao.quantization.pt2e import quantize_pt2e


class _Quantiser(XNNPACKQuantizer):  # type: ignore[misc]
    """Without patterns of batch norm that only training in int8 leaves: each is exported anew for each model."""

    SUPPORTED_PATTERNS: ClassVar = [pattern for pattern in XNNPACKQuantizer.SUPPORTED_PATTERNS if not pattern.is_qat]


def quantised(exported: Any, names: tuple[str, ...], calibration: Path) -> Any:
    """The module of an exported program with weights and activations in int8.

    Args:
        exported: the program.
        names: of its inputs.
        calibration: an `.npz` of inputs by name, stacked.
    """
    module = exported.module()
    _as_modules_have_it(module)
    _numbers_are_constants(module)
    quantiser = _Quantiser().set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantiser.set_filter_function(_arrays_of_floats)
    prepared = quantize_pt2e.prepare_pt2e(module, quantiser)
    with np.load(calibration, allow_pickle=False) as sets, torch.no_grad():
        stacked = [torch.from_numpy(sets[name]) for name in names]
        for given in zip(*stacked, strict=True):
            prepared(*given)
    # Nothing was trained in int8: looking for what such training leaves takes longer than the rest (torchao 0.18).
    with mock.patch.object(quantize_pt2e, "_fold_conv_bn_qat", lambda trained: trained):
        return quantize_pt2e.convert_pt2e(prepared)


def _arrays_of_floats(node: Any) -> bool:
    """Whether a call reads and makes these alone: of whole numbers and of single ones it makes programs that fail."""
    values = [one.meta.get("val") for one in (node, *node.all_input_nodes)]
    return all(value.is_floating_point() and value.dim() for value in values if isinstance(value, torch.Tensor))


def _as_modules_have_it(module: Any) -> None:
    """Weights, products with them and global pooling as torch's own modules export them: it knows no others."""
    aten = torch.ops.aten
    names: dict[str, str] = {}
    for node in module.graph.nodes:
        value = _constant(module, node)
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            if node.target not in names:  # of the module itself: batch norm is put into weights of no other
                names[node.target] = f"weight_{len(names)}"
                module.register_parameter(names[node.target], torch.nn.Parameter(value.detach(), requires_grad=False))
            node.target = names[node.target]
    for node in list(module.graph.nodes):
        if node.target is aten.addmm.default and all(node.kwargs.get(name, 1) == 1 for name in ("alpha", "beta")):
            bias, left, right = node.args
            made = _linear(module, node, left, right, bias)
        elif node.target in (aten.mm.default, aten.matmul.default):
            left, right = node.args
            made = _linear(module, node, left, right, None)
        elif node.target is aten.mean.dim and sorted(node.args[1]) == [2, 3] and node.args[2:] == (True,):
            with module.graph.inserting_before(node):
                made = module.graph.call_function(aten.adaptive_avg_pool2d.default, (node.args[0], [1, 1]))
        else:
            continue
        if made is not None:
            made.meta = dict(node.meta)
            node.replace_all_uses_with(made)
            module.graph.erase_node(node)
    module.graph.lint()
    module.recompile()


def _numbers_are_constants(module: Any) -> None:
    """Numbers that are added or multiplied with are constants of one element, of the type of what they are beside.

    The quantiser makes floats without dimensions of them, which are wrong beside whole numbers.
    """
    aten = torch.ops.aten
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if node.target not in (aten.add.Tensor, aten.mul.Tensor) or not isinstance(value, torch.Tensor):
            continue
        for position, given in enumerate(node.args):
            number = given if not isinstance(given, torch.fx.Node) else _without_dimensions(module, given)
            if number is not None:
                name = f"{node.name}_{position}"
                module.register_buffer(name, torch.tensor(number, dtype=value.dtype).reshape([1] * min(value.dim(), 1)))
                with module.graph.inserting_before(node):
                    constant = module.graph.get_attr(name)
                constant.meta["val"] = node.meta["val"].fake_mode.from_tensor(getattr(module, name))
                node.update_arg(position, constant)
    module.recompile()


def _without_dimensions(module: Any, node: Any) -> float | None:
    """The float that a constant without dimensions is."""
    value = _constant(module, node)
    if isinstance(value, torch.Tensor) and value.dim() == 0 and value.is_floating_point():
        return float(value)
    return None


def _linear(module: Any, node: Any, left: Any, right: Any, bias: Any) -> Any:
    """The product as `linear`, or None where the second factor is no weight."""
    weight = _constant(module, right)
    if weight is None or weight.dim() != 2 or (bias is not None and bias.meta["val"].dim() != 1):
        return None
    name = f"{node.name}_weight"
    turned_weight = torch.nn.Parameter(weight.detach().t().contiguous(), requires_grad=False)
    module.register_parameter(name, turned_weight)
    with module.graph.inserting_before(node):
        turned = module.graph.get_attr(name)
        turned.meta = {"val": right.meta["val"].t()} if "val" in right.meta else {}
        return module.graph.call_function(
            torch.ops.aten.linear.default, (left, turned) if bias is None else (left, turned, bias)
        )


def _constant(module: Any, node: Any) -> Any:
    """What a node stands for, or None where that is computed."""
    return operator.attrgetter(node.target)(module) if node.op == "get_attr" else None

"""What ONNX itself says of operators: since when they are as they are, and what their attributes usually are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Attributes that change nothing of the outputs of inference, or nothing where the call did not ask for them.
_WITHOUT_EFFECT = frozenset(
    {
        "activation_alpha", "activation_beta", "antialias", "axes", "consumed_inputs", "cubic_coeff_a",
        "exclude_outside", "extrapolation_value", "hidden_size", "is_test", "kernel_shape", "momentum", "nearest_mode",
        "num_outputs", "pads", "ratio", "roi", "round_mode", "saturate", "seed", "sorted", "stash_type",
        "storage_order",
    }
)  # fmt: skip


def changed_since(operator: str, opset: int, oldest: int) -> bool:
    """Whether an operator of an old set was defined otherwise than in the oldest set that is read."""
    import onnx

    try:
        return bool(
            onnx.defs.get_schema(operator, opset).since_version != onnx.defs.get_schema(operator, oldest).since_version
        )
    except onnx.defs.SchemaError:
        return True


def without_effect(operator: str, opset: int, attributes: Mapping[str, Any], unseen: Iterable[str]) -> list[str]:
    """Those of the attributes that the call does not know, and that should change what it computes.

    Args:
        operator: of ONNX's own set.
        opset: version of the set.
        attributes: of the node.
        unseen: names of those that the call was not built from.
    """
    import onnx

    suspects = [name for name in unseen if name not in _WITHOUT_EFFECT]
    if not suspects:
        return []
    known = onnx.defs.get_schema(operator, opset).attributes
    return [name for name in suspects if name not in known or attributes[name] != _default(known[name])]


def _default(attribute: Any) -> Any:
    """The value that an attribute has where a node says nothing; None if there is none."""
    import onnx

    message = attribute.default_value
    if message.type == onnx.AttributeProto.UNDEFINED:
        return None
    value = onnx.helper.get_attribute_value(message)
    return value.decode() if isinstance(value, bytes) else value

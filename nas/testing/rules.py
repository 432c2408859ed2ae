"""What the kits share: how a broken rule is said, inputs of networks, and which outputs are equal."""

from __future__ import annotations

from typing import Any

from nas.spaces.export import in_double
from profiler.assembly import Assembly

#: Largest difference of outputs that should be equal, relative to the largest of them (or 1).
_TOLERANCE = 1e-5
#: And in multiples of what single precision loses: two ways of computing the same lose as much each.
_ROUNDINGS = 4.0


def require(condition: object, rule: str, broken: str) -> None:
    """Raise AssertionError that names the rule, and how it was broken, unless the condition holds."""
    if not condition:
        raise AssertionError(f"{rule}: {broken}")


def inputs_of(assembly: Assembly, seed: int = 0) -> Any:
    """Random inputs that a network takes; whole numbers are 0..7."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    if assembly.input_dtype == "int64":
        return torch.randint(0, 8, assembly.input_shape, generator=generator)
    return torch.randn(assembly.input_shape, generator=generator)


def shapes(module: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of what is in a module's state, by name."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def close(left: Any, right: Any, lost: float = 0.0) -> bool:
    """Whether outputs, of any shape, are equal up to rounding.

    Args:
        left: outputs.
        right: what they should be.
        lost: what single precision loses in them, see `rounding`.
    """
    allowed = _TOLERANCE * max(float(right.detach().abs().max()), 1.0)
    return bool((left - right).abs().max() <= max(allowed, _ROUNDINGS * lost))


def rounding(module: Any, inputs: Any, outputs: Any) -> float:
    """How far the outputs of a module are from those in double precision: a norm may blow rounding up."""
    return float((outputs - in_double(module)(inputs)).abs().max())

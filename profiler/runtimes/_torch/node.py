"""A node as the builders of calls see it.

A node is built once, against the tensors that it will see in every run: shapes are fixed, so target shapes, paddings
and whatever else follows from them are worked out here and not while the model is timed. The callables keep none of
those tensors. A builder raises `NotImplementedError` where torch has no function for what the node asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

from torch import Tensor

Call = Callable[..., Any]


@dataclass(frozen=True)
class Node:
    """A node and the tensors that it reads.

    Attributes:
        op_type: its operator, of ONNX's own set.
        attributes: by name; tensors are torch's, graphs are `graph.Graph`, text is `str`.
        inputs: in order; None where an optional input is left out.
        constant: for each input, whether it is the same whatever the model is given.
        outputs: number of its outputs.
        wanted: number of its outputs up to the last one that is read, at least 1. If there are several, the callable
            returns at least so many; else the first alone.
        opset: version of the operator set.
    """

    op_type: str
    attributes: Mapping[str, Any]
    inputs: tuple[Tensor | None, ...]
    constant: tuple[bool, ...]
    outputs: int
    wanted: int
    opset: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first input."""
        return tuple(self.tensor(0).shape)

    @property
    def rank(self) -> int:
        """Number of axes of the first input."""
        return self.tensor(0).dim()

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.attributes.get(name, default)

    def axis(self, default: int) -> int:
        """The attribute `axis`, counted from the front."""
        axis = int(self.get("axis", default))
        if not -self.rank <= axis < max(self.rank, 1):
            raise ValueError(f"axis {axis} of data with {self.rank} axes")
        return axis % max(self.rank, 1)

    def has(self, position: int) -> bool:
        """Whether an input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def tensor(self, position: int) -> Tensor:
        """An input that the operator cannot do without."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise ValueError(f"input {position} is left out")
        return tensor

    def integers(self, position: int, name: str = "") -> list[int]:
        """The integers of an attribute, or of the input that replaced it; empty if there is neither."""
        if name in self.attributes:
            return list(self.attributes[name])
        return [int(value) for value in self.tensor(position).flatten().tolist()] if self.has(position) else []

    def scalar(self, position: int, name: str = "", default: Any = None) -> Any:
        """The number of an attribute, or of the input that replaced it, or `default`."""
        if name in self.attributes:
            return self.attributes[name]
        return self.tensor(position).item() if self.has(position) else default

    def refuse(self, **usual: Any) -> None:
        """Refuse attributes that have another value than the one that torch knows."""
        for name, value in usual.items():
            got = self.get(name, value)
            if got != value:
                raise NotImplementedError(f"{name} {got!r}")


class Attributes(Mapping[str, Any]):
    """A node's attributes, which know what was asked for: what nobody looked at has no effect on the call.

    Args:
        values: by name.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self._seen.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def unseen(self) -> list[str]:
        """Names that were not asked for."""
        return sorted(self._values.keys() - self._seen)


Builder = Callable[[Node], Call]


def first(data: Tensor, *_: Any) -> Tensor:
    """The first input as it is."""
    return data


def same(function: Call) -> Builder:
    """An operator without attributes."""
    return lambda _: function


def folded(function: Call) -> Builder:
    """An operator on any number of inputs, from a function of two."""
    return lambda node: function if len(node.inputs) == 2 else lambda *tensors: reduce(function, tensors)


def numbers(function: Call, **defaults: Any) -> Builder:
    """A function whose keyword arguments are attributes; each default is a pair of the attribute's name and value."""

    def build(node: Node) -> Call:
        given = {keyword: node.get(name, value) for keyword, (name, value) in defaults.items()}
        return partial(function, **given)

    return build

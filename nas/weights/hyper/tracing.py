"""What is computed inside of a block: its operators, what each reads, and the parameters that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import fx, nn

#: Operators that nodes of a graph are. `other` are modules with parameters that are none of these.
OPERATORS = (
    *("input", "other", "convolution", "depthwise", "grouped", "dilated", "linear", "table"),
    *("batch norm", "norm", "max pool", "average pool", "mean", "sum", "concatenation", "product"),
    *("rectifier", "curve", "gate", "softmax", "attention"),
)
#: Roles of parameters: what is multiplied with inputs, what is looked up, what scales and what shifts each channel.
WEIGHT, TABLE, SCALE, SHIFT = ROLES = ("weight", "table", "scale", "shift")
#: Classes of modules and names of functions that are an operator; what is not here, nor has parameters, is a wire.
_BY_NAME = {
    **dict.fromkeys(("MaxPool1d", "MaxPool2d", "max_pool2d", "boolean_dispatch"), "max pool"),
    **dict.fromkeys(("AvgPool1d", "AvgPool2d", "avg_pool2d"), "average pool"),
    **dict.fromkeys(("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "adaptive_avg_pool2d", "mean"), "mean"),
    **dict.fromkeys(("add", "iadd", "add_", "__add__"), "sum"),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), "concatenation"),
    **dict.fromkeys(("mul", "imul", "mul_"), "product"),
    **dict.fromkeys(("ReLU", "ReLU6", "LeakyReLU", "PReLU", "relu", "relu6", "leaky_relu"), "rectifier"),
    **dict.fromkeys(("GELU", "SiLU", "Hardswish", "ELU", "Mish", "gelu", "silu", "hardswish", "elu"), "rectifier"),
    **dict.fromkeys(("Tanh", "tanh", "Softplus", "softplus", "Hardtanh", "hardtanh"), "curve"),
    **dict.fromkeys(("Sigmoid", "Hardsigmoid", "sigmoid", "hardsigmoid"), "gate"),
    **dict.fromkeys(("Softmax", "softmax"), "softmax"),
    **dict.fromkeys(("matmul", "bmm", "einsum", "scaled_dot_product_attention", "MultiheadAttention"), "attention"),
}
#: These join values; of one value alone they are wires.
_JOINS = ("sum", "concatenation", "product", "attention")
#: Functions of shapes: what they give is no value of the network.
_SHAPES = frozenset(("size", "getattr", "dim", "floordiv", "eq", "ne", "lt", "gt", "len"))


@dataclass(frozen=True)
class Parameter:
    """A parameter of a node.

    Attributes:
        name: in the block.
        shape: of it.
        role: one of `ROLES`.
    """

    name: str
    shape: tuple[int, ...]
    role: str


@dataclass(frozen=True)
class Node:
    """An operator.

    Attributes:
        operator: one of `OPERATORS`.
        reads: nodes of the block, from 0, that come before; the input `i` of the block is `-1 - i`.
        parameters: that it has.
    """

    operator: str
    reads: tuple[int, ...]
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class Traced:
    """A block.

    Attributes:
        nodes: each reads those before it alone.
        gives: nodes and inputs, numbered as in `Node.reads`, that its output is.
    """

    nodes: tuple[Node, ...]
    gives: tuple[int, ...]


class _Called(nn.Module):
    """A block that is called with so many inputs, whatever its forward is declared to take."""

    def __init__(self, block: nn.Module, inputs: int) -> None:
        super().__init__()
        self.block = block
        self.inputs = inputs

    def forward(self, values: Any) -> Any:
        return self.block(*[values[i] for i in range(self.inputs)])


def trace(block: nn.Module, inputs: int) -> Traced:
    """The operators of a block with so many inputs.

    A block that torch.fx cannot follow, because what it runs hangs on values, is taken as its modules in a row.
    """
    reading = _Reading(block, inputs)
    try:
        graph = fx.Tracer().trace(_Called(block, inputs))
    except Exception:  # whatever a module of others' does with a proxy
        reading.in_a_row()
    else:
        for node in graph.nodes:
            reading.read(node)
    reading.rest()
    return Traced(tuple(reading.nodes), reading.gives)


@dataclass
class _Reading:
    """A block that is being read; `values` holds which nodes and inputs each value of the trace is made of."""

    block: nn.Module
    inputs: int
    nodes: list[Node] = field(default_factory=list)
    gives: tuple[int, ...] = ()
    values: dict[fx.Node, tuple[int, ...]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def read(self, node: fx.Node) -> None:
        """Take in the next node of a trace."""
        reads = [self.values[one] for one in node.all_input_nodes]
        sources = tuple(sorted({source for one in reads for source in one}))
        if node.op == "placeholder":
            self.values[node] = tuple(-1 - i for i in range(self.inputs))
        elif node.op == "output":
            self.gives = sources
        elif node.op == "get_attr":
            self.values[node] = self._attribute(str(node.target))
        elif node.op == "call_module":
            path = str(node.target).removeprefix("block").removeprefix(".")
            self.values[node] = self._module(path, self.block.get_submodule(path), sources)
        else:
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
            self.values[node] = self._function(name, node, sources, sum(bool(one) for one in reads))

    def in_a_row(self) -> None:
        """Take all modules that have no others inside as one chain."""
        last = tuple(-1 - i for i in range(self.inputs))
        for path, module in self.block.named_modules():
            if not list(module.children()):
                last = self._module(path, module, last)
        self.gives = last

    def rest(self) -> None:
        """Parameters that no value was made of have nodes of their own."""
        for name, parameter in self.block.named_parameters():
            if name not in self.seen:
                self._add("other", (), [Parameter(name, tuple(parameter.shape), _role("other", name, parameter))])

    def _attribute(self, target: str) -> tuple[int, ...]:
        name = target.removeprefix("block.")
        parameter = dict(self.block.named_parameters()).get(name)
        if parameter is None:
            return ()
        return self._add("table", (), [Parameter(name, tuple(parameter.shape), TABLE)])

    def _module(self, path: str, module: nn.Module, sources: tuple[int, ...]) -> tuple[int, ...]:
        own = {f"{path}.{name}".lstrip("."): one for name, one in module.named_parameters()}
        operator = _operator(module, bool(own))
        if operator is None:
            return sources
        return self._add(
            operator, sources, [Parameter(n, tuple(p.shape), _role(operator, n, p)) for n, p in own.items()]
        )

    def _function(self, name: str, node: fx.Node, sources: tuple[int, ...], joined: int) -> tuple[int, ...]:
        if name in _SHAPES:
            return ()
        if name == "getitem" and node.all_input_nodes[0].op == "placeholder":
            return (-1 - int(node.args[1]),)  # type: ignore[arg-type]
        operator = _BY_NAME.get(name)
        if operator is None or not sources or (operator in _JOINS and joined < 2):
            return sources
        return self._add(operator, sources)

    def _add(self, operator: str, reads: tuple[int, ...], parameters: Sequence[Parameter] = ()) -> tuple[int, ...]:
        """A node; parameters that another one has already are that one's."""
        new = tuple(one for one in parameters if one.name not in self.seen)
        self.seen.update(one.name for one in new)
        self.nodes.append(Node(operator, reads, new))
        return (len(self.nodes) - 1,)


def _operator(module: nn.Module, learns: bool) -> str | None:
    """What a module is; None for a wire."""
    if isinstance(module, nn.modules.conv._ConvNd):
        if module.groups > 1:
            return "depthwise" if module.groups == module.in_channels else "grouped"
        return "dilated" if max(module.dilation) > 1 else "convolution"
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.Embedding):
        return "table"
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "batch norm"
    if "Norm" in type(module).__name__:
        return "norm"
    return _BY_NAME.get(type(module).__name__, "other" if learns else None)


def _role(operator: str, name: str, parameter: nn.Parameter) -> str:
    if parameter.dim() > 1:
        return TABLE if operator == "table" else WEIGHT
    return SHIFT if name.rpartition(".")[2].endswith("bias") else SCALE

"""A module is cut with `torch.fx` at its direct children and its choices; what cannot be traced is one block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from nas.sources import describe, digest
from nas.spaces._module import structure
from nas.spaces._module.plan import ModulePlan, Pick, Piece, Row

if TYPE_CHECKING:
    from torch import fx, nn

#: What tells nodes of one function apart.
_NUMBER = re.compile(r"\d+$")
_FUNCTIONS = ("call_function", "call_method")


class NotCut(Exception):
    """A module cannot be cut; the text says why."""


@dataclass
class Cutter:
    """Cuts one network.

    Attributes:
        root: of the factory, in eval mode.
        names: of the genes of its choices and repeats, by the choice.
        notes: what could not be cut, and why.
    """

    root: nn.Module
    names: dict[int, str]
    notes: list[str] = field(default_factory=list)

    def cut(self, given: Any) -> ModulePlan:
        """The whole network, for an input with content."""
        import torch

        tied = _tied(self.root)
        if tied:
            return self._whole("", self.root, 1, f"{tied[0]} and {tied[1]} are one weight")
        with torch.no_grad():
            return self._plan("", self.root, (given,))

    def _plan(self, path: str, module: nn.Module, given: Sequence[Any]) -> ModulePlan:
        """A module with its path; what holds no choice is one block, but the root is cut all the same."""
        inputs = names_of_inputs(len(given))
        if _is_wire(module):
            return ModulePlan(inputs, (), inputs[0])
        marked = self._marked(module)
        if path and not marked:
            return ModulePlan(inputs, (Piece("", structure.key(module), inputs, path),), "")
        if id(module) in self.names:
            return ModulePlan(inputs, (self._mark("", path, module, inputs, given),), "")
        try:
            return self._traced(path, module, given)
        except NotCut as why:
            return self._whole(path, module, len(given), str(why))

    def _marked(self, module: nn.Module) -> list[str]:
        """Genes inside of a module, its own among them."""
        found = [self.names[id(part)] for part in module.modules() if id(part) in self.names]
        return list(dict.fromkeys(found))

    def _whole(self, path: str, module: nn.Module, count: int, why: str) -> ModulePlan:
        self.notes.append(f"{path or 'the network'} is one block: {why}")
        inputs = names_of_inputs(count)
        name, chosen = "" if path else "network", tuple(self._marked(module))
        return ModulePlan(inputs, (Piece(name, structure.key(module), inputs, path, chosen=chosen),), name)

    def _mark(self, name: str, path: str, module: Any, inputs: tuple[str, ...], given: Sequence[Any]) -> Pick | Row:
        from nas.nn.choices import Choice

        gene = self.names[id(module)]
        if isinstance(module, Choice):
            at = f"{path}.options".strip(".")
            options = {option: self._plan(f"{at}.{option}", one, given) for option, one in module.options.items()}
            return Pick(name, gene, inputs, options)
        at, rows, value = f"{path}.blocks".strip("."), [], given[0]
        for place, block in enumerate(module.blocks):
            rows.append(self._plan(f"{at}.{place}", block, (value,)))
            value = block(value)
        return Row(name, gene, inputs, tuple(rows))

    def _traced(self, path: str, module: nn.Module, given: Sequence[Any]) -> ModulePlan:
        from torch import fx

        graph = _trace(self, module)
        module.eval()
        values = _values(fx, module, graph, given)
        return _Steps(self, path, module, graph, values, given).plan()

    def descends(self, module: nn.Module) -> bool:
        """Whether the tracer goes into a module: it holds choices, is none, and can be traced itself."""
        if id(module) in self.names or not self._marked(module):
            return False
        try:
            _trace(self, module)
        except NotCut:
            return False
        return True


@dataclass
class _Steps:
    """The nodes of a graph as steps of a plan."""

    cutter: Cutter
    path: str
    module: nn.Module
    graph: fx.Graph
    values: dict[Any, Any]
    given: Sequence[Any]
    steps: list[Piece | Pick | Row] = field(default_factory=list)
    at: dict[Any, str] = field(default_factory=dict)
    named: Counter[str] = field(default_factory=Counter)
    owners: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> ModulePlan:
        inputs: list[str] = []
        for node in self.graph.nodes:
            if node.op == "placeholder":
                self.at[node] = names_of_inputs(len(inputs) + 1)[-1]
                inputs.append(self.at[node])
            elif node.op == "output":
                return self._ended(node, inputs)
            elif self._is_value(node):
                self._step(node)
        raise NotCut("it gives nothing")

    def _ended(self, node: Any, inputs: list[str]) -> ModulePlan:
        given = node.args[0]
        if given not in self.at:
            raise NotCut("it does not give one tensor of float32")
        if len(inputs) != len(self.given):
            raise NotCut(f"it takes {len(inputs)} inputs, and is given {len(self.given)}")
        return ModulePlan(tuple(inputs), tuple(self.steps), self.at[given])

    def _is_value(self, node: Any) -> bool:
        """Whether it gives what can pass from block to block."""
        import torch

        value = self.values.get(node)
        users = list(node.users)
        if node.op in _FUNCTIONS and len(users) == 1 and users[0].op in _FUNCTIONS:
            return False  # functions in a row are one block
        return node.op != "get_attr" and isinstance(value, torch.Tensor) and value.dtype == torch.float32

    def _step(self, node: Any) -> None:
        plain = node.op == "call_module" and not node.kwargs and all(arg in self.at for arg in node.args)
        if not plain:
            self._piece(node)
            return
        module, target = self.module.get_submodule(node.target), str(node.target)
        read = tuple(self.at[arg] for arg in node.args)
        marked = self.cutter._marked(module)
        if _is_wire(module):
            self.at[node] = read[0]
            return
        self._own(target, module, node)
        path = f"{self.path}.{target}".strip(".")
        name = self._name(_clean(target))
        given = [self.values[arg] for arg in node.args]
        step: Piece | Pick | Row
        if id(module) in self.cutter.names:
            step = self.cutter._mark(name, path, module, read, given)
        else:
            if marked:
                self.cutter.notes.append(f"{path} is one block: it cannot be traced")
            step = Piece(name, structure.key(module), read, path, chosen=tuple(marked))
        self.steps.append(step)
        self.at[node] = name

    def _piece(self, node: Any) -> None:
        """A node with what it reads that is no value itself, as a graph of its own."""
        from torch import fx

        needed: list[Any] = []
        inputs: list[Any] = []
        self._collect(node, needed, inputs)
        graph, copies = fx.Graph(), dict[Any, Any]()
        for number, one in enumerate(inputs):
            copies[one] = graph.placeholder(f"x{number}")
        order = {one: f"<{number}>" for number, one in enumerate([*inputs, *needed])}
        said, constants = [], dict[str, Any]()
        for one in needed:
            read = describe(fx.node.map_arg((one.args, one.kwargs), order.__getitem__))
            said.append(f"{one.op} {self._target(one, node, constants)} {read}")
            copies[one] = graph.node_copy(one, lambda argument: copies[argument])
            if one.op in ("call_module", "get_attr"):
                copies[one].target = f"{self.path}.{one.target}".strip(".")
        graph.output(copies[node])
        head = _NUMBER.sub("", node.name).rstrip("_") or "step"
        name = self._name("_".join(filter(None, [_clean(_owner(node)), head])))
        key = f"module {head} {digest(*said)}"
        self.steps.append(Piece(name, key, tuple(self.at[one] for one in inputs), self.path, graph, constants))
        self.at[node] = name

    def _collect(self, node: Any, needed: list[Any], inputs: list[Any]) -> None:
        for one in node.all_input_nodes:
            if one in self.at:
                if one not in inputs:
                    inputs.append(one)
            elif one not in needed:
                self._collect(one, needed, inputs)
        needed.append(node)

    def _target(self, node: Any, block: Any, constants: dict[str, Any]) -> str:
        """What a node of a block runs, as text; what it owns is remembered, so that no other block has it too."""
        if node.op == "call_module":
            module = self.module.get_submodule(node.target)
            if self.cutter._marked(module):
                raise NotCut(f"{node.target} is given more than tensors")
            self._own(str(node.target), module, block)
            return structure.text(module)
        if node.op == "get_attr":
            return self._attribute(str(node.target), block, constants)
        return describe(node.target)

    def _attribute(self, target: str, block: Any, constants: dict[str, Any]) -> str:
        from torch import nn

        owner, _, name = target.rpartition(".")
        value = getattr(self.module.get_submodule(owner), name)
        if name.startswith("_tensor_constant"):
            constants[f"{self.path}.{target}".strip(".")] = value
            return describe(value)
        if isinstance(value, nn.Parameter):
            self._own(target, value, block)
        lost = name in self.module.get_submodule(owner)._non_persistent_buffers_set
        return describe(value) if lost else f"{value.dtype} {tuple(value.shape)}"

    def _own(self, target: str, thing: Any, block: Any) -> None:
        """Refuse what two blocks would have a copy of."""
        from torch import nn

        weights = [thing] if isinstance(thing, nn.Parameter) else [*thing.parameters(), *thing.buffers()]
        if weights and self.owners.setdefault(target, block) is not block:
            raise NotCut(f"{target} is used twice")

    def _name(self, wanted: str) -> str:
        self.named[wanted] += 1
        return wanted if self.named[wanted] == 1 else f"{wanted}_{self.named[wanted]}"


def names_of_inputs(count: int) -> tuple[str, ...]:
    """Of a plan; no step has such a name."""
    return tuple(f"<{number}>" for number in range(count))


def _is_wire(module: nn.Module) -> bool:
    """Whether it hands its input on, so that no block is needed."""
    from torch import nn

    return isinstance(module, nn.Identity) or (type(module) is nn.Sequential and len(module) == 0)


def _clean(path: str) -> str:
    return path.replace(".", "_")


def _owner(node: Any) -> str:
    """The path of the innermost module whose forward a node is in; "" for the outermost."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(entry[0]) if isinstance(entry, tuple) else str(key) for key, entry in stack.items()]
    return paths[-1] if paths and node.op != "call_module" else ""


@cache
def _tracer() -> Any:
    from torch import fx

    class Tracer(fx.Tracer):
        """Goes into what holds choices, and into nothing else."""

        def __init__(self, cutter: Cutter) -> None:
            super().__init__()
            self.cutter = cutter

        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return not self.cutter.descends(m)

    return Tracer


def _trace(cutter: Cutter, module: nn.Module) -> fx.Graph:
    """The graph of a module, the same in training and in evaluation.

    Raises:
        NotCut: it cannot be traced, or is another one.
    """
    texts: list[str] = []
    for training in (True, False):
        module.train(training)
        try:
            graph = _tracer()(cutter).trace(module)
        except Exception as error:  # fx raises many types, and code of the user any
            raise NotCut(
                f"torch.fx cannot trace it: {str(error).splitlines()[0] if str(error) else error!r}"
            ) from error
        finally:
            module.eval()
        graph.owning_module = module  # asked for, to tell what may be dropped
        graph.eliminate_dead_code()
        texts.append(re.sub(r"_tensor_constant\d+", "", str(graph)))  # each trace has its own
    if texts[0] != texts[1]:
        raise NotCut("its forward asks whether it is training; use a module such as nn.Dropout")
    found: fx.Graph = graph
    return found


def _values(fx: Any, module: nn.Module, graph: fx.Graph, given: Sequence[Any]) -> dict[Any, Any]:
    """What each node gives for inputs with content."""
    found: dict[Any, Any] = {}

    class Watch(fx.Interpreter):  # type: ignore[misc]
        def run_node(self, n: Any) -> Any:
            found[n] = super().run_node(n)
            return found[n]

    Watch(module, graph=graph, garbage_collect_values=False).run(*given)
    return found


def _tied(module: nn.Module) -> tuple[str, str] | None:
    """Two names of one weight, in different children."""
    seen: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(parameter), name)
        if first != name and not _one_module(module, first, name):
            return first, name
    return None


def _one_module(module: nn.Module, first: str, second: str) -> bool:
    """Whether the weights are of one module object, which has two names itself."""
    owners = [name.rpartition(".")[0] for name in (first, second)]
    return module.get_submodule(owners[0]) is module.get_submodule(owners[1])

"""Exported programs (`torch.export`'s `.pt2` archives) as what travels to torch: tensors and calls, no code.

Each call is marked with the number of the operator that it came from; the operators lie in the archive beside it, as a
small JSON file that the device's half reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from device_profiles.errors import HwnasError, InvalidModel
from profiler.operators import Node, Operator, OperatorGraph, Tensor, operator_to_plain

#: The JSON file inside of an archive, and the mark of a call.
BESIDE, MARK = "hwnas.json", "hwnas"
#: Versions of what lies beside. 1: first (2026-11).
SCHEMA = "hwnas.exported/1"
#: Precisions that the whole program can be brought to, by torch's names.
LOWER = {"bf16": "bfloat16", "fp16": "float16"}


def of_onnx(
    model: Path,
    made: Path,
    precision: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    what_runs: Callable[[OperatorGraph], OperatorGraph] | None = None,
) -> Path:
    """Write what torch runs of an ONNX file.

    Args:
        model: the file.
        made: where the archive goes.
        precision: fp32 leaves values as they are; another brings all floating values to it.
        inputs: arrays by name for dimensions that the file leaves open.
        what_runs: makes the operator graph that lies beside the program of that of the file, if it is another one.

    Raises:
        InvalidModel: the file cannot be read, or torch cannot export it.
        UnsupportedOperator: torch lacks an operator.
    """
    from torch.fx.traceback import annotate

    from profiler.compilers._onnx_module import module_of

    module, example = module_of(model, inputs, lambda number: annotate({MARK: number}))
    program = export(module, example, model.name, precision)
    key = hashlib.sha256(model.read_bytes() + _shapes(example).encode()).hexdigest()
    graph = _graph(model, module)
    more = {} if what_runs is None else {"graph": what_runs(graph).to_json()}
    return write(program, made, key, module.input_names, _operators(graph, module.nodes), **more)


def export(module: Any, example: Sequence[Any], name: str, precision: str = "fp32") -> Any:
    """The exported program of a module.

    Args:
        module: in the mode in which it is to run.
        example: its inputs.
        name: of the model, for messages.
        precision: fp32 leaves values as they are; another brings all floating values to it.

    Raises:
        InvalidModel: torch cannot export it, with its words.
    """
    import torch
    from torch.fx.traceback import preserve_node_meta

    try:
        with torch.no_grad(), preserve_node_meta():
            program = torch.export.export(module, tuple(example))
            return program if precision not in LOWER else _lowered(program, example, LOWER[precision])
    except HwnasError:
        raise
    except Exception as error:  # torch.export raises whatever tracing does
        words = " ".join(str(error).split())[:300]
        raise InvalidModel(
            f"torch cannot export {name}: {type(error).__name__}: {words}",
            hint="torch.export takes modules whose course does not depend on values; the message names the place.",
        ) from error


def write(
    program: Any,
    made: Path,
    key: str,
    inputs: Sequence[str],
    operators: Sequence[tuple[str, Operator, Sequence[str]]],
    **more: str,
) -> Path:
    """Write a program.

    Args:
        program: of `export`.
        made: the archive.
        key: equal for equal programs.
        inputs: names, in order.
        operators: by the numbers that calls are marked with: name, operator, and names of the values it reads.
        more: further fields of what lies beside.
    """
    import torch

    nodes = [[name, operator_to_plain(operator), list(reads)] for name, operator, reads in operators]
    beside = {"schema": SCHEMA, "key": key, "inputs": list(inputs), "nodes": nodes, **more}
    torch.export.save(program, made, extra_files={BESIDE: json.dumps(beside)})
    return made


def of_module(module: Any, example: Sequence[Any], made: Path, factory: str = "") -> tuple[OperatorGraph, list[str]]:
    """Write a module as it is.

    Args:
        module: in the mode in which it is to run.
        example: its inputs.
        made: where the archive goes.
        factory: `package.module:function` that makes it, for runtimes that run the module itself.

    Returns:
        Its calls as an operator graph, and names of its inputs.

    Raises:
        InvalidModel: torch cannot export it.
        UsageError: the factory cannot be imported.
    """
    from profiler.compilers import _aten

    program = export(module, example, type(module).__name__)
    for number, node in enumerate(_calls(program)):
        node.meta["custom"] = {MARK: number}
    graph = _aten.graph_of(program)
    names = [name for name, _ in graph.inputs]
    operators = [(node.name, node.operator, node.inputs) for node in graph.nodes]
    key = hashlib.sha256(f"module {graph.digest}".encode()).hexdigest()
    more = {"factory": factory, "path": _aten.folder_of(factory)} if factory else {}
    write(program, made, key, names, operators, **more)
    return graph, names


def lowered(archive: Path, precision: str) -> Path:
    """An exported module with all floating values in another precision, in place; fp32 leaves it as it is."""
    import torch

    if precision not in LOWER:
        return archive
    beside = {BESIDE: ""}
    program = torch.export.load(archive, extra_files=beside)
    data = json.loads(beside[BESIDE]) | {"factory": ""}
    shapes = [node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    example = [torch.zeros(one.shape, dtype=one.dtype) for one in shapes]
    with torch.no_grad():
        program = _lowered(program, example, LOWER[precision])
    data["key"] = hashlib.sha256(f"{data['key']} {precision}".encode()).hexdigest()
    torch.export.save(program, archive, extra_files={BESIDE: json.dumps(data)})
    return archive


def _graph(model: Path, module: Any) -> OperatorGraph:
    """The operators of an ONNX file; shapes that it does not tell are those of the trace."""
    from profiler.onnx_graph import read_graph

    seen = {name: Tensor(shape, dtype) for name, (shape, dtype) in module.seen().items()}
    return read_graph(model, shapes=seen, unknown=[])  # of constants that are computed, nobody needs any


def _operators(graph: OperatorGraph, nodes: Sequence[tuple[str, str]]) -> list[tuple[str, Operator, Sequence[str]]]:
    """The operators of an ONNX file, as far as they run."""
    known: dict[str, Node] = {node.name or node.outputs[0]: node for node in graph.nodes}
    found: list[tuple[str, Operator, Sequence[str]]] = []
    for number, (name, kind) in enumerate(nodes):
        node = known.get(name)
        if node is None and len(graph.nodes) == len(nodes):
            node = graph.nodes[number]
        operator = Operator("", kind, (), (), ()) if node is None else node.operator
        found.append((name, operator, () if node is None else node.inputs))
    return found


def _lowered(program: Any, example: Sequence[Any], dtype: str) -> Any:
    """The program with floating weights, constants, casts and inputs in another type; its calls keep their marks."""
    import torch
    from torch.fx.node import map_aggregate

    wanted = getattr(torch, dtype)
    floating = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

    def cast(value: Any) -> Any:
        return wanted if value in floating else value

    module = program.module()
    known = {*dict(module.named_parameters()), *dict(module.named_buffers())}
    for node in module.graph.nodes:
        if node.op == "call_function":
            node.args = map_aggregate(node.args, lambda one: cast(one) if isinstance(one, torch.dtype) else one)
            node.kwargs = map_aggregate(node.kwargs, lambda one: cast(one) if isinstance(one, torch.dtype) else one)
        elif node.op == "get_attr":  # constants of the program are neither parameters nor buffers
            owner, _, name = node.target.rpartition(".")
            value = getattr(module.get_submodule(owner), name)
            if node.target not in known and value.is_floating_point():
                setattr(module.get_submodule(owner), name, value.to(wanted))
    module.recompile()
    inputs = tuple(one.to(wanted) if one.is_floating_point() else one for one in example)
    lowered = torch.export.export(module.to(wanted), inputs)
    for before, after in zip(_calls(program), _calls(lowered), strict=True):
        after.meta["custom"] = before.meta.get("custom", {})
    return lowered


def _calls(program: Any) -> list[Any]:
    return [node for node in program.graph.nodes if node.op == "call_function"]


def _shapes(example: Sequence[Any]) -> str:
    return " ".join(f"{one.dtype}{list(one.shape)}" for one in example)

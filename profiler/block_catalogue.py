"""Kernels of blocks, from compiled networks that were cut apart: what a few hundred of them tell of 10^22.

`profiler.catalogue` keeps whole networks. Here each network is cut into the blocks that it was stitched from, each with
its kernels and with what crosses to its neighbours, which decides how a runtime fuses and lays out what is inside.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from device_profiles.errors import SchemaMismatch
from device_profiles.profile import Target
from profiler.assembly import Assembly
from profiler.compiling import Compiled, compiled, kept_at
from profiler.cuts import Use, cut
from profiler.operators import Operator, OperatorGraph, operator_from_plain, operator_to_plain

_VERSION = 4
_CHUNK = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CutNetwork:
    """A compiled network.

    Attributes:
        kernels: numbers of `BlockCatalogue.kernels`, of each node.
        uses: its blocks, whose kernels are numbers of nodes; None where the runtime's kernels cannot be told apart.
        reads: of each node the values that it reads, numbered as they come, from the network's input on; -1 is an input
            that is left out, -2 a constant.
        outputs: the values that the network gives.
    """

    kernels: tuple[int, ...]
    uses: tuple[Use, ...] | None
    reads: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class BlockCatalogue:
    """Networks that were cut apart.

    Attributes:
        kernels: distinct kernels.
        networks: in the order that was asked for.
    """

    kernels: tuple[Operator, ...]
    networks: tuple[CutNetwork, ...]


def compile_and_cut(
    assemblies: Sequence[Assembly],
    target: Target,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress = lambda done, total: None,
) -> BlockCatalogue:
    """Compile networks with the target's runtime and cut them into their blocks; kept on disk.

    Args:
        assemblies: the networks, without weights.
        target: whose runtime compiles them.
        cache: folder for results; the toolkit's own if None.
        workers: processes; one for each CPU if None.
        progress: told how many are done, and of how many.
    """
    # Names of blocks count, since uses speak of them.
    named = [f"{assembly.key} {' '.join(block.name for block in assembly.blocks)}" for assembly in assemblies]
    assemblies = [assembly.of_batch(target.batch) for assembly in assemblies]
    path = kept_at("block-catalogues", _VERSION, target, named, ".json.z", cache)
    if path.exists():
        progress(len(assemblies), len(assemblies))
        return _read(path)
    number: dict[Operator, int] = {}
    networks: list[CutNetwork] = []
    for found, cuts in compiled(assemblies, target, _made, span=_CHUNK, cache=cache, workers=workers):
        places = [number.setdefault(kernel, len(number)) for kernel in found]
        networks += [replace(one, kernels=tuple(places[i] for i in one.kernels)) for one in cuts]
        progress(len(networks), len(assemblies))
    catalogue = BlockCatalogue(tuple(number), tuple(networks))
    _write(path, catalogue)
    return catalogue


def _made(graphs: Compiled) -> tuple[list[Operator], list[CutNetwork]]:
    number: dict[Operator, int] = {}
    networks: list[CutNetwork] = []
    for assembly, graph in graphs:
        kernels = tuple(number.setdefault(node.operator, len(number)) for node in graph.nodes)
        networks.append(CutNetwork(kernels, cut(graph, assembly), *_wires(graph)))
    return list(number), networks


def _wires(graph: OperatorGraph) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """What each node reads, and what the graph gives."""
    values = {"": -1} | {name: number for number, (name, _) in enumerate(graph.inputs)}
    reads = []
    count = len(graph.inputs)
    for node in graph.nodes:
        reads.append(tuple(values.get(name, -2) for name in node.inputs))
        values |= {name: count + i for i, name in enumerate(node.outputs) if name}
        count += len(node.outputs)
    return tuple(reads), tuple(values[name] for name in graph.outputs if name in values)


def _write(path: Path, catalogue: BlockCatalogue) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels: dict[tuple[str, ...], int] = {}
    plain = {
        "kernels": [operator_to_plain(kernel) for kernel in catalogue.kernels],
        "networks": [
            [
                network.kernels,
                None if network.uses is None else [_use_to_plain(use, labels) for use in network.uses],
                network.reads,
                network.outputs,
            ]
            for network in catalogue.networks
        ],
    }
    content = zlib.compress(json.dumps({**plain, "labels": list(labels)}).encode(), 6)
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    temporary.write_bytes(content)
    temporary.replace(path)


def _use_to_plain(use: Use, labels: dict[tuple[str, ...], int]) -> list[Any]:
    given, wanted = (labels.setdefault(of, len(labels)) for of in (use.given, use.wanted))
    return [use.block, use.kernels, given, wanted]


def _read(path: Path) -> BlockCatalogue:
    try:
        plain = json.loads(zlib.decompress(path.read_bytes()))
        labels = [tuple(label) for label in plain["labels"]]
        networks = tuple(
            CutNetwork(
                tuple(kernels),
                None
                if uses is None
                else tuple(Use(block, tuple(own), labels[given], labels[wanted]) for block, own, given, wanted in uses),
                tuple(map(tuple, reads)),
                tuple(outputs),
            )
            for kernels, uses, reads, outputs in plain["networks"]
        )
        return BlockCatalogue(tuple(operator_from_plain(kernel) for kernel in plain["kernels"]), networks)
    except (OSError, ValueError, LookupError, TypeError, zlib.error) as error:
        raise SchemaMismatch(f"the cached catalogue {path} is damaged: {error}", hint="Delete that file.") from error

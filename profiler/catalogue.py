"""The fused kernels of many networks of one space: compiled once for each distinct network, kept on disk.

A predictor that answers a million architectures a second needs the kernels of all of them beforehand. They come from
the target's own runtime, network by network; nothing about fusion is guessed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import SchemaMismatch
from device_profiles.profile import Target, as_target
from profiler.assembly import Assembly
from profiler.compiling import Compiled, compiled, kept_at
from profiler.graph_codes import Wires, from_wires, places_of_kernels, to_wires
from profiler.operators import (
    Operator,
    OperatorGraph,
    Tensor,
    operator_from_plain,
    operator_to_plain,
    tensor_from_plain,
    tensor_to_plain,
)

_VERSION = 5
_CHUNK = 64


@dataclass(frozen=True)
class Catalogue:
    """Kernels of networks.

    Attributes:
        kernels: distinct kernels.
        counts: `(n, k)`, how often each network runs each kernel; a network without any is deleted by its runtime.
        wires: of each network, see `profiler.graph_codes`.
        inputs: tensors that each network is given.
        runtime: whose kernels these are.
    """

    kernels: tuple[Operator, ...]
    counts: NDArray[np.int32]
    wires: tuple[Wires, ...]
    inputs: tuple[tuple[Tensor, ...], ...]
    runtime: str

    def graphs(self, rows: Sequence[int]) -> list[OperatorGraph]:
        """The fused graphs of some networks."""
        return [from_wires(self.wires[i], self.kernels, self.inputs[i], self.runtime) for i in rows]


def compile_all(
    assemblies: Sequence[Assembly],
    target: Target | str | Path,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Catalogue:
    """Kernels of every network, in order.

    Args:
        assemblies: the networks, without weights.
        target: whose runtime compiles them.
        cache: folder for results; the toolkit's own if None.
        workers: processes; one for each CPU if None.
        progress: told how many are done, and of how many.
    """
    target = as_target(target)
    assemblies = [assembly.of_batch(target.batch) for assembly in assemblies]
    path = kept_at("catalogues", _VERSION, target, [assembly.key for assembly in assemblies], ".npz", cache)
    if path.exists():
        progress(len(assemblies), len(assemblies))
        return _read(path)
    number: dict[Operator, int] = {}
    wires: list[Wires] = []
    inputs: list[tuple[Tensor, ...]] = []
    used: list[NDArray[np.int32]] = []
    for span in compiled(assemblies, target, _made, span=_CHUNK, cache=cache, workers=workers):
        numbers = np.array([number.setdefault(kernel, len(number)) for kernel in span.kernels], dtype=np.int32)
        for row in span.wires:
            places = places_of_kernels(row)
            row[places] = numbers[row[places]]
            used.append(row[places])
        wires += span.wires
        inputs += span.inputs
        progress(len(wires), len(assemblies))
    counts = np.zeros((len(wires), len(number)), dtype=np.int32)
    for index, kernels in enumerate(used):
        np.add.at(counts[index], kernels, 1)
    catalogue = Catalogue(tuple(number), counts, tuple(wires), tuple(inputs), target.runtime.name)
    _write(path, catalogue)
    return catalogue


@dataclass(frozen=True)
class _Span:
    """Some networks, whose wires count in kernels of their own."""

    kernels: list[Operator]
    wires: list[Wires]
    inputs: list[tuple[Tensor, ...]]


def _made(graphs: Compiled) -> _Span:
    number: dict[Operator, int] = {}
    found = _Span([], [], [])
    for _, graph in graphs:
        found.wires.append(to_wires(graph, number, own_constants=True))
        found.inputs.append(tuple(tensor for _, tensor in graph.inputs))
    found.kernels.extend(number)
    return found


def _write(path: Path, catalogue: Catalogue) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    given = list(dict.fromkeys(catalogue.inputs))
    facts = {
        "kernels": [operator_to_plain(kernel) for kernel in catalogue.kernels],
        "inputs": [[tensor_to_plain(tensor) for tensor in tensors] for tensors in given],
        "runtime": catalogue.runtime,
    }
    temporary = path.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(
        temporary,
        counts=catalogue.counts,
        wires=np.concatenate([np.empty(0, dtype=np.int32), *catalogue.wires]),
        lengths=np.array([len(wires) for wires in catalogue.wires], dtype=np.int64),
        given=np.array([given.index(tensors) for tensors in catalogue.inputs], dtype=np.int64),
        facts=np.array(json.dumps(facts)),
    )
    temporary.replace(path)


def _read(path: Path) -> Catalogue:
    try:
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            kernels = tuple(operator_from_plain(plain) for plain in facts["kernels"])
            given = [tuple(tensor_from_plain(plain) for plain in tensors) for tensors in facts["inputs"]]
            wires = tuple(np.split(file["wires"], np.cumsum(file["lengths"])[:-1]))
            inputs = tuple(given[int(index)] for index in file["given"])
            return Catalogue(kernels, file["counts"], wires if inputs else (), inputs, str(facts["runtime"]))
    except (OSError, EOFError, ValueError, LookupError, TypeError, BadZipFile, zlib.error) as error:
        raise SchemaMismatch(f"the cached catalogue {path} is damaged: {error}", hint="Delete that file.") from error

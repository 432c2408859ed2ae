"""Kernels of blocks, from compiled networks that were cut apart: what a few hundred of them tell of 10^22.

`profiler.catalogue` keeps whole networks. Here each network is cut into the blocks that it was stitched from, each with
its kernels and with what crosses to its neighbours, which decides how a runtime fuses and lays out what is inside.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.cache import cache_folder
from device_profiles.errors import SchemaMismatch
from device_profiles.profile import Target, from_plain, to_plain
from profiler import runtimes
from profiler.assembly import INPUT, Assembly, Block
from profiler.block_traces import Shape, Shapes
from profiler.capture import BlockCache, stitch
from profiler.cuts import Use, cut
from profiler.fusing import runtime_options
from profiler.onnx_graph import read_graph
from profiler.operators import Operator, operator_from_plain, operator_to_plain

_VERSION = 2
_CHUNK = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CutNetwork:
    """A compiled network.

    Attributes:
        kernels: numbers of `BlockCatalogue.kernels`, of each node.
        uses: its blocks, whose kernels are numbers of nodes; None where the runtime's kernels cannot be told apart.
    """

    kernels: tuple[int, ...]
    uses: tuple[Use, ...] | None


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
    path = _path(assemblies, target, cache)
    if path.exists():
        progress(len(assemblies), len(assemblies))
        return _read(path)
    number: dict[str, int] = {}
    kernels: list[Operator] = []
    networks: list[CutNetwork] = []
    spans = [(start, min(start + _CHUNK, len(assemblies))) for start in range(0, len(assemblies), _CHUNK)]
    count = max(1, min(workers or os.cpu_count() or 1, len(spans)))
    for found, cuts in _results(list(assemblies), to_plain(target), cache, spans, count):
        for kernel in found:
            if number.setdefault(kernel.key, len(kernels)) == len(kernels):
                kernels.append(kernel)
        places = [number[kernel.key] for kernel in found]
        networks += [CutNetwork(tuple(places[i] for i in one.kernels), one.uses) for one in cuts]
        progress(len(networks), len(assemblies))
    catalogue = BlockCatalogue(tuple(kernels), tuple(networks))
    _write(path, catalogue)
    return catalogue


def export_blocks(
    assemblies: Sequence[Assembly], target: Target, *, cache: Path | None = None, workers: int | None = None
) -> None:
    """Export all blocks of networks that were not exported yet, side by side.

    Shapes of one block stay together, since one export often serves them all (`profiler.derived_blocks`).
    """
    blocks = BlockCache.default() if cache is None else BlockCache(cache / "blocks")
    shapes = Shapes()
    wanted: dict[str, dict[tuple[Shape, ...], tuple[Block, list[str]]]] = {}
    for assembly in assemblies:
        for block, read in zip(assembly.blocks, shapes.inputs(assembly), strict=True):
            dtypes = [assembly.input_dtype if name == INPUT else "float32" for name in block.inputs]
            if not blocks.holds(block, read, dtypes):
                wanted.setdefault(block.key, {})[read] = (block, dtypes)
    global _GROUPS  # noqa: PLW0603 - what forked workers inherit, as below
    _GROUPS = [[(block, read, dtypes) for read, (block, dtypes) in group.items()] for group in wanted.values()], blocks
    count = max(1, min(workers or os.cpu_count() or 1, len(wanted)))
    try:
        if count == 1 or not hasattr(os, "fork") or blocks.folder is None:
            list(map(_export_group, range(len(wanted))))
            return
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(_export_group, range(len(wanted))))
    finally:
        _GROUPS = None


_GROUPS: tuple[list[list[tuple[Block, tuple[Shape, ...], list[str]]]], BlockCache] | None = None


def _export_group(number: int) -> None:
    assert _GROUPS is not None
    groups, blocks = _GROUPS
    for block, read, dtypes in groups[number]:
        blocks.get(block, read, dtypes)


#: What forked workers inherit: assemblies hold functions, which do not travel between processes.
_WORK: tuple[list[Assembly], dict[str, Any], Path | None] | None = None


def _results(
    assemblies: list[Assembly], plain: dict[str, Any], cache: Path | None, spans: list[tuple[int, int]], workers: int
) -> Iterator[tuple[list[Operator], list[CutNetwork]]]:
    global _WORK  # noqa: PLW0603 - see above
    _WORK = (assemblies, plain, cache)
    try:
        if workers == 1 or not hasattr(os, "fork"):
            yield from map(_compile_span, spans)
            return
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            yield from pool.map(_compile_span, spans)
    finally:
        _WORK = None


def _compile_span(span: tuple[int, int]) -> tuple[list[Operator], list[CutNetwork]]:
    assert _WORK is not None
    assemblies, plain, cache = _WORK
    target = from_plain(plain)
    runtime, options = runtimes.load(target.runtime.name), runtime_options(target)
    blocks = BlockCache.default() if cache is None else BlockCache(cache / "blocks")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a file in memory, in a folder of its own
    number: dict[Operator, int] = {}
    networks: list[CutNetwork] = []
    with tempfile.TemporaryDirectory(dir=memory) as place:
        path = Path(place) / "network.onnx"
        for assembly in assemblies[slice(*span)]:
            model = stitch(assembly, blocks, shared=True)
            path.write_bytes(model.SerializeToString())
            fused = runtime.fuse(path, options)
            graph = read_graph(model if fused is None else fused, runtime=target.runtime.name)
            kernels = tuple(number.setdefault(node.operator, len(number)) for node in graph.nodes)
            networks.append(CutNetwork(kernels, cut(graph, assembly)))
    return list(number), networks


def _path(assemblies: Sequence[Assembly], target: Target, cache: Path | None) -> Path:
    """Where the networks are kept; names of blocks count, since uses speak of them."""
    stamp = [str(_VERSION), runtimes.load(target.runtime.name).version, target.runtime.model_dump_json()]
    names = [f"{assembly.key} {' '.join(block.name for block in assembly.blocks)}" for assembly in assemblies]
    name = hashlib.sha256("\n".join([*stamp, *names]).encode()).hexdigest()[:32]
    return (cache or cache_folder()) / "block-catalogues" / f"{name}.json.z"


def _write(path: Path, catalogue: BlockCatalogue) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels: dict[tuple[str, ...], int] = {}
    plain = {
        "kernels": [operator_to_plain(kernel) for kernel in catalogue.kernels],
        "networks": [
            [network.kernels, None if network.uses is None else [_use_to_plain(use, labels) for use in network.uses]]
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
            )
            for kernels, uses in plain["networks"]
        )
        return BlockCatalogue(tuple(operator_from_plain(kernel) for kernel in plain["kernels"]), networks)
    except (OSError, ValueError, LookupError, TypeError, zlib.error) as error:
        raise SchemaMismatch(f"the cached catalogue {path} is damaged: {error}", hint="Delete that file.") from error

"""Many networks stitched, compiled by the target's runtime and read back, in forked processes; blocks exported before.

Assemblies hold functions, which do not travel between processes: workers are forked and inherit them, and only what is
made of the graphs comes back.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from device_profiles.cache import cache_folder
from device_profiles.errors import DeviceError
from device_profiles.profile import Target
from profiler import compilers, runtimes, transports, trial
from profiler.assembly import INPUT, Assembly, Block
from profiler.block_traces import Shapes
from profiler.capture import BlockCache, stitch_for_compiling
from profiler.fusing import read_fused, runtime_options
from profiler.operators import OperatorGraph
from profiler.pieces import Shape
from profiler.runtimes.protocol import RuntimeOptions
from profiler.transports.remote import RemoteTransport

Compiled = Iterator[tuple[Assembly, OperatorGraph]]
Made = TypeVar("Made")


def compiled(
    assemblies: Sequence[Assembly],
    target: Target,
    make: Callable[[Compiled], Made],
    *,
    span: int,
    cache: Path | None = None,
    workers: int | None = None,
) -> Iterator[Made]:
    """What is made of the graphs of networks, for each span of them, in order.

    Args:
        assemblies: the networks, without weights.
        target: whose runtime compiles them.
        make: is given the networks of a span with their fused graphs; what it returns must be picklable.
        span: networks in one.
        cache: folder for exports; the toolkit's own if None.
        workers: processes; one for each CPU if None.
    """
    blocks = _block_cache(cache)
    export_blocks(assemblies, cache=cache, workers=workers)
    spans = [assemblies[start : start + span] for start in range(0, len(assemblies), span)]
    if transports.elsewhere(target) is None and not getattr(runtimes.load(target.runtime.name), "forks", True):
        workers = 1
    yield from forked(lambda number: make(_graphs(spans[number], target, blocks)), len(spans), workers)


def kept_at(
    kind: str, version: int, target: Target, networks: Sequence[str], suffix: str, cache: Path | None = None
) -> Path:
    """The file in which what was made of networks is kept.

    Args:
        kind: of file, a folder of the cache.
        version: of what is in it.
        target: whose runtime compiles the networks; its version, its options and its batch count.
        networks: all that matters of each, as text.
        suffix: of the name.
        cache: folder for results; the toolkit's own if None.
    """
    batch = [f"batch {target.batch}"] if target.batch > 1 else []
    stamp = [str(version), _compiles(target), target.runtime.model_dump_json(), *batch]
    name = hashlib.sha256("\n".join([*stamp, *networks]).encode()).hexdigest()[:32]
    return (cache or cache_folder()) / kind / f"{name}{suffix}"


def _compiles(target: Target) -> str:
    """What compiles networks for a target: a version of its runtime; of another device, the kind of device too."""
    device = transports.elsewhere(target)
    if device is None:
        return runtimes.load(target.runtime.name).version
    facts = device.facts(target.runtime.name)
    return " ".join(str(facts.get(name)) for name in ("runtime_version", "device", "machine", "cpu_flags"))


def export_blocks(assemblies: Sequence[Assembly], *, cache: Path | None = None, workers: int | None = None) -> None:
    """Export all blocks of networks that were not exported yet, side by side.

    Shapes of one block stay together, since one export often serves them all (`profiler.derived_blocks`).
    """
    blocks = _block_cache(cache)
    shapes = block_shapes(blocks.folder)
    found: dict[tuple[str, tuple[Shape, ...], tuple[str, ...]], Block] = {}
    for assembly in assemblies:
        for block, read in zip(assembly.blocks, shapes.inputs(assembly), strict=True):
            dtypes = tuple(assembly.input_dtype if name == INPUT else "float32" for name in block.inputs)
            found.setdefault((block.key, read, dtypes), block)
    wanted: dict[str, dict[tuple[Shape, ...], tuple[Block, tuple[str, ...]]]] = {}
    for (key, read, dtypes), block in found.items():
        if not blocks.holds(block, read, dtypes):
            wanted.setdefault(key, {})[read] = (block, dtypes)
    groups = list(wanted.values())

    def export(number: int) -> None:
        for read, (block, dtypes) in groups[number].items():
            blocks.get(block, read, dtypes)

    list(forked(export, len(groups), workers))


def block_shapes(folder: Path | None = None) -> Shapes:
    """Shapes of what blocks read, known once in a process; those that cannot be traced are exported into the folder.

    Args:
        folder: for exports; the toolkit's own if None.
    """
    return _block_shapes(folder or BlockCache.default().folder)


@lru_cache(maxsize=8)
def _block_shapes(folder: Path | None) -> Shapes:
    blocks = BlockCache(folder)
    return Shapes(lambda block, read, dtypes: blocks.get(block, read, dtypes).output_shape)


def _block_cache(cache: Path | None) -> BlockCache:
    return BlockCache.default() if cache is None else BlockCache(cache / "blocks")


def _graphs(assemblies: Sequence[Assembly], target: Target, blocks: BlockCache) -> Compiled:
    name, options = target.runtime.name, runtime_options(target)
    compiler, device = compilers.load(name), transports.elsewhere(target)
    fuse = runtimes.load(name).fuse if device is None else partial(_fused_there, name, device)
    fold = folds(name, options)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a file in memory, in a folder of its own
    with tempfile.TemporaryDirectory(dir=memory) as place:
        path = Path(place) / "network.onnx"
        for assembly in assemblies:
            path.write_bytes(stitch_for_compiling(assembly, blocks, fold=fold))
            fused = fuse(compiler.compile(path, options), options)
            yield assembly, read_fused(stitch_for_compiling(assembly, blocks) if fused is None else fused, name)


def folds(runtime: str, options: RuntimeOptions) -> bool:
    """Whether batch norms may be put into convolutions beforehand, since the runtime does it anyway."""
    folds = runtimes.REGISTRY.get(runtime).traits.folds
    return folds and options.precision == "fp32" and options.optimisation != "none"


def _fused_there(runtime: str, device: RemoteTransport, model: Path, options: RuntimeOptions) -> bytes | None:
    """What the runtime of a device makes of a model: it need not be what it makes of it here."""
    patience_s = runtimes.REGISTRY.get(runtime).traits.patience_s
    return trial.fuse(model, runtime, options, patience_s=patience_s, device=device)


@dataclass
class _Inherited:
    """What forked workers run."""

    work: Callable[[int], Any] | None = None


_INHERITED = _Inherited()


def _run(number: int) -> Any:
    assert _INHERITED.work is not None
    return _INHERITED.work(number)


def forked(work: Callable[[int], Made], count: int, workers: int | None = None) -> Iterator[Made]:
    """Results of numbers from 0 on, in order, in forked processes.

    Args:
        work: of a number; what it holds need not be picklable, what it returns must be.
        count: of numbers.
        workers: processes; one for each CPU if None; with 1 it works in this process.

    Raises:
        DeviceError: a process ended: compilers crash over some networks.
    """
    if workers == 1 or count == 0 or not hasattr(os, "fork"):
        yield from map(work, range(count))
        return
    workers = max(1, min(workers or os.cpu_count() or 1, count))
    _INHERITED.work = work
    try:
        gc.collect()  # a session of a runtime that a forked process collects waits there for threads that it has not
        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), initializer=gc.freeze) as pool:
            yield from pool.map(_run, range(count))
    except BrokenProcessPool as error:
        raise DeviceError(
            "a process that exported or compiled networks ended: their compiler crashed, or memory ran out",
            hint="hwnas profile --space SPACE goes on without such networks, and names them; or use another runtime.",
        ) from error
    finally:
        _INHERITED.work = None

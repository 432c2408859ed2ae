"""Programs compiled by inductor in a cache of their own, and what it made of them, kept beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from device_profiles.cache import cache_folder
from device_profiles.errors import HwnasError, InvalidModel
from profiler.runtimes._inductor.graph import plain
from profiler.runtimes._inductor.recording import Recording, watching
from profiler.runtimes._torch.archive import Archive

#: Version of what is kept of a compilation. 1: first (2026-11).
_SCHEMA = 1


def settings(threads: int, mode: str, freezing: bool) -> dict[str, Any]:
    """Inductor's settings: those of the mode, and kernels with names of their own under torch's profiler."""
    import torch

    return {
        **torch._inductor.list_mode_options(mode),
        "freezing": freezing,
        "compile_threads": 1,
        "cpp.threads": threads,
        "cpp.enable_kernel_profile": True,
        "cpp.descriptive_names": "inductor_node",
    }


def folder_of(version: str, processor: str, chosen: Mapping[str, Any]) -> Path:
    """The cache of all campaigns under equal conditions, and of no others."""
    stamp = json.dumps([_SCHEMA, version, processor, dict(chosen)], sort_keys=True)
    return cache_folder() / "inductor" / hashlib.sha256(stamp.encode()).hexdigest()[:24]


def compiled(
    archive: Archive, feed: list[Any], chosen: Mapping[str, Any], folder: Path
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A program as `torch.compile` makes it, and its record: `events` and `graph`.

    Args:
        archive: the program.
        feed: its inputs.
        chosen: inductor's settings.
        folder: of the cache.

    Raises:
        InvalidModel: inductor refuses it, with its words.
    """
    kept = folder / "kernels" / f"{archive.key[:32]}.json"
    record: dict[str, Any] | None = json.loads(kept.read_text()) if kept.exists() else None
    with _cache(folder):
        run, recording = _compile(archive, feed, chosen)
        if recording.watched:
            record = _record(archive, recording)
            _write(kept, record)
        elif record is None:  # an equal graph with other names was compiled before
            with _anew():
                run, recording = _compile(archive, feed, chosen)
            record = _record(archive, recording)
            _write(kept, record)
    assert record is not None
    return run, record


def record_of(archive: Archive, feed: list[Any], chosen: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What inductor makes of a program; nothing is compiled where that is known."""
    kept = folder / "kernels" / f"{archive.key[:32]}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    return compiled(archive, feed, chosen, folder)[1]


def _compile(archive: Archive, feed: list[Any], chosen: Mapping[str, Any]) -> tuple[Callable[..., Any], Recording]:
    import torch
    import torch._inductor.config as inductor

    run: Any = torch.compile(_bare(archive.program.module()), fullgraph=True, dynamic=False, options=dict(chosen))
    try:
        # Dynamo reads `freezing` where options are not in force yet: as an option alone it does nothing (torch 2.13).
        frozen: Any = inductor.patch(freezing=chosen["freezing"])
        with torch.inference_mode(), frozen, watching() as recording:
            run(*feed)
    except HwnasError:
        raise
    except Exception as error:  # dynamo and inductor wrap whatever they meet
        words = " ".join(str(error).split())[:300]
        raise InvalidModel(
            f"torch.compile cannot compile {archive.name}: {type(error).__name__}: {words}",
            hint="Measure it with the target local-torch.",
        ) from error
    return run, recording


def _bare(module: Any) -> Any:
    """An exported module without its checks of inputs and its trees of arguments.

    They are no part of the module that was exported, and cost 70 us a call even when it is compiled (torch 2.13).
    """
    import torch

    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            module.graph.erase_node(node)
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    return torch.fx.GraphModule(module, module.graph).eval()


def _record(archive: Archive, recording: Recording) -> dict[str, Any]:
    return {
        "events": [kernel.event for kernel in recording.kernels],
        "graph": plain(recording, archive.nodes),
    }


def _write(path: Path, record: Mapping[str, Any]) -> None:
    """As a whole or not at all: others may read it now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(record, file)
    Path(file.name).replace(path)


@contextlib.contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Inductor's cache in this folder, and afterwards where it was."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    before = os.environ.get(name)
    os.environ[name] = str(folder / "inductor")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _anew() -> Iterator[None]:
    """No graph comes out of the cache; C++ that was compiled, and what autotuning chose, still do."""
    import torch._functorch.config as functorch
    import torch._inductor.config as inductor

    with functorch.patch(enable_autograd_cache=False), inductor.patch(fx_graph_cache=False):
        yield

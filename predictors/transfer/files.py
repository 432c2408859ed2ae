"""A saved transfer predictor: `transfer.json` says what it is, `transfer.safetensors` holds its numbers.

`transfer.json`: `choices`, `seed`, `sources` (names that count, or null before any were fitted), and, where somebody
said them, `target` and `space`.
`transfer.safetensors`: `mean` `(p,)` and `factors` `(k, p)` of the sources, `archs` `(n, d)` and `latency_ms` `(n,)` of
the samples, and with structural features `probe` `(8, f)`: their values on eight genomes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_profiles.errors import SchemaMismatch
from predictors.folders import replacing
from predictors.sealed import Kind, floats, heard, is_own, read_head, read_tensors, said, understood, write_head
from predictors.transfer.genes import Archs, Floats, Genes
from predictors.transfer.sources import Prior, latencies

#: Version of the folder. 1: first (2026-11). 2: digests of both files (2026-11).
SCHEMA = "hwnas.transfer/2"
_HINT = "Make one with TransferPredictor.save(folder)."
_KIND = Kind(
    "transfer.json", SCHEMA, "a transfer predictor's folder", _HINT, {"hwnas.transfer/1": "a version of 2026-11"}
)


@dataclass(frozen=True)
class State:
    """What is written: see the top of this file."""

    choices: tuple[int, ...]
    seed: int
    prior: Prior | None
    archs: Archs
    ms: Floats
    probe: Floats | None
    target: str | None = None
    space: str | None = None


def write(folder: Path, state: State) -> None:
    """Write the two files, whole or not at all; what was there before is replaced.

    Raises:
        UsageError: the folder exists and holds something else.
    """
    from safetensors.numpy import save_file

    tensors = {"archs": np.ascontiguousarray(state.archs), "latency_ms": np.ascontiguousarray(state.ms)}
    if state.prior is not None:
        tensors |= {
            "mean": np.ascontiguousarray(state.prior.mean),
            "factors": np.ascontiguousarray(state.prior.factors),
        }
    if state.probe is not None:
        tensors["probe"] = np.ascontiguousarray(state.probe)
    facts = {
        "choices": list(state.choices),
        "seed": state.seed,
        "sources": None if state.prior is None else list(state.prior.names),
        **said(state.target, state.space),
    }
    with replacing(
        folder, "a transfer predictor", lambda place: is_own(place, _KIND), hint="Give another folder."
    ) as work:
        save_file(tensors, work / "transfer.safetensors")
        write_head(work, _KIND, facts)


def read(folder: Path) -> State:
    """Read the two files.

    Raises:
        SchemaMismatch: they are missing, of another version, or cut short.
    """
    facts = read_head(folder, _KIND)
    with understood(f"cannot read {folder}", _HINT):
        tensors, _ = read_tensors(folder / "transfer.safetensors")
        genes = Genes.of(facts["choices"])
        archs = genes.checked(tensors["archs"])
        seed, sources = facts["seed"], facts["sources"]
        if type(seed) is not int or seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
        prior = None
        if sources is not None:
            if not isinstance(sources, list) or not all(isinstance(name, str) for name in sources):
                raise ValueError("sources must be names")
            prior = Prior(tuple(sources), floats(tensors, "mean"), floats(tensors, "factors"))
            if prior.mean.ndim != 1 or prior.factors.ndim != 2:
                raise ValueError("the surfaces of the sources have other shapes")
        ms = latencies(floats(tensors, "latency_ms"), len(archs), "the samples")
        probe = floats(tensors, "probe") if "probe" in tensors else None
        return State(genes.choices, seed, prior, archs, ms, probe, **heard(facts))


def check_widths(folder: Path, prior: Prior | None, width: int) -> None:
    """Refuse surfaces of another width than the space's.

    Raises:
        SchemaMismatch: they have.
    """
    if prior is not None and (prior.mean.shape != (width,) or prior.factors.shape[1:] != (width,)):
        raise SchemaMismatch(
            f"{folder} has surfaces of shapes {prior.mean.shape} and {prior.factors.shape}; the space has {width} "
            "effects",
            hint=_HINT,
        )

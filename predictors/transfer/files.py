"""A saved transfer predictor: `transfer.json` says what it is, `transfer.safetensors` holds its numbers.

`transfer.json`: `schema`, `choices`, `seed`, `sources` (names that count, or null before any were fitted).
`transfer.safetensors`: `mean` `(p,)` and `factors` `(k, p)` of the sources, `archs` `(n, d)` and `latency_ms` `(n,)` of
the samples, and with structural features `probe` `(8, f)`: their values on eight genomes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_profiles.errors import HwnasError, SchemaMismatch
from predictors.folders import replacing
from predictors.transfer.genes import Archs, Floats, Genes
from predictors.transfer.sources import Prior, latencies

#: Version of the folder. 1: first (2026-11).
SCHEMA = "hwnas.transfer/1"
_HINT = "Make one with TransferPredictor.save(folder)."


@dataclass(frozen=True)
class State:
    """What is written: see the top of this file."""

    choices: tuple[int, ...]
    seed: int
    prior: Prior | None
    archs: Archs
    ms: Floats
    probe: Floats | None


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
        "schema": SCHEMA,
        "choices": list(state.choices),
        "seed": state.seed,
        "sources": None if state.prior is None else list(state.prior.names),
    }
    with replacing(
        folder, "a transfer predictor", lambda place: (place / "transfer.json").exists(), hint="Give another folder."
    ) as work:
        save_file(tensors, work / "transfer.safetensors")
        (work / "transfer.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> State:
    """Read the two files.

    Raises:
        SchemaMismatch: they are missing, of another version, or cut short.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / "transfer.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["schema"] != SCHEMA:
            raise SchemaMismatch(
                f"{path} has schema {facts['schema']!r}; this version reads {SCHEMA!r}",
                hint="Fit the predictor again.",
            )
        tensors = load_file(folder / "transfer.safetensors")
        genes = Genes.of(facts["choices"])
        archs = genes.checked(tensors["archs"])
        prior = None
        if facts["sources"] is not None:
            prior = Prior(tuple(map(str, facts["sources"])), tensors["mean"], tensors["factors"])
        ms = latencies(tensors["latency_ms"], len(archs), "the samples")
        return State(genes.choices, int(facts["seed"]), prior, archs, ms, tensors.get("probe"))
    except SchemaMismatch:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, HwnasError) as error:
        raise SchemaMismatch(f"{folder} is not a transfer predictor's folder: {error}", hint=_HINT) from error


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

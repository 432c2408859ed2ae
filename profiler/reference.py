"""The device's reference sentinel: how fast the guard runs in a state that the device is often in.

A measurement that falls wholly into a slow state of the machine cannot know it from its own blocks. So what sentinels
showed is remembered in the cache folder from one invocation to the next, for each set of conditions, and every process
records in the store which reference was known when it began: a store is read the same way anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.cache import cache_folder
from device_profiles.conditions import Conditions
from device_profiles.errors import SchemaMismatch
from profiler.agent.sentinel import REFERENCE_QUANTILE

#: Version of the files. 1: first (2026-11).
_SCHEMA = "hwnas.sentinels/1"
#: Processes that are remembered, and quantiles of the sentinels of each.
_PROCESSES = 100
_QUANTILES = 20


def of_sentinels(sentinels_ns: Sequence[float] | NDArray[np.float64], weights: Sequence[float] | None = None) -> float:
    """The reference that sentinels show: their lowest tenth, in ns.

    Raises:
        ValueError: there are none.
    """
    if len(sentinels_ns) == 0:
        raise ValueError("no sentinels")
    values = np.asarray(sentinels_ns, dtype=np.float64)
    if weights is None:
        return float(np.quantile(values, REFERENCE_QUANTILE))
    return float(np.quantile(values, REFERENCE_QUANTILE, weights=np.asarray(weights), method="inverted_cdf"))


def remembered_ns(conditions: Conditions) -> float | None:
    """The reference of earlier processes under these conditions, or None if there were none.

    Raises:
        SchemaMismatch: the file that remembers is damaged.
    """
    processes = _read(_path(conditions))
    if not processes:
        return None
    values = [value for _, quantiles in processes for value in quantiles]
    return of_sentinels(values, [float(blocks) for blocks, quantiles in processes for _ in quantiles])


def remember(conditions: Conditions, sentinels_ns: Sequence[int]) -> None:
    """Add what one process saw; the oldest is forgotten.

    Raises:
        SchemaMismatch: the file that remembers is damaged.
    """
    if not sentinels_ns:
        return
    path = _path(conditions)
    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    quantiles = np.quantile(sentinels_ns, middles).tolist()
    processes = [*_read(path), (len(sentinels_ns), quantiles)][-_PROCESSES:]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    temporary.write_text(json.dumps({"schema": _SCHEMA, "processes": processes}))
    temporary.replace(path)


def _path(conditions: Conditions) -> Path:
    return cache_folder() / "sentinels" / f"{conditions.id}.json"


def _read(path: Path) -> list[tuple[int, list[float]]]:
    if not path.exists():
        return []
    try:
        data = json.loads(path.read_text())
        if data["schema"] != _SCHEMA:
            raise SchemaMismatch(f"{path} has schema {data['schema']!r}; this version reads {_SCHEMA!r}")
        return [(int(blocks), [float(value) for value in quantiles]) for blocks, quantiles in data["processes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SchemaMismatch(
            f"the remembered sentinels {path} are damaged: {error}", hint="Delete that file."
        ) from error

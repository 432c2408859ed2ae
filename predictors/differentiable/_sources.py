"""Tables of source devices made comparable: one matrix over all architectures, each device divided by its scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from predictors.differentiable import _features, _main_effects
from predictors.differentiable._prior import Prior, draw_scales
from predictors.differentiable.protocol import Archs, Floats, check_values, floor_of
from predictors.genes import checked

#: Fewest distinct architectures of a source.
LEAST_ROWS = 20
#: Architectures that references are chosen among.
_POOL = 1000


@dataclass(frozen=True)
class Sources:
    """Tables of `t` devices over `n` architectures.

    Attributes:
        devices: their names, in order.
        archs: `(n, d)`, distinct: all that any device has.
        latency_ms: `(t, n)`, NaN where a device was not measured, no less than each device's floor.
        surfaces: `(t, 1 + options of all genes)`, main effects of each, in ms.
        floors: `(t,)`, 0.3 times the 5th percentile of each, in ms.
    """

    devices: tuple[str, ...]
    archs: Archs
    latency_ms: Floats
    surfaces: Floats
    floors: Floats


def read(choices: tuple[int, ...], sources: Mapping[str, tuple[Archs, Floats]]) -> Sources:
    """Tables of devices in one matrix; rows of the same architecture are averaged.

    Raises:
        UsageError: there are none, or a gene is outside of the space.
        InvalidTable: a latency is not positive and finite, a table is constant or has fewer than 20 architectures.
    """
    if not sources:
        raise UsageError("there are no source devices", hint="Give at least one table: {device: (archs, latency_ms)}.")
    tables = {device: _read_one(device, checked(pair[0], choices), pair[1]) for device, pair in sources.items()}
    archs, group = np.unique(np.concatenate([rows for rows, _ in tables.values()]), axis=0, return_inverse=True)
    group, start = group.reshape(-1), 0
    latency = np.full((len(tables), len(archs)), np.nan)
    surfaces, floors = [], []
    for row, (device, (own, values)) in zip(latency, tables.items(), strict=True):
        floor = floor_of(values)
        index = group[start : start + len(own)]
        start += len(own)
        counts = np.bincount(index, minlength=len(archs))
        distinct = int((counts > 0).sum())
        if distinct < LEAST_ROWS:
            raise InvalidTable(
                f"source {device!r} has {distinct} distinct architectures; at least {LEAST_ROWS} are needed",
                hint="Measure more on it, or leave it out.",
            )
        sums = np.bincount(index, weights=np.maximum(values, floor), minlength=len(archs))
        row[counts > 0] = sums[counts > 0] / counts[counts > 0]
        surfaces.append(_main_effects.fit(_features.Genes(choices), own, values, floor, 0.5))
        floors.append(floor)
    return Sources(tuple(tables), archs, latency, np.array(surfaces), np.array(floors))


def _read_one(device: str, archs: Archs, latency_ms: Any) -> tuple[Archs, Floats]:
    values = check_values(latency_ms, len(archs), f"latency_ms of source {device!r}")
    if len(values) and np.ptp(values) <= 1e-9 * values.max():
        raise InvalidTable(
            f"source {device!r} is constant at {values[0]} ms: such a table teaches nothing",
            hint="Check the column and its unit.",
        )
    return archs, values


def choose(choices: tuple[int, ...], sources: Sources, count: int, rng: np.random.Generator) -> Archs:
    """`(count, d)` references, among the architectures that most sources have, by a greedy A-optimal design.

    Raises:
        InvalidTable: fewer architectures than that were measured.
    """
    have = (~np.isnan(sources.latency_ms)).sum(axis=0)
    for least in range(len(sources.devices), 0, -1):
        pool = np.flatnonzero(have >= least)
        if len(pool) >= count:
            break
    else:
        raise InvalidTable(
            f"{count} references are to be chosen among {len(sources.archs)} architectures",
            hint="Measure more architectures, or give references=.",
        )
    pool = np.sort(rng.choice(pool, min(len(pool), _POOL), replace=False))
    scale = np.exp(np.nanmean(np.log(sources.latency_ms), axis=1))
    prior = Prior(choices, sources.archs[:1], sources.surfaces / scale[:, None], draw_scales(rng))
    return np.asarray(sources.archs[pool[prior.choose(sources.archs[pool], count)]])


def at_references(choices: tuple[int, ...], sources: Sources, references: Archs) -> tuple[Floats, int]:
    """`(t, k)` latencies of the references in ms, and how many of them come from main effects for want of a row.

    Raises:
        InvalidTable: a source has none of the references.
    """
    rows = {arch.tobytes(): place for place, arch in enumerate(sources.archs)}
    found = np.full((len(sources.devices), len(references)), np.nan)
    for column, arch in enumerate(references):
        place = rows.get(arch.tobytes())
        if place is not None:
            found[:, column] = sources.latency_ms[:, place]
    lacking = np.isnan(found)
    for device, none in zip(sources.devices, lacking.all(axis=1), strict=True):
        if none:
            raise InvalidTable(
                f"source {device!r} has none of the {len(references)} references",
                hint="Measure references on every source, or give references= that it has.",
            )
    for t, (surface, floor) in enumerate(zip(sources.surfaces, sources.floors, strict=True)):
        guess = np.maximum(_main_effects.table(choices, surface).predict(references), floor)
        found[t, lacking[t]] = guess[lacking[t]]
    return found, int(lacking.sum())

"""What other devices say: a surface for each table, and of these a mean and the directions in which devices differ."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from predictors.transfer.genes import Archs, Floats, Genes, Structure

#: Values below this share of a table's 5th percentile are raised to it: networks that a runtime deleted.
FLOOR = 0.3
#: Repeated architectures may differ by this factor; beyond it a table contradicts itself.
REPEAT = 1.2
#: Log-likelihood by which a table must be better explained with effects of its own than without any.
SIGNIFICANT = 4.0
#: Strengths of the ridge that evidence chooses from: variance of the noise over that of a coefficient.
_RIDGES = np.geomspace(1e-3, 1e6, 46)


@dataclass(frozen=True)
class Prior:
    """What is believed of a device before anything was measured on it, relative to its mean latency.

    Attributes:
        names: the sources that count.
        mean: `(p,)`, coefficients of the mean surface on contrasts and structural features.
        factors: `(k, p)`, directions in which sources differ, scaled to the deviation of one source.
    """

    names: tuple[str, ...]
    mean: Floats
    factors: Floats

    @staticmethod
    def none(width: int) -> Prior:
        """Without sources all architectures are believed to be equally fast."""
        return Prior((), np.zeros(width), np.zeros((0, width)))


def read(name: str, table: Any, genes: Genes) -> tuple[Archs, Floats]:
    """One source's architectures `(n, d)`, each once and in order, and latencies `(n,)` in ms.

    Raises:
        UsageError: it is no pair, or the architectures do not fit the space.
        InvalidTable: latencies are missing, negative, zero, infinite, constant, or contradict each other.
    """
    if not isinstance(table, (tuple, list)) or len(table) != 2:
        raise UsageError(
            f"source {name!r} must be a pair (archs, latency_ms)", hint="Give {name: (archs, latency_ms)}."
        )
    archs = genes.checked(table[0], f"architectures of source {name!r}")
    ms = latencies(table[1], len(archs), f"source {name!r}")
    distinct, inverse, counts = np.unique(archs, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(-1)
    if len(distinct) < len(archs):
        low, high = np.full(len(distinct), np.inf), np.zeros(len(distinct))
        np.minimum.at(low, inverse, ms)
        np.maximum.at(high, inverse, ms)
        worst = int(np.argmax(high / low))
        if high[worst] > REPEAT * low[worst]:
            raise InvalidTable(
                f"source {name!r} has {low[worst]:g} ms and {high[worst]:g} ms for one architecture, "
                f"{distinct[worst].tolist()}; repeats may differ by a factor of {REPEAT}",
                hint="Keep the value that is right, or give the two conditions as two sources.",
            )
    mean = np.exp(np.bincount(inverse, weights=np.log(ms), minlength=len(distinct)) / np.maximum(counts, 1))
    if len(distinct) < 2 or np.ptp(mean) <= 1e-12 * mean.max():
        raise InvalidTable(
            f"source {name!r} is constant over {len(distinct)} architectures and says nothing",
            hint="Leave it out, or give more of its architectures.",
        )
    return distinct, mean


def latencies(values: Any, count: int, what: str) -> Floats:
    """Latencies as `(count,)` numbers in ms.

    Raises:
        InvalidTable: another number of them, or one is not positive and finite.
    """
    try:
        ms = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidTable(f"{what}: latencies are not numbers", hint="Give milliseconds.") from error
    if ms.shape != (count,):
        raise InvalidTable(
            f"{what} has latencies of shape {ms.shape} for {count} architectures", hint="Give one for each."
        )
    bad = np.flatnonzero(~(np.isfinite(ms) & (ms > 0)))
    if len(bad):
        raise InvalidTable(
            f"{what}: latency {ms[bad[0]]!r} in row {bad[0]}, and {len(bad)} such in all; allowed are finite values "
            "above 0",
            hint="Leave out what could not be measured.",
        )
    return ms


def fit(sources: Mapping[str, Any], genes: Genes, structure: Structure) -> Prior:
    """Learn from source devices, each with its own architectures.

    Each table is floored, divided by its geometric mean, and fitted by ridge on orthonormal contrasts of single genes
    and on structural features; what these cannot say is left behind, since raw tables bring their noise along. All
    are fitted together first, then each with its ridge drawn to what all say: a table of few architectures follows the
    others where it says nothing itself. The strength of the ridge is that of largest restricted likelihood.

    Source: ridge as a mixed model, Patterson & Thompson, Biometrika 58, 1971, section 3; factors of a population of
        devices, an empirical covariance as in Bonilla et al., "Multi-task Gaussian process prediction", NIPS 2007.

    Args:
        sources: name to `(archs (n, d), latency_ms (n,))`.
        genes: the space.
        structure: its features.

    Raises:
        UsageError: architectures do not fit the space.
        InvalidTable: a table cannot be used.
    """
    tables: dict[str, tuple[Archs, Floats]] = {}
    for name, table in sources.items():
        archs, ms = read(name, table, genes)
        twin = next((n for n, (a, m) in tables.items() if np.array_equal(a, archs) and np.allclose(m, ms, 1e-9)), None)
        if twin is not None:
            warnings.warn(f"source {name!r} is the same table as {twin!r} and is counted once", stacklevel=3)
            continue
        tables[name] = archs, ms
    width = genes.width + structure(np.zeros((1, len(genes.choices)), dtype=np.int64)).shape[1]
    if not tables:
        return Prior.none(width)
    moments = [_Moments.of(_inputs(a, genes, structure), _relative(m)) for a, m in tables.values()]
    pooled, _ = _Moments.joint(moments).surface(np.zeros(width))
    fitted = [m.surface(pooled) for m in moments]
    surfaces = np.array([surface for surface, _ in fitted])
    shares = np.array([share for _, share in fitted]) + 1e-3
    mean = (shares[:, None] * surfaces).sum(axis=0) / shares.sum()
    _, singular, directions = np.linalg.svd((surfaces - mean) / np.sqrt(len(surfaces)), full_matrices=False)
    kept = singular > 1e-6 * max(float(np.linalg.norm(mean)), 1e-9)
    return Prior(tuple(tables), mean, singular[kept, None] * directions[kept])


def _inputs(archs: Archs, genes: Genes, structure: Structure) -> Floats:
    return np.concatenate([genes.contrasts(archs), structure(archs)], axis=1)


def _relative(ms: Floats) -> Floats:
    floored = np.maximum(ms, FLOOR * np.quantile(ms, 0.05))
    return np.asarray(floored / np.exp(np.log(floored).mean()))


@dataclass(frozen=True)
class _Moments:
    """What a ridge needs of a table: sums over its `n` architectures of inputs `x` `(p,)` and relative latency `y`."""

    n: int
    xx: Floats
    x: Floats
    xy: Floats
    y: float
    yy: float

    @staticmethod
    def of(x: Floats, y: Floats) -> _Moments:
        return _Moments(len(y), x.T @ x, x.sum(axis=0), x.T @ y, float(y.sum()), float(y @ y))

    @staticmethod
    def joint(tables: Sequence[_Moments]) -> _Moments:
        """All tables as one."""
        columns = zip(*[(m.xx, m.x, m.xy, m.y, m.yy) for m in tables], strict=True)
        return _Moments(sum(m.n for m in tables), *[sum(column[1:], column[0]) for column in columns])

    def surface(self, centre: Floats) -> tuple[Floats, float]:
        """Coefficients relative to the mean latency, drawn to `centre` `(p,)`, and the share that the table decides.

        The model is `y = s * (1 + x @ centre) + x @ change`, with `s` free and `change` penalised.
        """
        if not len(centre):
            return centre, 0.0
        bb = self.n + 2 * self.x @ centre + centre @ self.xx @ centre
        by = self.y + centre @ self.xy
        bx = self.x + self.xx @ centre
        gram = self.xx - np.outer(bx, bx) / bb
        cross = self.xy - bx * (by / bb)
        total = max(float(self.yy - by**2 / bb), 1e-12)
        values, vectors = np.linalg.eigh(gram)
        values = np.maximum(values, 0.0)
        turned = vectors.T @ cross
        free = float(max(self.n - 1, 1))
        rest = np.maximum(total - (turned**2 / (values + _RIDGES[:, None])).sum(axis=1), 1e-9 * total)
        likelihood = -0.5 * (free * np.log(rest) + np.log1p(values / _RIDGES[:, None]).sum(axis=1))
        flat = np.ptp(likelihood) < 0.01  # every option once: effects cannot be told from noise, and are believed
        if not flat and likelihood.max() - likelihood[-1] < SIGNIFICANT:
            return centre, 0.0
        ridge = _RIDGES[0 if flat else int(np.argmax(likelihood))]
        change = vectors @ (turned / (values + ridge))
        scale = (by - bx @ change) / bb
        if scale <= 0.1:  # the table cannot tell its mean from its effects
            return centre, 0.0
        return centre + change / scale, float((values / (values + ridge)).mean())

"""The predictor: sources, then samples, then predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData, UsageError
from predictors.architectures import Learned, LearnedFromArchitectures
from predictors.prediction import Prediction, check_missing
from predictors.transfer import choosing, files, mixture, sources
from predictors.transfer.expected import TransferCost
from predictors.transfer.genes import Archs, Features, Floats, Genes, Structure
from predictors.transfer.mixture import Collapsed, Draws, Places

#: Fewest samples for a 90 % interval. On NAS-Bench-201, intervals of the worst of 21 devices hold 32-70 % of its cells
#: with 3 to 8 samples, 72-83 % with 9 and 78-82 % with 10; see `benchmarks/transfer.py`.
LEAST = 9
#: Fewest samples that show that a device's clock is rounded.
_LEAST_ROUNDED = 5
#: Half-width of a 90 % interval in standard deviations.
_WIDTH = 1.645
#: Most architectures of a pool that are weighed against each other.
_CANDIDATES = 1500
#: Rows that are predicted at once.
_CHUNK = 4096
#: Below this share of the mean latency predictions bend so that they stay positive.
_BEND = 0.1


@dataclass(frozen=True)
class Suspect:
    """A sample that may be wrong.

    Attributes:
        index: its number among all samples, in the order in which they were given.
        arch: its architecture.
        latency_ms: what was given.
        probability: that it is wrong, in 0..1.
    """

    index: int
    arch: tuple[int, ...]
    latency_ms: float
    probability: float


class TransferPredictor(LearnedFromArchitectures):
    """Latency on a device from a few samples and from tables of other devices.

    Relative latency is a Gaussian process around the sources' mean surface. Its kernel adds the directions in which
    sources differ, effects of single genes (of their own, and shared by genes of equally many options), of pairs of
    genes, and of structural features. The size of each is unknown: draws of all sizes, some without the sources, are
    averaged by their evidence, together with the hypotheses that one of the samples is wrong.

    Args:
        choices: options per gene, `(d,)`.
        features: function from `(n, d)` architectures to `(n, f)` structural features, such as `space.features`.
        seed: of the draws and of the candidates that `choose` looks at.
        target: name of the new device, if a search is to hold it against its own.
        space: spec of the space, likewise.

    Raises:
        UsageError: a number of options or the seed is not an integer.
    """

    def __init__(
        self,
        choices: Sequence[int],
        *,
        features: Features | None = None,
        seed: int = 0,
        target: str | None = None,
        space: str | None = None,
    ) -> None:
        if features is not None and not callable(features):
            raise UsageError(
                f"features must be a function of (n, d) architectures, got {type(features).__name__}",
                hint="Give space.features, without calling it.",
            )
        self._genes = Genes.of(choices)
        self._structure = Structure(self._genes, features)
        self._seed = _count(seed, "seed", least=0)
        self._prior: sources.Prior | None = None
        self._archs: Archs = np.zeros((0, len(self._genes.choices)), dtype=np.int64)
        self._ms: Floats = np.zeros(0)
        self._draws: Draws | None = None
        self._fitted: tuple[Collapsed, Places] | None = None
        self._target, self._space = target, space

    @property
    def card(self) -> Learned:
        """What it says of itself."""
        return Learned("transfer", "ms", self._genes.choices, self._target, self._space)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that count."""
        return self._prior.names if self._prior is not None else ()

    def fit_sources(self, tables: Mapping[str, tuple[Any, Any]]) -> TransferPredictor:
        """Learn from source devices; replaces earlier sources and keeps the samples.

        Args:
            tables: name of a device to `(archs (n, d), latency_ms (n,))`; the architectures may differ between devices
                and be few. None at all is allowed. A table that was given twice counts once, with a warning.

        Raises:
            UsageError: architectures do not fit the space.
            InvalidTable: a table holds NaN, negative, zero, infinite, constant or contradicting latencies.
        """
        if not isinstance(tables, Mapping):
            raise UsageError(
                f"sources must be a mapping, got {type(tables).__name__}", hint="Give {name: (archs, latency_ms)}."
            )
        self._prior = sources.fit(tables, self._genes, self._structure)
        self._draws = self._fitted = None
        return self

    def choose(self, pool: Any, n: int = 10) -> NDArray[np.int64]:
        """Which architectures of a pool to measure on the new device.

        After `adapt`, those that say most beyond what was measured. No architecture is chosen twice.

        Args:
            pool: `(m, d)`; of a large pool a random part is looked at.
            n: how many.

        Returns:
            `(n,)`, indices into the pool, the most telling first.

        Raises:
            UsageError: the pool has fewer than `n` different architectures, or does not fit the space.
        """
        archs = self._genes.checked(pool, "the pool")
        n = _count(n, "n", least=1)
        distinct = np.sort(np.unique(archs, axis=0, return_index=True)[1]) if len(archs) else np.zeros(0, np.int64)
        if n > len(distinct):
            raise UsageError(
                f"{n} architectures cannot be chosen from a pool of {len(archs)} with {len(distinct)} different ones",
                hint="Ask for fewer, or give a larger pool.",
            )
        rng = np.random.default_rng(self._seed)
        most = max(_CANDIDATES, n)
        rows = distinct if len(distinct) <= most else np.sort(rng.choice(distinct, most, replace=False))
        fitted = self._fit() if len(self._ms) else None
        beliefs = [(1.0, fitted[0].variances, fitted[0].noise)] if fitted else self._hypotheses().expected()
        chosen = choosing.greedy(
            self._places(archs[rows]),
            self._genes,
            beliefs=[choosing.Belief(*belief) for belief in beliefs],
            n=n,
            measured=fitted[1] if fitted else None,
        )
        return np.asarray(rows[chosen], dtype=np.int64)

    def adapt(self, archs: Any, latency_ms: Any) -> TransferPredictor:
        """Add samples of the new device; the same architecture may come again.

        Args:
            archs: `(n, d)`.
            latency_ms: `(n,)`, ms, above 0.

        Raises:
            UsageError: architectures do not fit the space.
            InvalidTable: a latency is not positive and finite, or their number is another.
        """
        checked = self._genes.checked(archs)
        ms = sources.latencies(latency_ms, len(checked), "the samples")
        self._archs, self._ms = np.concatenate([self._archs, checked]), np.concatenate([self._ms, ms])
        self._fitted = None
        if len(self._ms):
            self._fit()
        return self

    def predict(self, archs: Any, *, missing: str = "guess") -> Prediction:
        """Latency of `(n, d)` architectures on the new device, ms, with 90 % intervals of a measurement.

        Without `LEAST` samples there are no intervals: `low` and `high` are None. Nothing is ever `missing`.

        Raises:
            UsageError: architectures do not fit the space.
            InvalidData: no sample was given, so the speed of the device is unknown.
        """
        check_missing(missing)
        checked = self._genes.checked(archs)
        fitted, samples = self._fit()
        parts = [
            fitted.moments(self._places(checked[at : at + _CHUNK]), samples, self._genes)
            for at in range(0, len(checked), _CHUNK)
        ]
        mean = np.concatenate([np.zeros(0), *[m for m, _ in parts]])
        half = _WIDTH * np.sqrt(np.concatenate([np.zeros(0), *[v for _, v in parts]]))
        bent = _positive(mean)
        low = high = None
        if len(self._ms) >= LEAST:
            low, high = fitted.scale_ms * _positive(mean - half), fitted.scale_ms * (bent + half)
        return Prediction(fitted.scale_ms * bent, low, high, "ms", np.ones(len(checked)), ((),) * len(checked))

    def differentiable(self) -> TransferCost:
        """The expected latency under independent choices, exact.

        Raises:
            InvalidData: no sample was given.
            UsageError: it was made with structural features, whose expectation nobody knows.
        """
        if self._structure.features is not None:
            raise UsageError(
                "a transfer predictor with structural features has no expected latency",
                hint="Make it without features, or learn a NetworkCost from what it predicts.",
            )
        fitted, samples = self._fit()
        constant, effects, pairs = self._affine(fitted, samples)
        return TransferCost(self._genes, constant, effects, samples.contrasts, pairs, fitted.scale_ms, _BEND)

    def suspects(self) -> tuple[Suspect, ...]:
        """The samples, most likely wrong first: measure the first two again, and begin anew with the better values.

        Raises:
            InvalidData: no sample was given.
        """
        wrong = self._fit()[0].wrong
        return tuple(
            Suspect(int(i), tuple(self._archs[i].tolist()), float(self._ms[i]), float(wrong[i]))
            for i in np.argsort(-wrong, kind="stable")
        )

    def save(self, folder: str | Path) -> None:
        """Write `transfer.json` and `transfer.safetensors` into a folder; see `predictors.transfer.files`.

        Raises:
            UsageError: the folder exists and is not such a predictor's.
        """
        probe = self._structure.raw(self._structure.probe) if self._structure.features is not None else None
        state = files.State(
            self._genes.choices,
            self._seed,
            self._prior,
            self._archs,
            self._ms,
            probe,
            self._target,
            self._space,
        )
        files.write(Path(folder), state)

    @staticmethod
    def load(
        folder: str | Path, *, features: Features | None = None, only_if_needed: bool = False
    ) -> TransferPredictor:
        """Read what `save` wrote; `features` must be the function that the predictor was made with.

        With `only_if_needed` they are left aside where it was made without any.

        Raises:
            SchemaMismatch: it is none, of another version, or was cut short.
            UsageError: features are missing, or are not those it was made with.
        """
        state = files.read(Path(folder))
        if only_if_needed and state.probe is None:
            features = None
        found = TransferPredictor(
            state.choices, features=features, seed=state.seed, target=state.target, space=state.space
        )
        if (state.probe is None) != (features is None):
            needed = "no features" if state.probe is None else "structural features"
            raise UsageError(
                f"{folder} was made with {needed}", hint="Load it with load(folder, features=...) as made."
            )
        if state.probe is not None:
            values = found._structure.raw(found._structure.probe)
            if values.shape != state.probe.shape or not np.allclose(values, state.probe):
                raise UsageError(
                    f"the features are not those that {folder} was made with", hint="Give the same function again."
                )
        found._prior, found._archs, found._ms = state.prior, state.archs, state.ms
        files.check_widths(Path(folder), state.prior, found._width)
        return found

    @property
    def _width(self) -> int:
        return self._genes.width + int(self._structure(np.zeros((1, len(self._genes.choices)), np.int64)).shape[1])

    def _places(self, archs: Archs) -> Places:
        if self._prior is None:
            self._prior = sources.Prior.none(self._width)
        return Places.of(archs, self._genes, self._structure, self._prior)

    def _affine(self, fitted: Collapsed, samples: Places) -> tuple[float, Floats, Floats]:
        """The mean as a constant, effects of contrasts `(width,)`, and weights of pairs `(n,)`; see `Collapsed`."""
        prior, genes, count = self._prior, self._genes, len(samples)
        assert prior is not None
        (constant, surface), parts = fitted.linear[:2], fitted.linear[2:].reshape(5, count)
        factors, shared, main, pairs, _ = parts
        per_gene = np.concatenate([np.full(c - 1, 1.0 / max((c - 1) * genes.free, 1)) for c in genes.choices])
        effects = surface * prior.mean + (factors @ samples.factors) @ prior.factors
        effects = effects + genes.shared @ (shared @ samples.shared) + per_gene * (main @ samples.contrasts)
        return float(constant + surface), effects, pairs

    def _hypotheses(self) -> Draws:
        if self._draws is None:
            self._draws = Draws.make(
                np.random.default_rng(self._seed),
                sources=self._prior is not None and bool(np.abs(self._prior.mean).max(initial=0.0) > 0.0),
                structure=self._structure.features is not None,
                shared=self._genes.shared.shape[1] > 0,
            )
        return self._draws

    def _fit(self) -> tuple[Collapsed, Places]:
        if not len(self._ms):
            raise InvalidData(
                "nothing was measured on the new device, so its speed is unknown",
                hint="Give at least one sample: adapt(pool[choose(pool)], latency_ms).",
            )
        if self._fitted is None:
            places, draws = self._places(self._archs), self._hypotheses()
            scale = float(np.median(self._ms / places.level))
            covariance = mixture.kernels(places, places, self._genes)
            step = _step_ms(self._ms) / scale
            found = mixture.weigh(covariance, places.level, self._ms / scale, places.mean, draws, step=step)
            self._fitted = mixture.collapse(found, draws, places.mean, scale, step=step), places
        return self._fitted


def _step_ms(ms: Floats) -> float:
    """The largest power of ten that all of at least five latencies are multiples of, down to 1 us; else 0."""
    if len(ms) < _LEAST_ROUNDED:
        return 0.0
    steps = [10.0**power for power in (2, 1, 0, -1, -2, -3)]
    rounded = (step for step in steps if np.allclose(ms / step, np.round(ms / step), rtol=0.0, atol=1e-6))
    return next(rounded, 0.0)


def _positive(values: Floats) -> Floats:
    """The same values, and below `_BEND` a curve that stays positive and keeps their order."""
    return np.asarray(np.where(values < _BEND, _BEND * np.exp(np.minimum(values / _BEND, 1.0) - 1.0), values))


def _count(value: Any, name: str, *, least: int) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise UsageError(f"{name} must be an integer of at least {least}, got {value!r}", hint=f"Give {name}={least}.")
    return int(value)

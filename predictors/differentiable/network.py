"""A cost of one device, learned from measured architectures: for spaces that are too large for a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import InvalidTable
from predictors import intervals
from predictors.architectures import Learned, LearnedFromArchitectures
from predictors.differentiable import _features, _files, _main_effects, _training
from predictors.differentiable._descent import Batch
from predictors.differentiable.protocol import Archs, Floats, check_choices, check_values, floor_of
from predictors.differentiable.surface import Surface, above_zero
from predictors.genes import checked
from predictors.prediction import Prediction, check_missing
from predictors.sealed import heard, said

if TYPE_CHECKING:
    from torch import Tensor

#: 1: first (2026-11). 2: digests of both files (2026-11).
SCHEMA = "hwnas.network-cost/2"
_FORM = _files.kind(SCHEMA, "hwnas.network-cost/1")
#: Fewest distinct architectures that anything is learned from.
LEAST_ROWS = 20
#: Shares of the distinct architectures that stop the training and that calibrate the interval, and the most of each.
HELD_SHARE = 0.15
MOST_HELD = 2000
#: Where the cost bends away from 0, as a share of the least value that is believed.
SOFT_SHARE = 0.1
#: Powers of the value that the error of the main effects is taken relative to; the held-out rows choose.
POWERS = (1.0, 0.5, 0.0)
#: Decay of weights where cells are known: there are many facts, and most are of few architectures.
DECAY_OF_CELLS = 0.6
_BATCH = 256


@dataclass(frozen=True)
class NetworkCost(LearnedFromArchitectures):
    """Main effects by ridge regression, and a small network on what they leave; a `DifferentiableCost`.

    Attributes:
        surface: the function.
        unit: of the cost: `ms`, `mJ` or `bytes`.
        linear_error: mean relative error of the main effects alone on architectures that neither the fit nor the
            choice to keep the network has seen, a fraction.
        error: the same of what is used.
        half_width: relative half-width of the 90 % interval, from the same architectures; None with fewer than 9.
        trained_on: number of rows that were fitted.
        target: name of the target, or None if nobody said.
        space: spec of the space, or None if nobody said.
    """

    surface: Surface
    unit: str
    linear_error: float
    error: float
    half_width: float | None
    trained_on: int
    target: str | None = None
    space: str | None = None

    @property
    def card(self) -> Learned:
        """What it says of itself."""
        return Learned("network-cost", self.unit, self.choices, self.target, self.space)

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.surface.choices

    @property
    def has_network(self) -> bool:
        """False if the network did not help on held-out architectures: then the cost is its main effects alone."""
        return self.surface.network is not None

    @staticmethod
    def fit(
        choices: Sequence[int],
        archs: Archs,
        values: Floats,
        *,
        unit: str = "ms",
        seed: int = 0,
        hidden: int = 64,
        steps: int = 6000,
        give_up: float = np.inf,
        wiring: _features.Wiring = (),
        target: str | None = None,
        space: str | None = None,
    ) -> NetworkCost:
        """Learn from measured architectures.

        70 % of the distinct architectures are fitted, 15 % (at most 2,000) stop the training and decide whether the
        network is kept, 15 % (at most 2,000) calibrate the interval. Equal seeds on equal machines give equal costs.

        Args:
            choices: options per gene, `(d,)`.
            archs: `(n, d)`, genes count from 0; at least 20 distinct rows.
            values: `(n,)`, positive and finite, in `unit`. Errors are relative, of no less than 0.3 times the 5th
                percentile: lesser entries are taken for errors of measurement and do not count for more.
            unit: of the values.
            seed: of the split, the weights and the batches.
            hidden: units of each of the two hidden layers.
            steps: most steps of training, of 256 rows each.
            give_up: mean relative error on held-out rows above which nothing is hoped for after 500 steps.
            wiring: for each kind of cell its nodes, each two places, each the gene of the state that is read and that
                of the operator: the cost is learned from what cells are made of, not from single genes.
            target: name of the target that was measured, if a search is to hold it against its own.
            space: spec of the space, likewise.

        Raises:
            UsageError: a gene is outside of the space, or the wiring is not of its genes.
            InvalidTable: a value is not positive and finite, all are equal, or there are too few rows.
        """
        choices = check_choices(choices)
        archs, features = checked(archs, choices), _features.of(choices, wiring)
        values = check_values(values, len(archs), "values")
        distinct, group = np.unique(archs, axis=0, return_inverse=True)
        if len(distinct) < LEAST_ROWS:
            raise InvalidTable(
                f"a learned cost needs at least {LEAST_ROWS} distinct architectures, got {len(distinct)}",
                hint="Measure more architectures of the space.",
            )
        if np.ptp(values) <= 1e-9 * values.max():
            raise InvalidTable(
                f"all {len(values)} values are {values[0]}: a constant table teaches nothing",
                hint="Check the column and its unit.",
            )
        held = min(max(int(HELD_SHARE * len(distinct)), 3), MOST_HELD)
        part = np.zeros(len(distinct), dtype=np.int64)
        order = np.random.default_rng(seed).permutation(len(distinct))
        part[order[:held]], part[order[held : 2 * held]] = 1, 2
        fitted, stopping, unseen = (np.flatnonzero(part[group.reshape(-1)] == which) for which in range(3))
        floor = floor_of(values[fitted])
        anchors, pairs = np.zeros((0, len(choices)), dtype=np.int64), np.zeros(0)
        surfaces = [
            Surface(
                choices,
                _main_effects.fit(features, archs[fitted], values[fitted], floor, power),
                SOFT_SHARE * floor,
                anchors,
                pairs,
                wiring=wiring,
            )
            for power in POWERS
        ]
        surface = min(surfaces, key=lambda tried: _error(tried.predict(archs[stopping]), values[stopping], floor))
        linear_error = _error(surface.predict(archs[unseen]), values[unseen], floor)
        surface = _with_network(surface, archs, values, (fitted, stopping), floor, hidden, steps, seed, give_up)
        found = surface.predict(archs[unseen])
        width = intervals.relative_half_width(np.abs(values[unseen] - found) / found)
        error = _error(found, values[unseen], floor)
        return NetworkCost(surface, unit, linear_error, error, width, len(fitted), target, space)

    def predict(self, archs: Archs, *, missing: str = "guess") -> Prediction:
        """Cost of `(n, d)` architectures, with the 90 % interval where there is one; nothing is ever `missing`.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """
        check_missing(missing)
        value = self.surface.predict(archs)
        low = high = None
        if self.half_width is not None:
            low, high = value * max(1.0 - self.half_width, 0.0), value * (1.0 + self.half_width)
        return Prediction(value, low, high, self.unit, np.ones(len(value)), ((),) * len(value))

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Cost of `(..., options)` for each gene: `(...)`, in `unit`; see `DifferentiableCost`.

        Raises:
            UsageError: the number of genes or of their options is another.
        """
        return self.surface(probabilities)

    def differentiable(self) -> NetworkCost:
        """Itself."""
        return self

    def save(self, folder: str | Path) -> None:
        """Write `cost.json` and `cost.safetensors` into a folder, which is made if it is not there."""
        facts, tensors = self.to_tensors()
        _files.write(Path(folder), _FORM, facts, tensors)

    def to_tensors(self) -> tuple[_files.Facts, _files.Tensors]:
        """The cost as JSON-ready facts and arrays."""
        facts: dict[str, Any] = {
            "unit": self.unit,
            "linear_error": self.linear_error,
            "error": self.error,
            "half_width": self.half_width,
            "trained_on": self.trained_on,
            **said(self.target, self.space),
        }
        own, tensors = _files.of_surface(self.surface)
        return facts | own, tensors

    @staticmethod
    def load(folder: str | Path) -> NetworkCost:
        """Read what `save` wrote.

        Raises:
            SchemaMismatch: there is none, it is damaged, or it is of another schema.
        """
        with _files.reading(Path(folder), _FORM) as (facts, tensors):
            return NetworkCost.of_tensors(facts, tensors)

    @staticmethod
    def of_tensors(facts: _files.Facts, tensors: _files.Tensors) -> NetworkCost:
        """Read what `to_tensors` made.

        Raises:
            ValueError: the data make no cost.
            LookupError: something is missing.
        """
        return NetworkCost(
            _files.to_surface(facts, tensors),
            _files.text(facts, "unit"),
            _files.number(facts, "linear_error"),
            _files.number(facts, "error"),
            None if facts["half_width"] is None else _files.number(facts, "half_width"),
            int(_files.number(facts, "trained_on")),
            **heard(facts),
        )


def _error(found: Floats, values: Floats, floor: float) -> float:
    return float(np.mean(np.abs(found - values) / np.maximum(values, floor)))


def _with_network(
    surface: Surface,
    archs: Archs,
    values: Floats,
    parts: tuple[Archs, Archs],
    floor: float,
    hidden: int,
    steps: int,
    seed: int,
    give_up: float,
) -> Surface:
    """The surface with a network on its residuals, or as it is if that does not help on the held-out rows."""
    import torch

    fitted, stopping = parts
    features = surface.features
    rows = features.rows(archs)
    plain = surface.linear(archs)
    residual = values - plain
    spread = float(residual[fitted].std())
    if spread <= 1e-9 * values.mean():
        return surface
    target = (residual / spread).astype(np.float32)
    inverse = 1.0 / np.maximum(values, floor)
    weight = (inverse / inverse[fitted].mean()).astype(np.float32)
    held, base, none = (
        torch.from_numpy(rows[stopping]),
        torch.from_numpy(plain[stopping]),
        torch.zeros(len(stopping), 0),
    )
    beside = np.zeros((min(_BATCH, len(fitted)), 0), dtype=np.float32)

    def draw(rng: np.random.Generator) -> Batch:
        index = rng.choice(fitted, len(beside))
        return Batch(rows[index], beside, target[index], weight[index])

    def score(parameters: list[Tensor]) -> float:
        deep = _training.raw(parameters, held, none).double()
        found = above_zero(base + spread * deep, surface.softness).numpy()
        return _error(found, values[stopping], floor)

    start = _error(surface.predict(archs[stopping]), values[stopping], floor)
    learned = _training.train(
        (features.size, 0, hidden),
        features.each,
        draw,
        score,
        start=start,
        steps=steps,
        seed=seed,
        give_up=give_up,
        decay=DECAY_OF_CELLS if surface.wiring else _training.DECAY,
    )
    if learned.error > (1 - _training.LEAST_GAIN) * start:
        return surface
    return replace(surface, network=learned.network, spread=spread)

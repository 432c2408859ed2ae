"""A space of any size, learned from networks that were compiled and predicted one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from device_profiles.profile import Target
from predictors import intervals
from predictors.blocks.study import Study
from predictors.blocks.table import GUESSED
from predictors.differentiable._features import Wiring
from predictors.differentiable.network import NetworkCost
from predictors.encodings import _files
from predictors.encodings.protocol import MOST_MEDIAN, MOST_WORST, Archs, Fidelity, Progress, SearchedSpace, widened
from predictors.encodings.tallied import Tallied, TallyingSpace
from predictors.encodings.walked import Walked
from predictors.graphs.protocol import GraphPredictor
from predictors.network import NetworkModel
from predictors.prediction import Prediction
from predictors.sealed import check_numbers
from profiler.catalogue import compile_all

#: Networks that are learned from, and that it is held against.
TAUGHT, HELD = 1_200, 60
#: It serves in place of walking where it is near, or deviates by no more than so many times as much as walking does: it
#: is a thousand times faster.
MOST_TIMES = 2.0
#: Its training is given up where it is so many times as far off as it may be: all further steps take off half or two
#: thirds (`nsganet-macro`: 2.0 to .8 %), and where walking serves they are 60 and 11 times as far off.
HOPELESS = 4.0


@dataclass(frozen=True)
class Distilled:
    """A learned cost of architectures.

    Its interval is that of the graph predictor and its own error on networks left out, one after the other.

    Attributes:
        cost: what was learned.
        half_width: relative half-width of the 90 % interval; None where graphs have none.
        coverage: mean share that stands on what was measured.
    """

    kind: ClassVar[str] = "distilled"
    file: ClassVar[str] = "distilled.safetensors"

    cost: NetworkCost
    half_width: float | None
    coverage: float

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.cost.choices

    @staticmethod
    def fit(
        model: GraphPredictor, space: SearchedSpace, target: Target, unit: str, why: str, *, progress: Progress
    ) -> tuple[Distilled, Fidelity]:
        """Compile and predict random networks, and learn from them."""
        archs = space.sample(TAUGHT + HELD, np.random.default_rng([0, 4]))
        assemblies = [space.assembly(arch) for arch in archs]
        graphs = compile_all(assemblies, target, progress=progress)
        taught = model.predict_catalogue(graphs)
        rows = slice(0, max(len(archs) - HELD, 1))
        cost = NetworkCost.fit(space.choices, archs[rows], taught.value[rows], unit=unit, wiring=wiring_of(space))
        held = archs[rows.stop :]
        told = cost.predict(held).value
        fidelity = Fidelity.of(Distilled.kind, rows.stop, told, taught.value[rows.stop :], why)
        return Distilled(cost, _width(taught, cost.half_width), float(taught.coverage.mean())), fidelity

    @staticmethod
    def of_blocks(
        model: NetworkModel, space: SearchedSpace, study: Study, unit: str, why: str
    ) -> tuple[Distilled | Tallied | Walked, Fidelity]:
        """Learn what blocks cost, and from networks that were walked block by block what architectures do.

        Returns:
            What was learned of architectures; where that is much worse, what parts of networks cost, if the space says
            which these are and they tell it; else how to walk networks.
        """
        walked, walking, alone = Walked.fit(model, space, study, why)
        rows, walks = study.taught, walked.walks
        sure = widened(walks.predict(walks.walk(study.walked), model), walked.error)
        archs, values = np.concatenate([study.archs[:rows], study.more]), np.concatenate([alone[:rows], sure.value])
        cost = NetworkCost.fit(
            space.choices,
            archs,
            values,
            unit=unit,
            give_up=HOPELESS * max(MOST_MEDIAN, MOST_TIMES * walking.median),
            wiring=wiring_of(space),
        )

        def held(kind: str, learned: NetworkCost | Tallied) -> tuple[Fidelity, float | None]:
            """How far what was learned is off on networks that it has not seen, and how wide its intervals are."""
            told = learned.predict(study.archs[rows:]).value
            own = intervals.relative_half_width(np.abs(told / alone[rows:] - 1.0))
            return Fidelity.of(kind, rows, told, alone[rows:], why), _width(sure, own)

        coverage = float(sure.coverage.mean())
        fidelity, width = held(Distilled.kind, cost)
        if _serves(fidelity, walking):
            return Distilled(cost, width, coverage), fidelity
        if isinstance(space, TallyingSpace):
            known = np.array([True] * rows + [GUESSED not in keys for keys in sure.missing])  # guesses teach nothing
            parts = Tallied.fit(space, archs[known], values[known], unit)
            fidelity, width = held(Tallied.kind, parts)
            if _serves(fidelity, walking):
                return replace(parts, half_width=width, coverage=coverage), fidelity
        return walked, walking

    def predict(self, archs: Archs) -> Prediction:
        """Predictions of `(n, d)` architectures."""
        found = self.cost.predict(archs)
        low, high = intervals.around(found.value, self.half_width, np.zeros_like(found.value))
        return replace(found, low=low, high=high, coverage=np.full(len(found.value), self.coverage))

    def differentiable(self) -> NetworkCost:
        """The expected cost under independent choices."""
        return self.cost

    def save(self, folder: Path) -> None:
        """Write `distilled.safetensors`."""
        cost, tensors = self.cost.to_tensors()
        facts = {"cost": cost, "half_width": self.half_width, "coverage": self.coverage}
        _files.write(folder / self.file, tensors, facts)

    @classmethod
    def load(cls, folder: Path, choices: tuple[int, ...], model: GraphPredictor, unit: str) -> Distilled:
        """Read `distilled.safetensors`."""
        tensors, facts = _files.read(folder / cls.file)
        cost = NetworkCost.of_tensors(facts["cost"], tensors)
        if cost.choices != choices or cost.unit != unit:
            raise ValueError(f"it costs {cost.choices} in {cost.unit}, the card says {choices} in {unit}")
        width, coverage = facts["half_width"], facts["coverage"]
        check_numbers("half_width and coverage", (0.0 if width is None else width, coverage), 2, least=0.0)
        if coverage > 1:
            raise ValueError(f"coverage must be in 0..1, got {coverage}")
        return Distilled(cost, None if width is None else float(width), float(coverage))


def _serves(fidelity: Fidelity, walking: Fidelity) -> bool:
    """Whether what was learned is near enough to be used in place of walking."""
    near = fidelity.median <= MOST_MEDIAN and fidelity.worst <= MOST_WORST
    return near or fidelity.median <= MOST_TIMES * walking.median


def wiring_of(space: SearchedSpace) -> Wiring:
    """How the genes of a space wire its cells, where it says so; see `NetworkCost.fit`."""
    found: Wiring = getattr(space, "wiring", ())
    return found


def _width(told: Prediction, own: float | None) -> float | None:
    """Half-width of the predictions that were learned from and of one's own error, one after the other."""
    if told.high is None or own is None:
        return None
    return (1.0 + float(np.median(told.high / told.value - 1.0))) * (1.0 + own) - 1.0

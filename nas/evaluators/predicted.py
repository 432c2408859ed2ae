"""What a predictor believes: `latency:DIR`, `energy:DIR`, `memory:DIR`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import predictors
from device_profiles.errors import ConditionMismatch, UsageError
from nas.arrays import Archs
from nas.evaluators.protocol import Context, Traits, digest
from nas.objectives import Objective, Values
from predictors import searched
from predictors.architectures import EncodingPredictor
from predictors.loading import place_of

_COSTS = ("latency", "energy", "memory")


@dataclass(frozen=True)
class Predicted:
    """A predictor's folder as an objective."""

    objective: Objective
    predictor: EncodingPredictor
    identity: str
    free: bool = True
    traits: ClassVar[Traits] = Traits(batched=True, instant=True)

    def evaluate(self, archs: Archs) -> Values:
        """Predictions with their 90 % intervals and their coverage."""
        prediction = self.predictor.predict(archs)
        return Values(prediction.value, prediction.low, prediction.high, prediction.coverage)


class PredictedKind:
    """A cost and the folder of its predictor."""

    forms = "latency:DIR · energy:DIR · memory:DIR"
    settings = ()

    def claims(self, spec: str) -> bool:
        """A cost with a folder, but not `:measured`."""
        cost, colon, rest = spec.partition(":")
        return cost in _COSTS and colon == ":" and rest != "measured"

    def default_name(self, spec: str) -> str:
        """The cost."""
        return spec.partition(":")[0]

    def open(self, name: str, spec: str, context: Context) -> Predicted:
        """Load the predictor and check that it speaks of this space, cost and target.

        One that does not say of which space it speaks must have its genes; one that does not say of which target,
        serves where none is given.

        Raises:
            ConditionMismatch: it was fitted on another target or for another space.
            UsageError: it predicts another cost.
        """
        cost, _, folder = spec.partition(":")
        predictor = predictors.load(Path(folder), features=getattr(context.space, "features", None))
        card = predictor.card
        if card.cost != cost:
            raise UsageError(f"{folder} predicts {card.cost}, not {cost}", hint=f"Write {card.cost}:{folder}.")
        stated = card.space is not None or card.choices is None
        if stated and card.space != context.space.spec:
            raise ConditionMismatch(
                f"the predictor in {folder} speaks of another space",
                expected={"space": card.space},
                got={"space": context.space.spec},
                hint="Fit one with --space " + context.space.spec,
            )
        if card.choices != context.space.choices:
            raise ConditionMismatch(
                f"the predictor in {folder} speaks of another version of {card.space or 'the space'}",
                expected={"choices": card.choices},
                got={"choices": context.space.choices},
                hint="Fit it again for " + context.space.spec,
            )
        searched.remember(context.space.spec, context.space)
        if context.target is not None:
            predictor.require_target(context.target.name)
        return Predicted(Objective(name, card.unit, False, "predicted", spec), predictor, digest(place_of(folder)))


EVALUATOR = PredictedKind()

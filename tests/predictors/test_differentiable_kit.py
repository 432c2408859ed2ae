"""The kit for differentiable costs: what it lets pass, and what each of its rules finds."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from device_profiles.errors import UsageError
from predictors.encoding import CostTable
from predictors.prediction import Prediction
from predictors.testing.costs import check_differentiable_cost

RNG = np.random.default_rng(0)
TABLES = {
    "one part": CostTable((3, 2, 4), ((0, 1, 2),), (RNG.uniform(1, 3, (3, 2, 4)),)),
    "a chain": CostTable((3, 2, 4), ((0, 1), (1, 2)), (RNG.uniform(1, 3, (3, 2)), RNG.uniform(1, 3, (2, 4)))),
    "a gene without a choice": CostTable((3, 1), ((0, 1),), (np.array([[1.0], [2.0], [5.0]]),)),
    "a gene without effect": CostTable((3, 2), ((0,),), (np.array([1.0, 2.0, 5.0]),)),
    "far from 1": CostTable((3, 2), ((0, 1),), (RNG.uniform(1, 3, (3, 2)) * 1e-6,)),
}
TABLE = TABLES["a chain"]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("seed", [0, 1])
def test_tables_conform(table, seed):
    check_differentiable_cost(table.differentiable(), table.predict, seed=seed)


def test_the_discrete_prediction_may_come_with_its_interval():
    def predict(archs):
        value = TABLE.predict(archs)
        return Prediction(value, None, None, "ms", np.ones(len(value)), ((),) * len(value))

    check_differentiable_cost(TABLE.differentiable(), predict)


class Sound:
    """A cost that conforms, of which the broken ones are made."""

    choices = TABLE.choices

    def __call__(self, probabilities):
        return TABLE.differentiable()(probabilities)


class ListsChoices(Sound):
    @property
    def choices(self):
        return list(TABLE.choices)


class IsOffAtCorners(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities) * 1.0002


class IsOffInSinglePrecision(Sound):
    def __call__(self, probabilities):
        found = super().__call__(probabilities)
        return found * (1.0002 if found.dtype == torch.float32 else 1)


class ReturnsDoubles(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities).double()


class ReturnsNumbers(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities).detach().numpy()


class AveragesTheBatch(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities).mean()


class KeepsADimension(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities)[..., None]


class ListensToOthers(Sound):
    """The same at corners: what it adds is 0 there."""

    def __call__(self, probabilities):
        return super().__call__(probabilities) + (probabilities[0] * (1 - probabilities[0])).sum()


class IsNegativeInside(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities) - 100 * (probabilities[0] * (1 - probabilities[0])).sum(dim=-1)


class IsNotANumberInside(Sound):
    def __call__(self, probabilities):
        return (
            super().__call__(probabilities)
            + 0 * (probabilities[0].max(dim=-1).values - 1).clamp(max=0).mul(1e30).exp().log()
        )


class IsDetached(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities).detach()


class HardensAGene(Sound):
    def __call__(self, probabilities):
        first = torch.nn.functional.one_hot(probabilities[0].argmax(dim=-1), 3).to(probabilities[0].dtype)
        return super().__call__([first, *probabilities[1:]])


class SmugglesAGradient(Sound):
    """Straight through: the value of a hard choice, the gradient of a soft one."""

    def __call__(self, probabilities):
        first = probabilities[0]
        hard = torch.nn.functional.one_hot(first.argmax(dim=-1), 3).to(first.dtype)
        return super().__call__([hard + first - first.detach(), *probabilities[1:]])


class AnswersFewerGenes(Sound):
    def __call__(self, probabilities):
        missing = [torch.full((n,), 1 / n, dtype=torch.float64) for n in self.choices[len(probabilities) :]]
        return super().__call__([*probabilities, *missing])


class AnswersMoreGenes(Sound):
    def __call__(self, probabilities):
        return super().__call__(probabilities[:3])


class AnswersMoreOptions(Sound):
    def __call__(self, probabilities):
        if len(probabilities) == len(self.choices):
            probabilities = [p[..., :n] for p, n in zip(probabilities, self.choices, strict=True)]
        return super().__call__(probabilities)


class RefusesWithAnotherError(Sound):
    def __call__(self, probabilities):
        try:
            return super().__call__(probabilities)
        except UsageError as error:
            raise ValueError(str(error)) from error


BROKEN = {
    ListsChoices: "choices: .*tuple",
    IsOffAtCorners: "one-hot: .*float64",
    IsOffInSinglePrecision: "one-hot: .*float32",
    ReturnsDoubles: "one-hot: for torch.float32 it returns torch.float64",
    ReturnsNumbers: "one-hot: it must return a tensor",
    AveragesTheBatch: "one-hot: for leading shape",
    KeepsADimension: "one-hot: for leading shape",
    ListensToOthers: "shapes: a row alone",
    IsNegativeInside: "shapes: .*above 0",
    IsNotANumberInside: "shapes: .*finite",
    IsDetached: "gradient: .*has no gradient",
    HardensAGene: "gradient: gene 0",
    SmugglesAGradient: "gradient: gradcheck",
    AnswersFewerGenes: "refusals: a gene too few",
    AnswersMoreGenes: "refusals: a gene too many",
    AnswersMoreOptions: "refusals: an option too many",
    RefusesWithAnotherError: "refusals: .*raises ValueError",
}


def test_what_the_broken_ones_are_made_of_conforms():
    check_differentiable_cost(Sound(), TABLE.predict)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__)
def test_each_broken_rule_is_found(broken):
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        check_differentiable_cost(broken(), TABLE.predict)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_a_discrete_prediction_that_is_no_cost_is_found(value):
    with pytest.raises(AssertionError, match="discrete: "):
        check_differentiable_cost(Sound(), lambda archs: np.full(len(archs), value))


def test_importing_costs_is_light():
    code = (
        "import sys, predictors.testing.costs, predictors.differentiable as d;"
        "d.NetworkCost, d.ConditionedCost, d.DifferentiableCost;"
        "assert not {'torch', 'scipy', 'sklearn', 'lightgbm', 'safetensors'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

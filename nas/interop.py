"""Spaces and predictors inside of other libraries: an Optuna study, a pymoo problem; one line each.

Example:
    >>> import optuna, nas
    >>> space = nas.spaces.load("nasbench201")
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> study = optuna.create_study()
    >>> study.optimize(nas.interop.optuna_objective(space, lambda archs: archs.sum(axis=1)), n_trials=3)
    >>> len(study.trials)
    3
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import DeviceError, UsageError
from nas.arrays import Archs, Floats
from nas.spaces.product import ProductSpace
from nas.spaces.protocol import Space

#: A predictor, an evaluator, or a function of architectures `(n, d)`.
Cost = Any


def suggest(trial: Any, space: Space) -> Archs:
    """An architecture `(d,)` as an Optuna trial suggests it: each gene is a categorical parameter of its name."""
    if isinstance(space, ProductSpace):
        texts = {gene.name: [str(option) for option in gene.options] for gene in space.genes}
    else:
        texts = {f"gene{at}": [str(option) for option in range(count)] for at, count in enumerate(space.choices)}
    found = [options.index(trial.suggest_categorical(name, options)) for name, options in texts.items()]
    return np.array(found, dtype=np.int64)


def optuna_objective(space: Space, *costs: Cost) -> Callable[[Any], float | tuple[float, ...]]:
    """What `optuna.Study.optimize` takes: costs of the architecture that a trial suggests, lower is better.

    The study needs one direction for each cost. Architectures without a function, and those with a cost that is NaN,
    are failed trials: the study goes on.

    Args:
        space: of the architectures.
        *costs: each a predictor, an evaluator of `nas`, or a function of architectures `(n, d)` that gives `(n,)`.
    """
    asked = [_asked(cost) for cost in _required(costs)]

    def objective(trial: Any) -> float | tuple[float, ...]:
        arch = suggest(trial, space)[None]
        live = bool(space.is_valid(arch)[0])
        found = tuple(float(cost(arch)[0]) if live else float("nan") for cost in asked)
        return found[0] if len(found) == 1 else found

    return objective


def pymoo_problem(space: Space, *costs: Cost) -> Any:
    """A `pymoo.core.problem.Problem` of whole-numbered variables, one a gene, lower is better.

    Architectures without a function have infinite costs. Use operators of integers, see the page.

    Args:
        space: of the architectures.
        *costs: see `optuna_objective`.

    Raises:
        DeviceError: pymoo is not installed.
    """
    try:
        from pymoo.core.problem import Problem
    except ImportError as error:
        raise DeviceError("pymoo is not installed", hint="pip install 'hwnas[pymoo]'") from error
    asked = [_asked(cost) for cost in _required(costs)]

    class SpaceProblem(Problem):  # type: ignore[misc]
        """Costs of architectures."""

        def _evaluate(self, x: NDArray[Any], out: dict[str, Any], *_: Any, **__: Any) -> None:
            archs = np.asarray(x).astype(np.int64)
            live = space.is_valid(archs)
            found = np.full((len(archs), len(asked)), np.inf)
            if live.any():
                found[live] = np.stack([cost(archs[live]) for cost in asked], axis=1)
            out["F"] = np.where(np.isnan(found), np.inf, found)

    return SpaceProblem(n_var=len(space.choices), n_obj=len(asked), xl=0, xu=np.array(space.choices) - 1, vtype=int)


def _required(costs: tuple[Cost, ...]) -> tuple[Cost, ...]:
    if not costs:
        raise UsageError(
            "there is nothing to minimise", hint="Give a predictor, or a function of architectures (n, d)."
        )
    return costs


def _asked(cost: Cost) -> Callable[[Archs], Floats]:
    """Costs `(n,)` of architectures `(n, d)`, lower is better."""
    if hasattr(cost, "predict"):
        return lambda archs: np.asarray(cost.predict(archs).value, dtype=np.float64)
    if hasattr(cost, "evaluate") and hasattr(cost, "objective"):
        return lambda archs: np.asarray(cost.objective.cost(cost.evaluate(archs).value), dtype=np.float64)
    if not callable(cost):
        raise UsageError(
            f"{type(cost).__name__} is no cost", hint="Give a predictor, or a function of architectures (n, d)."
        )
    return lambda archs: np.asarray(cost(archs), dtype=np.float64)

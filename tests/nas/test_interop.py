"""Spaces and predictors inside of Optuna's studies and pymoo's problems."""

import sys

import numpy as np
import pytest

import nas
import predictors
from device_profiles.errors import DeviceError, UsageError

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def total(archs):
    return archs.sum(axis=1)


def test_optuna_searches_a_space_with_one_cost(module_space):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(nas.interop.optuna_objective(module_space, total), n_trials=15)
    assert study.best_value == 0 and study.best_params == {"width": "2", "act": "relu"}


@pytest.mark.slow
def test_optuna_searches_with_a_predictor_and_a_function(module_space, module_latency):
    predictor = predictors.load(module_latency)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(nas.interop.optuna_objective(module_space, predictor, lambda archs: -total(archs)), n_trials=10)
    done = [trial for trial in study.trials if trial.values is not None]
    assert done
    for trial in done:
        arch = module_space.parse(" ".join(f"{gene}={option}" for gene, option in trial.params.items()))
        assert trial.values == [predictor.predict(arch[None]).value[0], -arch.sum()]


def test_pymoo_searches_a_space(module_space, module_latency):
    nsga2 = pytest.importorskip("pymoo.algorithms.moo.nsga2")
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    problem = nas.interop.pymoo_problem(module_space, predictors.load(module_latency), lambda archs: -total(archs))
    operators = {
        "crossover": SBX(vtype=float, repair=RoundingRepair()),
        "mutation": PM(vtype=float, repair=RoundingRepair()),
    }
    algorithm = nsga2.NSGA2(pop_size=12, sampling=IntegerRandomSampling(), **operators)
    found = minimize(problem, algorithm, ("n_gen", 4), seed=1)
    archs = found.X.astype(int)
    assert module_space.is_valid(archs).all() and ((archs >= 0) & (archs < np.array(module_space.choices))).all()
    np.testing.assert_allclose(found.F[:, 0], predictors.load(module_latency).predict(archs).value)
    np.testing.assert_allclose(found.F[:, 1], -archs.sum(axis=1))


def test_what_is_no_network_is_worst_for_pymoo_and_a_failed_trial_for_optuna(small):
    dead = np.zeros((1, 6), dtype=int)
    assert not small.is_valid(dead)[0]
    assert nas.interop.pymoo_problem(small, total).evaluate(dead).tolist() == [[np.inf]]
    study = optuna.create_study()
    study.enqueue_trial(dict.fromkeys((gene.name for gene in small.genes), "none"))
    study.optimize(nas.interop.optuna_objective(small, total), n_trials=1)
    assert study.trials[0].state == optuna.trial.TrialState.FAIL


def test_an_evaluator_is_a_cost_in_its_direction(module_space, tmp_path):
    from nas.evaluators import function

    one = nas.objective("bits", lambda arch: float(arch.sum()), maximise=True)
    spec = function.keep(one).partition("=")[2]
    evaluator = function.EVALUATOR.open("bits", spec, nas.evaluators.Context(module_space, tmp_path, store=None))
    assert nas.interop.pymoo_problem(module_space, evaluator).evaluate(np.array([[2, 1]])).tolist() == [[-3.0]]


@pytest.mark.parametrize("costs", [(), (3,)])
def test_what_is_no_cost_is_refused(module_space, costs):
    for make in (nas.interop.pymoo_problem, nas.interop.optuna_objective):
        with pytest.raises(UsageError):
            make(module_space, *costs)


def test_without_pymoo_it_says_what_to_install(module_space, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymoo.core.problem", None)
    with pytest.raises(DeviceError) as refused:
        nas.interop.pymoo_problem(module_space, total)
    assert "hwnas[pymoo]" in refused.value.hint

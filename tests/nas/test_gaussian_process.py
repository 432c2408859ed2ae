"""Gaussian processes against scikit-learn, their gradients against differences, growing ones against whole ones."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from nas.surrogates import covariances, exact_process
from nas.surrogates.covariances import Kernel, Part
from nas.surrogates.exact_process import Fitted, Posterior

RNG = np.random.default_rng(0)
INPUTS = np.concatenate([RNG.integers(0, 4, size=(60, 3)).astype(float), RNG.normal(size=(60, 2))], axis=1)
TARGETS = np.sin(INPUTS[:, 3]) + (INPUTS[:, 0] == INPUTS[:, 1]) + 0.1 * RNG.normal(size=60)
TARGETS = (TARGETS - TARGETS.mean()) / TARGETS.std()
GENES = Part("product", (0, 1, 2), (False, False, False))
MIXED = Part("product", (0, 3, 4), (False, True, True))
ADDITIVE = Part("additive", (0, 1, 2), (False, False, False))
PAIRS = Part("pairs", (0, 1, 2), (False, False, False))
ALL = Kernel("all", (GENES, MIXED, ADDITIVE, PAIRS))


@pytest.mark.parametrize("part", [GENES, MIXED, ADDITIVE, PAIRS])
def test_covariances_are_what_they_say(part):
    weights = np.array([0.3, 0.8, 0.1])
    kernel = Kernel("one", (part,))
    found = kernel.between(np.log([2.0, *weights]), INPUTS[:5], INPUTS[5:9])
    for i, left in enumerate(INPUTS[:5]):
        for j, right in enumerate(INPUTS[5:9]):
            distance = 0.0
            for column, numeric, weight in zip(part.columns, part.numeric, weights, strict=True):
                gap = (left[column] - right[column]) ** 2 if numeric else float(left[column] != right[column])
                distance += weight * gap
            shape = {
                "product": np.exp(-distance),
                "additive": 1 - distance / weights.sum(),
                "pairs": (1 - distance / weights.sum()) ** 2,
            }[part.form]
            assert found[i, j] == pytest.approx(1.0 + 2.0 * shape)


def test_the_gradient_is_that_of_the_evidence():
    tensors = [covariances.distances(part, INPUTS[:30]) for part in ALL.parts]
    point = np.random.default_rng(1).normal(-1.0, 0.5, size=ALL.size + 1)

    def value(parameters):
        return exact_process._negative_evidence(ALL, parameters, tensors, TARGETS[:30])[0]

    slope = exact_process._negative_evidence(ALL, point, tensors, TARGETS[:30])[1]
    np.testing.assert_allclose(slope, optimize.approx_fprime(point, value, 1e-6), rtol=1e-3, atol=1e-4)


def numeric(noise=0.05, weights=(0.4, 1.5), amplitude=0.7):
    """A process over the two numbers, and scikit-learn's with the same covariance."""
    kernel = Kernel("numbers", (Part("product", (3, 4), (True, True)),))
    fitted = Fitted(kernel, np.log([amplitude, *weights]), noise, 0.0)
    lengths = 1 / np.sqrt(2 * np.array(weights))
    covariance = ConstantKernel(1.0) + ConstantKernel(amplitude) * RBF(lengths) + WhiteKernel(noise)
    return fitted, GaussianProcessRegressor(covariance, optimizer=None)


def test_predictions_are_those_of_scikit_learn():
    fitted, oracle = numeric()
    posterior = Posterior(fitted, INPUTS[40:], 8)
    for rows in (slice(0, 1), slice(1, 25), slice(25, 40)):  # grows beyond its capacity, tell by tell
        posterior.observe(INPUTS[rows])
    oracle.fit(INPUTS[:40, 3:], TARGETS[:40])
    mean, deviation = oracle.predict(INPUTS[40:, 3:], return_std=True)
    np.testing.assert_allclose(posterior.mean(TARGETS[:40]), mean, atol=1e-6)
    np.testing.assert_allclose(posterior.deviation, np.sqrt(deviation**2 - fitted.noise), atol=1e-5)


def test_evidence_and_hyper_parameters_are_those_of_a_better_optimum():
    fitted = exact_process.fit(Kernel("genes and numbers", (GENES, MIXED)), INPUTS, TARGETS)
    start = exact_process.fit(Kernel("genes", (GENES,)), INPUTS, TARGETS)
    assert fitted.evidence > start.evidence + 5  # the numbers matter
    best = exact_process.best([start.kernel, fitted.kernel], INPUTS, TARGETS)
    assert best.kernel == fitted.kernel and best.evidence == fitted.evidence


def test_imagining_is_observing_without_moving_the_mean():
    fitted, _ = numeric()
    posterior = Posterior(fitted, INPUTS[40:], 64)
    posterior.observe(INPUTS[:40])
    some = np.array([3, 5, 8])
    part = posterior.of(some)
    before = part.mean(TARGETS[:40])
    np.testing.assert_allclose(before, posterior.mean(TARGETS[:40])[some])
    part.imagine(1)
    whole = Posterior(fitted, INPUTS[40:][some], 64)
    whole.observe(np.concatenate([INPUTS[:40], INPUTS[45:46]]))
    np.testing.assert_allclose(part.deviation, whole.deviation, atol=1e-7)
    np.testing.assert_allclose(whole.mean(np.append(TARGETS[:40], before[1])), before, atol=1e-6)
    assert len(posterior) == 40 and (posterior.deviation[some] >= part.deviation - 1e-12).all()

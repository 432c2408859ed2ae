"""The smooth surface, against scikit-learn's Gaussian process."""

import warnings

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from predictors import kind_surfaces
from predictors.kind_surfaces import Surface


@pytest.fixture
def sampled():
    rng = np.random.default_rng(0)
    columns = np.column_stack([rng.uniform(0, 6, (60, 3)), np.full(60, 2.0)])
    return columns, np.sin(columns[:, 0]) + 0.1 * columns[:, 1] ** 2 + 0.01 * rng.standard_normal(60)


def oracle(surface, values, noise):
    process = GaussianProcessRegressor(Matern(surface.length, nu=1.5), alpha=noise, optimizer=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return process.fit(surface.points, values)


def test_it_is_the_posterior_mean(sampled):
    columns, values = sampled
    found = Surface.fit(columns, values)
    new = columns + 0.3
    new[:, 3] = 2.0
    same = [
        noise
        for noise in kind_surfaces.NOISES
        if oracle(found, values, noise).predict((new - found.center) / found.scale)
        == pytest.approx(found.predict(new), rel=1e-6, abs=1e-8)
    ]
    assert len(same) == 1


def test_length_and_noise_have_the_least_error_at_points_left_out(sampled):
    columns, values = sampled
    found = Surface.fit(columns, values)

    def error(length, noise):
        wrong = []
        for i in range(len(values)):
            rest = np.arange(len(values)) != i
            process = GaussianProcessRegressor(Matern(length, nu=1.5), alpha=noise, optimizer=None)
            process.fit(found.points[rest], values[rest])
            wrong.append(abs(process.predict(found.points[i : i + 1])[0] - values[i]))
        return np.mean(wrong)

    errors = {
        (length, noise): error(length, noise) for length in kind_surfaces.LENGTHS for noise in kind_surfaces.NOISES
    }
    assert found.length == min(errors, key=errors.get)[0]


def test_far_away_it_says_nothing(sampled):
    columns, values = sampled
    assert Surface.fit(columns, values + 5.0).predict(columns + 1e4) == pytest.approx(np.zeros(60), abs=1e-9)


def test_a_column_that_never_differs_does_not_matter(sampled):
    columns, values = sampled
    found = Surface.fit(columns, values)
    other = columns.copy()
    other[:, 3] = 77.0
    assert found.predict(other).tolist() == found.predict(columns).tolist()

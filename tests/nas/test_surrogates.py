"""Surrogates against scipy, scikit-learn and torch; their choice; and what a search makes of them."""

import itertools

import numpy as np
import pytest

from device_profiles.errors import UnknownName, UsageError
from nas import surrogates
from nas.operators.history import History
from nas.operators.protocol import Problem
from nas.surrogates import choice, columns, design, forecast
from nas.surrogates.assisted import Archive
from nas.surrogates.models import gaussian_process, rbf

NAMES = ("gaussian-process", "mlp", "rbf", "trees")


def standard(values):
    return (values - values.mean()) / values.std()


@pytest.fixture
def points():
    """60 points of 5 columns, a smooth cost with an interaction, and 200 more."""
    rng = np.random.default_rng(0)
    x = rng.random((260, 5))
    y = standard(3 * x[:, 0] - 2 * x[:, 1] + 4 * x[:, 2] * x[:, 3] + 0.05 * rng.standard_normal(260))
    return x[:60], y[:60], x[60:], y[60:]


def test_there_are_four():
    assert surrogates.names() == NAMES
    with pytest.raises(UnknownName):
        surrogates.REGISTRY.get("rbff")


def test_rbf_is_scipys_where_the_tail_is_unique(points):
    from scipy.interpolate import RBFInterpolator

    x, y, others, _ = points
    oracle = RBFInterpolator(x, y, kernel="cubic", degree=1, smoothing=rbf.SMOOTHING)
    assert rbf.fit(x, y, np.random.default_rng(0)).predict(others) == pytest.approx(oracle(others), abs=1e-8)


def test_rbf_takes_fewer_points_than_columns_and_columns_that_depend_on_each_other():
    rng = np.random.default_rng(0)
    genes = rng.integers(0, 4, size=(20, 8))
    x = columns.Columns.of(Problem((4,) * 8, 1)).encode(genes)
    assert x.shape == (20, 32)
    y = standard((genes == 1).sum(axis=1).astype(float))
    assert np.corrcoef(rbf.fit(x, y, rng).predict(x), y)[0, 1] > 0.95


def test_the_gaussian_process_is_scikit_learns_at_its_best_on_the_grid(points):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    x, y, others, _ = points
    ours = gaussian_process.fit(x, y, np.random.default_rng(0))
    unit = np.median(np.linalg.norm(x[:, None] - x, axis=2)[np.triu_indices(60, 1)])
    found = []
    for length, noise in itertools.product(gaussian_process.LENGTHS, gaussian_process.NOISES):
        covariance = Matern(length * unit, nu=2.5)(x) + noise * np.eye(60)
        signal = float(y @ np.linalg.solve(covariance, y)) / 60
        kernel = ConstantKernel(signal) * Matern(length * unit, nu=2.5)
        oracle = GaussianProcessRegressor(kernel, alpha=signal * noise, optimizer=None).fit(x, y)
        found.append((oracle.log_marginal_likelihood_value_, noise, oracle))
    evidence, noise, oracle = max(found, key=lambda one: one[0])
    assert (ours.score, ours.noise) == (pytest.approx(evidence, abs=1e-6), noise)
    assert ours.predict(others) == pytest.approx(oracle.predict(others), abs=1e-6)


@pytest.mark.parametrize(("name", "least"), [("gaussian-process", 0.95), ("rbf", 0.95), ("mlp", 0.8), ("trees", 0.6)])
def test_each_learns_an_interaction_of_few_points(name, least, points):
    x, y, others, wanted = points
    predicted = choice.fit(name, x, y, np.random.default_rng(0)).predict(others)
    assert 1 - np.mean((predicted - wanted) ** 2) / np.var(wanted) > least


def test_trees_learn_as_much_as_scikit_learns(points):
    from sklearn.ensemble import RandomForestRegressor

    x, y, others, wanted = points
    oracle = RandomForestRegressor(100, max_features=0.5, random_state=0).fit(x, y).predict(others)
    ours = choice.fit("trees", x, y, np.random.default_rng(0)).predict(others)
    assert np.mean((ours - wanted) ** 2) < 1.15 * np.mean((oracle - wanted) ** 2)


@pytest.mark.parametrize("name", NAMES)
def test_randomness_is_what_is_passed_in(name, points):
    x, y, others, _ = points
    first, again = (choice.fit(name, x, y, np.random.default_rng(3)).predict(others) for _ in range(2))
    assert (first == again).all()
    other = choice.fit(name, x, y, np.random.default_rng(4)).predict(others)
    assert (first == other).all() == (name in {"gaussian-process", "rbf"})


@pytest.mark.parametrize("name", NAMES)
def test_only_the_order_of_costs_counts(name, points):
    x, y, others, _ = points
    plain = choice.fit(name, x, y, np.random.default_rng(0)).predict(others)
    bent = choice.fit(name, x, np.exp(4 * y), np.random.default_rng(0)).predict(others)
    assert (np.argsort(plain, kind="stable") == np.argsort(bent, kind="stable")).mean() > 0.95
    assert np.corrcoef(np.argsort(np.argsort(plain)), np.argsort(np.argsort(bent)))[0, 1] > 0.9999


def test_predictions_are_in_the_costs_own_unit_and_go_beyond_them():
    x = np.linspace(0, 1, 41)[:, None]
    model = choice.fit("rbf", x, 1000 + 50 * x[:, 0], np.random.default_rng(0))
    assert model.predict(np.array([[0.5], [0.25]])) == pytest.approx([1025.0, 1012.5], abs=1.0)
    below, above = model.predict(np.array([[-0.4], [1.4]]))
    assert 960 < below < 1000
    assert 1050 < above < 1090


def test_equal_rows_are_one_with_their_mean():
    x = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [4.0]])
    model = choice.fit("rbf", x, np.array([0.0, 1.0, 2.0, 3.0, 3.0, 5.0]), np.random.default_rng(0))
    assert len(model.costs) == 5
    assert model.costs.max() == 4.0


@pytest.mark.parametrize(("x", "y"), [(np.ones((9, 2)), np.arange(9.0)), (np.arange(9.0)[:, None], np.full(9, 4.0))])
@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_told_apart_has_the_mean(name, x, y):
    assert choice.fit(name, x, y, np.random.default_rng(0)).predict(x[:3]) == pytest.approx(np.full(3, 4.0))


class Half:
    """Right about some rows, in the order given by `truth`."""

    def __init__(self, noise, rng):
        self.noise, self.rng = noise, rng

    def predict(self, x):
        return x[:, 0] + self.noise * self.rng.standard_normal(len(x))


def test_the_score_is_kendalls_tau_over_folds(monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.permutation(40).astype(float)[:, None]
    seen = []

    class Watched(Half):
        def predict(self, rows):
            found = super().predict(rows)
            seen.append((rows[:, 0], found))
            return found

    monkeypatch.setitem(surrogates.REGISTRY._registered, "noisy", lambda x, y, rng: Watched(1.0, rng))
    (score,) = choice.scores(x, x[:, 0], rng, names=("noisy",), folds=4)
    taus = []
    for truth, found in seen:
        pairs = list(itertools.combinations(range(len(truth)), 2))
        taus.append(np.mean([np.sign(truth[a] - truth[b]) * np.sign(found[a] - found[b]) for a, b in pairs]))
    assert [len(truth) for truth, _ in seen] == [10] * 4
    assert sorted(np.concatenate([truth for truth, _ in seen])) == list(range(40))
    assert (score.mean, score.deviation) == (pytest.approx(np.mean(taus)), pytest.approx(np.std(taus)))
    assert score.value == pytest.approx(np.mean(taus) - np.std(taus))


def test_the_best_ranking_is_chosen(monkeypatch):
    for name, noise in (("blind", 100.0), ("good", 0.1), ("fair", 3.0)):
        monkeypatch.setitem(surrogates.REGISTRY._registered, name, lambda x, y, rng, n=noise: Half(n, rng))
    x = np.random.default_rng(0).permutation(60).astype(float)[:, None]
    for order in itertools.permutations(("blind", "good", "fair")):
        assert choice.choose(x, x[:, 0], np.random.default_rng(0), names=order) == "good"


def test_smooth_costs_choose_smooth_surrogates_and_steps_choose_trees():
    rng = np.random.default_rng(0)
    x = rng.random((100, 6))
    smooth = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] - x[:, 3]
    assert choice.choose(x, smooth, rng, names=NAMES) in {"gaussian-process", "mlp", "rbf"}
    x = rng.random((100, 30))
    steps = (x[:, 0] > 0.5) * 4.0 + (x[:, 1] > 0.3) * 2.0 + 0.01 * rng.random(100)
    assert choice.choose(x, steps, rng, names=NAMES) == "trees"


def test_categories_are_equally_far_apart_and_orders_are_lines():
    problem = Problem((4, 5, 2, 1), 1, ordered=(False, True, False, True))
    archs = np.stack(np.unravel_index(np.arange(40), problem.choices), axis=1)
    x = columns.Columns.of(problem).encode(archs)
    assert x.shape == (40, 4 + 1 + 1)
    squared = ((x[:, None] - x) ** 2).sum(axis=2)
    differ = archs[:, None] != archs
    wanted = differ[:, :, 0] + ((archs[:, None, 1] - archs[:, 1]) / 4) ** 2 + differ[:, :, 2]
    assert squared == pytest.approx(wanted)


def test_features_are_standardised_beside_the_genes():
    problem = Problem((5,) * 4, 1, features=lambda archs: np.stack([1e6 * archs[:, 0], np.ones(len(archs))], axis=1))
    archs = np.stack(np.unravel_index(np.arange(625), problem.choices), axis=1)
    x = columns.Columns.of(problem).encode(archs)
    assert x.shape == (625, 22)
    assert x[:, 20].std() == pytest.approx(1.0, abs=0.15)
    assert (x[:, 21] == 0).all()


def test_features_help():
    """A cost that only the feature shows: a parity of genes."""
    rng = np.random.default_rng(0)
    archs = rng.integers(0, 4, size=(300, 6))
    parity = archs.sum(axis=1) % 2 + 0.1 * (archs[:, 0] == 2)
    errors = []
    for features in (None, lambda rows: (rows.sum(axis=1) % 2)[:, None].astype(float)):
        x = columns.Columns.of(Problem((4,) * 6, 1, features=features)).encode(archs)
        model = choice.fit("gaussian-process", x[:80], parity[:80], np.random.default_rng(0))
        errors.append(np.mean((model.predict(x[80:]) - parity[80:]) ** 2))
    assert errors[1] < 0.1 * errors[0]


def test_a_forecast_knows_what_is_known_and_predicts_the_rest():
    rng = np.random.default_rng(0)
    problem = Problem((4,) * 6, 2, known={1: lambda archs: archs.sum(axis=1) * 7.0})
    history = History(problem)
    archs = rng.integers(0, 4, size=(80, 6))
    first = (archs == 2).sum(axis=1) + 0.5 * (archs[:, 0] == 1)
    costs = np.stack([first, np.full(80, -1.0)], axis=1)
    costs[::10] = np.nan
    history.add(archs, costs)
    model = forecast.fit(history, columns.Columns.of(problem), rng, names={0: "gaussian-process"})
    others = rng.integers(0, 4, size=(100, 6))
    predicted = model.costs(others)
    assert (predicted[:, 1] == others.sum(axis=1) * 7.0).all()
    wanted = (others == 2).sum(axis=1) + 0.5 * (others[:, 0] == 1)
    assert np.corrcoef(predicted[:, 0], wanted)[0, 1] > 0.95


def test_failures_and_violations_are_foreseen():
    rng = np.random.default_rng(0)
    problem = Problem((4,) * 6, 1)
    archs, others = rng.integers(0, 4, size=(2, 150, 6))
    for told in ("failures", "violations"):
        history = History(problem)
        amounts = np.maximum((archs == 3).sum(axis=1) - 1.0, 0.0)
        costs = rng.random((150, 1))
        if told == "failures":
            costs[amounts > 0] = np.nan
            history.add(archs, costs)
        else:
            history.add(archs, costs, amounts)
        model = forecast.fit(history, columns.Columns.of(problem), rng, names={0: "gaussian-process"})
        foreseen = model.violations(others) > 0
        assert (foreseen == ((others == 3).sum(axis=1) > 1)).mean() > 0.9
    history = History(problem)
    history.add(archs, costs)
    assert (forecast.fit(history, columns.Columns.of(problem), rng, names={}).violations(others) == 0).all() == (
        told == "violations"
    )


def test_a_design_is_even_and_has_the_ends():
    problem = Problem((5, 4, 3, 7), 1, ordered=(True, False, True, True))
    archs = design.design(problem, 40, np.random.default_rng(0))
    assert len(np.unique(archs, axis=0)) == len(archs) == 40
    assert archs[0, [0, 2, 3]].tolist() == [0, 0, 0]
    assert archs[1, [0, 2, 3]].tolist() == [4, 2, 6]
    for gene, options in enumerate(problem.choices):
        counts = np.bincount(archs[:, gene], minlength=options)
        assert np.ptp(counts) <= 5


def test_a_design_goes_along_known_costs():
    weights = np.array([1.0, 3.0, 9.0, 27.0, 81.0])
    problem = Problem((3,) * 5, 2, known={1: lambda archs: archs @ weights})
    archs = design.design(problem, 20, np.random.default_rng(0))
    costs = np.sort(archs @ weights)
    assert len(archs) == 20
    assert (archs[:2] @ weights).tolist() == [0.0, 242.0]
    assert np.diff(costs).max() < 3 * 242 / 19


def test_a_design_of_a_small_space_is_all_of_it():
    problem = Problem((3, 2), 1, valid=lambda archs: archs[:, 0] > 0, known={0: lambda archs: archs.sum(axis=1) * 1.0})
    assert len(design.design(problem, 40, np.random.default_rng(0))) == 4


def test_successes_after_many_failures_are_enough():
    problem = Problem((4,) * 6, 2)
    archive = Archive(problem, seed=0, number=0, initial=5, surrogates=("rbf", "trees"), folds=3)
    rng = np.random.default_rng(0)
    archive.tell(rng.integers(0, 4, size=(60, 6)), np.full((60, 2), np.nan), None)
    archs = rng.integers(0, 4, size=(10, 6))
    archive.tell(archs, np.stack([archs.sum(axis=1), -archs[:, 0]], axis=1).astype(float), None)
    assert archive.forecast().costs(archs).shape == (10, 2)


@pytest.mark.parametrize("given", [{"initial": 0}, {"folds": 1}, {"surrogates": ()}])
def test_impossible_settings_are_refused(given):
    settings = {"initial": 10, "folds": 3, "surrogates": "rbf,trees", **given}
    with pytest.raises(UsageError, match="surrogate"):
        Archive(Problem((2,), 1), seed=0, number=0, **settings)
    with pytest.raises(UnknownName):
        Archive(Problem((2,), 1), seed=0, number=0, initial=1, folds=2, surrogates="rbf,forest")

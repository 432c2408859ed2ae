"""From kernels to networks: sums, coverage, what is missing, and intervals that tell it."""

import numpy as np
import pytest

from device_profiles.errors import MissingKernel
from predictors import intervals, network
from predictors.composition import Composition
from predictors.models.lightgbm import LightGbm
from predictors.models.linear import Linear
from predictors.models.lookup import Lookup
from predictors.models.protocol import DeviceFacts, KernelSamples
from predictors.models.roofline import Roofline
from predictors.network import NetworkModel
from predictors.samples import NetworkSamples

DEVICE = DeviceFacts(flops_per_s=2e10, bytes_per_s=1e10)


@pytest.fixture
def kernels(kernel_pool):
    """Times that no line gives."""
    ms = 0.1 + np.random.default_rng(0).random(len(kernel_pool))
    return KernelSamples(tuple(kernel_pool), ms, np.ones(len(ms)), DEVICE)


@pytest.fixture
def drawn(kernels, chain):
    """Draws networks of these kernels: `drawn(count, latency)`, of sums and counts in ms."""

    def make(count, latency, seed=0):
        rng = np.random.default_rng(seed)
        rows = [rng.integers(0, len(kernels.cost), rng.integers(3, 30)) for _ in range(count)]
        graphs = tuple(chain([kernels.operators[i] for i in row]) for row in rows)
        sums, counts = np.array([kernels.cost[row].sum() for row in rows]), np.array([len(row) for row in rows])
        blank = (None,) * count
        ms = np.asarray(latency(sums, counts) if count else [])
        return NetworkSamples(tuple(f"n{i}" for i in range(count)), blank, blank, graphs, ms, np.zeros(count))

    return make


@pytest.fixture
def half_known(kernels, chain):
    """A model that knows half of the pool, and two kernels that it does and does not know."""
    known, unknown = kernels.operators[0], kernels.operators[-1]
    model = NetworkModel(Lookup.fit(kernels.take(range(36))), Composition(), half_width=0.05, guess_half_width=0.8)
    return model, known, unknown


def test_a_network_is_the_composition_of_its_kernels(kernels, chain):
    model = NetworkModel(Lookup.fit(kernels), Composition(0.9, 0.01, 0.5))
    rows = [[0, 1, 1], [5], [7, 8, 9, 7]]
    found = model.predict([chain([kernels.operators[i] for i in row]) for row in rows])
    assert found.value == pytest.approx([0.9 * kernels.cost[row].sum() + 0.01 * len(row) + 0.5 for row in rows])
    assert found.coverage.tolist() == [1.0, 1.0, 1.0] and found.missing == ((), (), ())
    assert found.unit == "ms" and found.low is None and found.high is None


def test_coverage_is_the_share_of_time_on_known_kernels(half_known, chain):
    model, known, unknown = half_known
    known_ms, unknown_ms = model.kernels.predict([known, unknown]).cost
    found = model.predict([chain([known]), chain([known, unknown, unknown]), chain([unknown])])
    assert found.coverage == pytest.approx([1.0, known_ms / (known_ms + 2 * unknown_ms), 0.0])
    assert found.missing == ((), (unknown.key,), (unknown.key,))
    assert (found.value > 0).all()


def test_intervals_widen_with_the_unknown_share(half_known, chain):
    model, known, unknown = half_known
    found = model.predict([chain([known] * (4 - n) + [unknown] * n) for n in range(5)])
    width = (found.high - found.low) / 2 / found.value
    assert width[0] == pytest.approx(0.05) and (np.diff(width) > 0).all()
    assert found.high / found.value - 1 == pytest.approx(0.05 + 0.8 * (1 - found.coverage))


def test_unknown_kernels_are_an_error_where_they_must_not_be_guessed(half_known, chain):
    model, known, unknown = half_known
    with pytest.raises(MissingKernel) as caught:
        model.predict([chain([known]), chain([known, unknown])], missing="raise")
    assert unknown.key in caught.value.message and "1 kernels" in caught.value.message and caught.value.hint
    assert model.predict([chain([known])], missing="raise").coverage.tolist() == [1.0]


def test_many_unknown_kernels_are_counted_and_some_are_named(kernels, chain):
    model = NetworkModel(Lookup.fit(kernels.take(range(10))), Composition())
    with pytest.raises(MissingKernel, match="62 kernels") as caught:
        model.predict([chain(kernels.operators)], missing="raise")
    assert len(caught.value.message) < 1_000


def test_counts_and_graphs_give_the_same(half_known, chain):
    model, known, unknown = half_known
    graphs = model.predict([chain([known, unknown, unknown]), chain([known])])
    counts = model.predict_counts((known, unknown), np.array([[1.0, 2.0], [1.0, 0.0]]))
    assert counts.value == pytest.approx(graphs.value) and counts.coverage == pytest.approx(graphs.coverage)
    assert counts.missing == graphs.missing


def test_a_network_without_kernels_costs_the_constant(kernels):
    model = NetworkModel(Lookup.fit(kernels), Composition(0.9, 0.01, 0.5))
    found = model.predict_counts(kernels.operators[:2], np.zeros((1, 2)))
    assert found.value.tolist() == [0.5] and found.coverage.tolist() == [1.0]


def test_nothing_asked_is_nothing_answered(kernels):
    found = NetworkModel(Lookup.fit(kernels), Composition(), half_width=0.1).predict([])
    assert found.value.shape == found.low.shape == found.coverage.shape == (0,) and found.missing == ()


# -- fitting


@pytest.mark.parametrize("make", [Lookup, Linear, LightGbm])
def test_the_composition_is_fitted_on_networks(make, kernels, drawn):
    networks = drawn(30, lambda sums, counts: 0.8 * sums + 0.02 * counts + 0.3)
    model = network.fit(make, kernels, networks)
    assert model.predict(networks.graphs).value == pytest.approx(networks.cost, rel=0.005 if make is Lookup else 0.35)
    assert model.half_width is not None


def test_the_roofline_stays_the_plain_sum(kernels, drawn):
    model = network.fit(Roofline, kernels, drawn(30, lambda sums, counts: 3.0 * sums))
    assert model.composition == Composition()


def test_without_networks_the_sum_is_plain_and_there_is_no_interval(kernels, drawn):
    model = network.fit(Lookup, kernels, drawn(0, None))
    assert model.composition == Composition() and model.half_width is None


@pytest.mark.parametrize(("count", "has"), [(1, False), (8, False), (9, True), (10, True), (11, True)])
def test_nine_networks_make_an_interval(kernels, drawn, count, has):
    model = network.fit(Lookup, kernels, drawn(count, lambda sums, counts: sums))
    assert (model.half_width is not None) == has


def test_intervals_cover_new_networks(kernels, drawn):
    """Over many fits on 20 networks with 5 % noise, 90 % of new ones are inside."""
    covered = []
    for seed in range(40):
        rng = np.random.default_rng([7, seed])
        networks = drawn(60, lambda sums, counts, rng=rng: 0.9 * sums * rng.lognormal(0, 0.05, len(sums)), seed=seed)
        model = network.fit(Lookup, kernels, networks.take(range(20)))
        found = model.predict(networks.graphs[20:])
        covered.append(((found.low <= networks.cost[20:]) & (networks.cost[20:] <= found.high)).mean())
    assert 0.87 < np.mean(covered) < 0.97


def test_a_guess_is_as_wide_as_guesses_were_wrong(kernels, drawn):
    """By hand: each fifth kernel is left out and guessed; the interval holds nine tenths of the errors."""
    errors = []
    for fold in range(5):
        held = [i for i in range(72) if i % 5 == fold]
        guess = Lookup.fit(kernels.take([i for i in range(72) if i % 5 != fold])).predict(
            [kernels.operators[i] for i in held]
        )
        errors.extend(np.abs(kernels.cost[held] - guess.cost) / guess.cost)
    model = network.fit(Lookup, kernels, drawn(0, None))
    assert model.guess_half_width == pytest.approx(intervals.relative_half_width(np.array(errors)))


def test_a_guess_is_never_taken_for_sure(kernels, drawn):
    from predictors.testing import samples

    assert network.fit(Linear, samples(), drawn(0, None)).guess_half_width == 0.1
    assert network.fit(Lookup, kernels.take(range(11)), drawn(0, None)).guess_half_width == 1.0

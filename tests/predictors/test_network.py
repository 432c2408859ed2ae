"""From kernels to networks: sums, coverage, what is missing, and intervals that tell it."""

from dataclasses import replace

import numpy as np
import pytest

from device_profiles.errors import InvalidTable, MissingKernel, UsageError
from predictors import network
from predictors.composition import Composition
from predictors.models.lightgbm import LightGbm
from predictors.models.linear import Linear
from predictors.models.lookup import Lookup
from predictors.models.protocol import DeviceFacts, KernelSamples
from predictors.models.roofline import Roofline
from predictors.network import NetworkModel
from predictors.samples import NetworkSamples
from predictors.testing import convolution
from predictors.unseen import UnseenErrors
from profiler.catalogue import Catalogue
from profiler.graph_codes import to_wires
from profiler.operators import Operator, Tensor

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
    own = kernels.take(range(36))
    believed = UnseenErrors(frozenset({"Conv"}), same_kind=np.log(1.8), other_kind=np.log(3.0))
    seen = dict.fromkeys((op.key for op in own.operators), 0.0)
    model = NetworkModel(Lookup.fit(own), Composition(), half_width=0.05, unseen_errors=believed, extra=seen)
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
    assert (np.diff(found.high / found.value) > 0).all() and (np.diff(found.low / found.value) < 0).all()
    assert found.high / found.value - 1 == pytest.approx(0.05 + 0.8 * (1 - found.coverage))
    assert found.low / found.value == pytest.approx(0.95 / (1 + 0.8 * (1 - found.coverage)))


def test_kernels_of_other_kinds_are_doubted_more(half_known, chain):
    model, _, unknown = half_known
    image = unknown.outputs[0]
    strange = Operator("", "Softplus", (), (image,), (image,))
    found = model.predict([chain([unknown]), chain([strange])])
    assert found.high / found.value - 1 == pytest.approx([0.05 + 0.8, 0.05 + 2.0])
    shared = replace(model, unseen_errors=replace(model.unseen_errors, shared=0.25)).predict(
        [chain([unknown]), chain([strange])]
    )
    assert shared.high / shared.value - 1 == pytest.approx([0.05 + 0.2, 0.05 + 2.0]), "kernels of one kind err together"


def strange_kind(name, elements):
    row = Tensor((1, elements))
    return Operator("", name, (), (row,), (row,))


def test_a_strange_kind_counts_by_what_its_work_may_cost(half_known, chain):
    """As local response normalisation was: guessed at little, in truth most of the network."""
    model, known, _ = half_known
    lrn = strange_kind("LRN", 600_000)
    slow = replace(model, unseen_errors=replace(model.unseen_errors, slowest=(0.0, 5e-6)))
    guess, cost = model.kernels.predict([lrn]).cost[0], model.kernels.predict([known]).cost[0]
    found = slow.predict([chain([known] * 3 + [lrn]), chain([known] * 3)])
    assert found.coverage == pytest.approx([3 * cost / (3 * cost + 8 * 600_000 * 5e-6), 1.0])
    by_guess = model.predict([chain([known] * 3 + [lrn])]).coverage
    assert found.coverage[0] < by_guess[0] and by_guess == pytest.approx([3 * cost / (3 * cost + guess)])


def test_a_few_elements_of_a_strange_kind_hardly_matter(half_known, chain):
    model, known, _ = half_known
    slow = replace(model, unseen_errors=replace(model.unseen_errors, slowest=(0.0, 5e-6)))
    found = slow.predict([chain([known] * 30 + [strange_kind("Odd", 8)])])
    assert 0.97 < found.coverage[0] < 1.0 and found.missing[0] == (strange_kind("Odd", 8).key,)


def test_strange_kinds_err_by_themselves_and_kernels_of_one_together(half_known, chain):
    """Twice one kind is twice as far off; two kinds are so by the root of their squares."""
    model, known, _ = half_known
    one, other = strange_kind("One", 1000), strange_kind("Other", 1000)
    guess = model.kernels.predict([one]).cost[0]
    assert guess == model.kernels.predict([other]).cost[0]
    found = model.predict([chain([known, one, one]), chain([known, one, other])])
    beyond = (found.high / found.value - 1.05) * found.value
    assert beyond == pytest.approx([2.0 * 2 * guess, 2.0 * 2**0.5 * guess])


def test_a_strange_kind_may_cost_less_as_well(half_known, chain):
    """By its own tail downwards: at most all that it was guessed at."""
    model, _, _ = half_known
    lower = replace(model, unseen_errors=replace(model.unseen_errors, other_less=np.log(4.0)))
    found = lower.predict([chain([strange_kind("One", 1000)])])
    assert found.low / found.value == pytest.approx(0.95 * 0.25)


def test_a_kernel_far_beyond_what_was_seen_is_missing_in_part(kernels, chain):
    model = network.fit(Linear, kernels, drawn_once(kernels, chain))
    huge = convolution(256, 256, 128)
    found = model.predict([chain([huge]), chain([kernels.operators[-1]])])
    assert 0 < found.coverage[0] < 0.1 and found.missing == ((huge.key,), ())
    assert found.high[0] / found.value[0] > 2 * found.high[1] / found.value[1]
    with pytest.raises(MissingKernel):
        model.predict([chain([huge])], missing="raise")


def drawn_once(kernels, chain):
    rng = np.random.default_rng(5)
    rows = [rng.integers(0, len(kernels.cost), 12) for _ in range(30)]
    graphs = tuple(chain([kernels.operators[i] for i in row]) for row in rows)
    cost = np.array([kernels.cost[row].sum() for row in rows])
    return NetworkSamples(tuple(f"n{i}" for i in range(30)), (None,) * 30, (None,) * 30, graphs, cost, np.zeros(30))


def test_a_kernel_that_no_network_runs_is_doubted_though_it_was_measured(half_known, chain):
    model, known, _ = half_known
    found = replace(model, extra={}).predict([chain([known])])
    assert found.coverage.tolist() == [1.0] and found.high / found.value - 1 == pytest.approx([0.05 + 0.8])


def test_what_networks_say_of_a_kernel_is_added_and_bounded(half_known, chain):
    model, known, _ = half_known
    ms = model.kernels.predict([known]).cost[0]
    for extra, expected in ((0.3, ms + 0.3), (-0.5 * ms, 0.5 * ms), (-5.0, 0.1 * ms)):
        found = replace(model, extra={known.key: extra}).predict([chain([known])])
        assert found.value == pytest.approx([expected])


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


@pytest.mark.parametrize("make", [Lookup, Linear])
def test_intervals_reckon_with_how_far_a_repeated_measurement_may_be_off(kernels, drawn, make):
    """Networks of one campaign share its error: nothing that is learned within it knows of that."""
    within = drawn(30, lambda sums, counts: 0.9 * sums + 0.3)
    shaky = replace(within, repeats=np.linspace(0.02, 0.06, 30))
    alone, both = (network.fit(make, kernels, each) for each in (within, shaky))
    assert both.half_width == pytest.approx(np.hypot(alone.half_width, 0.04))
    assert both.unseen_errors == alone.unseen_errors
    assert both.predict(within.graphs).value.tolist() == alone.predict(within.graphs).value.tolist()


def test_without_asking_for_intervals_there_are_none_and_the_values_are_the_same(kernels, drawn):
    networks = drawn(30, lambda sums, counts: 0.8 * sums + 0.02 * counts + 0.3)
    quick, whole = (network.fit(Lookup, kernels, networks, sure=sure) for sure in (False, True))
    assert quick.half_width is None and quick.unseen_errors == UnseenErrors() and whole.half_width is not None
    assert quick.predict(networks.graphs).value.tolist() == whole.predict(networks.graphs).value.tolist()


@pytest.mark.parametrize("cost", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("make", [Lookup, Roofline])
def test_networks_that_cost_nothing_or_no_number_are_refused(kernels, drawn, make, cost):
    networks = drawn(12, lambda sums, counts: np.where(np.arange(12) == 7, cost, sums))
    with pytest.raises(InvalidTable, match="above 0 and finite") as caught:
        network.fit(make, kernels, networks)
    assert caught.value.hint


def test_kernels_that_err_together_are_doubted_in_full_and_those_that_err_alone_less(chain):
    """Of the half-widths of 40 guessed kernels little is left in a sum if each errs by itself, all if all err alike."""
    kinds = 72
    rng = np.random.default_rng(0)
    pool = [convolution(4 + i, 8, 8, 1) for i in range(kinds)]
    shares = []
    for together in (False, True):
        ms = np.full(kinds, 1.0) if together else rng.lognormal(0.0, 0.5, kinds)
        kernels = KernelSamples(tuple(pool), ms, np.ones(kinds), DEVICE)
        rows = [rng.permutation(kinds)[:40] for _ in range(40)]
        true = np.array([ms[row].sum() for row in rows])
        graphs = tuple(chain([pool[i] for i in row]) for row in rows)
        blank = (None,) * 40
        networks = NetworkSamples(tuple(f"n{i}" for i in range(40)), blank, blank, graphs, true, np.zeros(40))
        make = Half if together else Lookup
        shares.append(network.fit(make, kernels, networks).unseen_errors.shared)
    assert shares[0] < 0.6 < 0.9 < shares[1] <= 1.0


class Half(Lookup):
    """A table that guesses all that is not in it at half of what it costs."""

    @staticmethod
    def fit(samples):
        found = Lookup.fit(samples)
        return Half(found.keys, found.cost, found.lines)

    def predict(self, operators):
        found = super().predict(operators)
        return replace(found, cost=np.where(found.known, found.cost, 0.5))


# -- catalogues and files


def listed(graphs):
    """The graphs as a catalogue."""
    number = {}
    wires = tuple(to_wires(graph, number) for graph in graphs)
    counts = np.zeros((len(graphs), len(number)), dtype=np.int32)
    for row, graph in zip(counts, graphs, strict=True):
        np.add.at(row, [number[op] for op in graph.operators], 1)
    inputs = tuple(tuple(tensor for _, tensor in graph.inputs) for graph in graphs)
    return Catalogue(tuple(number), counts, wires, inputs, "fake")


def test_a_catalogue_is_its_graphs(half_known, chain):
    model, known, unknown = half_known
    graphs = [chain([known, unknown, unknown]), chain([known]), chain([unknown, known])]
    catalogue, one_by_one = model.predict_catalogue(listed(graphs)), model.predict(graphs)
    for field in ("value", "low", "high", "coverage"):
        assert getattr(catalogue, field) == pytest.approx(getattr(one_by_one, field), rel=1e-12)
    assert catalogue.missing == one_by_one.missing


def test_what_does_nothing_costs_the_constant_but_no_less_than_a_kernel(kernels, chain):
    catalogue = listed([chain(kernels.operators[:5])])
    cheapest = kernels.cost[:5].min()
    for constant, expected in ((0.5 + cheapest, 0.5 + cheapest), (0.0, cheapest), (-3.0, cheapest)):
        model = NetworkModel(Lookup.fit(kernels), Composition(1.0, 0.0, constant))
        assert model.idle(catalogue) == pytest.approx(expected)
    empty = Catalogue((), np.zeros((0, 0), dtype=np.int32), (), (), "fake")
    assert NetworkModel(Lookup.fit(kernels), Composition()).idle(empty) > 0


@pytest.mark.parametrize("missing", ["skip", "", None])
def test_other_ways_of_treating_what_is_missing_are_refused(half_known, chain, missing):
    model, known, _ = half_known
    with pytest.raises(UsageError, match="'guess' or 'raise'"):
        model.predict([chain([known])], missing=missing)


def test_all_that_networks_said_comes_back_from_files(kernels, drawn, tmp_path):
    networks = drawn(30, lambda sums, counts: 0.8 * sums + 0.02 * counts + 0.3)
    model = network.fit(Lookup, replace(kernels.take(range(60)), unit="mJ"), networks)
    model.save(tmp_path)
    back = network.load(tmp_path, Lookup)
    for field in ("composition", "half_width", "unseen_errors", "extra", "unit"):
        assert getattr(back, field) == getattr(model, field)
    assert back.unit == "mJ" and len(back.extra) > 60
    found, expected = back.predict(networks.graphs), model.predict(networks.graphs)
    assert found.unit == "mJ"
    for field in ("value", "low", "high", "coverage"):
        assert getattr(found, field).tolist() == getattr(expected, field).tolist()

"""GDAS: its gates, the networks it reads off, the expected cost, and what its weights and bounds do."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nas
from device_profiles.errors import UsageError
from nas import gradient
from nas.evaluators.predicted import Predicted
from nas.evaluators.protocol import OwnsWeights
from nas.gradient import gdas
from nas.gradient.protocol import GradientProblem, Priced
from nas.loop.checks import check_gradients
from nas.objectives import Constraint, Objective
from nas.streams import stream
from nas.study.plan import SearchPlan
from nas.weights import images as data
from predictors.encoding import CostTable

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
CELLS = np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.choices), axis=1)
#: Cost of an operator on each edge: none, skip, two convolutions, pool.
PRICES = np.array([0.1, 0.2, 1.0, 3.0, 0.5])
TABLE = CostTable(SPACE.choices, tuple((gene,) for gene in range(6)), (PRICES,) * 6)
LIVE_COSTS = np.sort(TABLE.predict(CELLS[SPACE.is_valid(CELLS)]))

floats = st.floats(-3, 3, allow_subnormal=False)


class Toy:
    """A small space: genes 0 and 1 may be swapped, and gene 2 must not be 0."""

    choices = (3, 3, 4)

    @staticmethod
    def canonical(archs):
        return np.concatenate([np.sort(archs[:, :2], axis=1), archs[:, 2:]], axis=1)

    @staticmethod
    def is_valid(archs):
        return archs[:, 2] != 0


@pytest.fixture(scope="module")
def problem():
    """A supernet with fresh weights, and costs by operator."""
    images = data.load("digits", SPACE.input_shape, seed=0, limit=300)
    torch.manual_seed(0)
    supernet = SPACE.to_supernet()
    return GradientProblem(
        space=SPACE, supernet=lambda: supernet, data=lambda: images, cost=TABLE.differentiable(), budget=12, seed=0
    )


def found(problem, **settings):
    return list(gdas.gdas(problem, **{"steps": 3, "batch": 8, **settings}))


def plain(runs):
    return [(one.run, one.archs.tolist(), one.note) for one in runs]


def random_logits(seed, choices):
    rng = np.random.default_rng(seed)
    return [2 * rng.standard_normal(options) for options in choices]


# -- gates


@given(st.lists(floats, min_size=1, max_size=6), st.floats(0.1, 10), st.integers(0, 1000))
def test_gates_are_one_hot_with_the_gradient_of_the_softmax(values, tau, seed):
    logit = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    (gate,) = gdas.gumbel_gates([logit], tau, torch.Generator().manual_seed(seed))
    assert sorted(gate.tolist()) == pytest.approx([0.0] * (len(values) - 1) + [1.0])
    assert (gate == 0).sum() == len(values) - 1, "exactly 0, or its option is run"
    probe = torch.arange(1.0, len(values) + 1, dtype=torch.float64) ** 2
    (got,) = torch.autograd.grad((gate * probe).sum(), logit)

    again = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    uniform = torch.rand(again.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    soft = torch.softmax((torch.log_softmax(again, dim=0) - torch.log(-torch.log(uniform))) / tau, dim=0)
    (expected,) = torch.autograd.grad((soft * probe).sum(), again)
    assert int(gate.argmax()) == int(soft.argmax())
    assert torch.allclose(got, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("tau", [0.1, 10.0])
def test_options_are_sampled_as_often_as_their_probabilities_say(tau):
    logits = [torch.tensor([0.0, 1.0, -1.0, 2.0]), torch.tensor([3.0, 3.0])]
    generator = torch.Generator().manual_seed(0)
    counts = [np.zeros(4), np.zeros(2)]
    joint = np.zeros((4, 2))
    for _ in range(3000):
        first, second = (int(gate.argmax()) for gate in gdas.gumbel_gates(logits, tau, generator))
        counts[0][first] += 1
        counts[1][second] += 1
        joint[first, second] += 1
    for logit, count in zip(logits, counts, strict=True):
        share = torch.softmax(logit, dim=0).numpy()
        assert (np.abs(count / 3000 - share) < 5 * np.sqrt(share * (1 - share) / 3000)).all()
    assert joint[3] / joint[3].sum() == pytest.approx(counts[1] / 3000, abs=0.06), "genes are independent"


# -- what is read off


def brute_force(logits, space, cells):
    """Networks by the score of their most probable genome, best first."""
    scores = sum(np.log(np.exp(row) / np.exp(row).sum())[cells[:, gene]] for gene, row in enumerate(logits))
    best = {}
    for index in np.argsort(-scores, kind="stable"):
        if space.is_valid(cells[index : index + 1])[0]:
            best.setdefault(space.canonical(cells[index : index + 1]).tobytes(), (scores[index], cells[index]))
    return list(best.values())


@given(st.lists(st.integers(-2, 2).map(float), min_size=10, max_size=10), st.integers(0, 40))
def test_the_most_probable_networks_are_those_of_brute_force(values, count):
    logits = [np.array(values[:3]), np.array(values[3:6]), np.array(values[6:])]
    cells = np.array(list(product(range(3), range(3), range(4))))
    expected = brute_force(logits, Toy, cells)[:count]
    got = gdas.most_probable(logits, count, GradientProblem(Toy, None, None, None, 1, 0))
    assert got.shape == (len(expected), 3)
    assert Toy.is_valid(got).all()
    assert len(np.unique(Toy.canonical(got), axis=0)) == len(got)
    scores = [sum(row[g] - np.logaddexp.reduce(row) for row, g in zip(logits, arch, strict=True)) for arch in got]
    assert scores == pytest.approx([score for score, _ in expected]), "ties may come in any order"


def test_the_most_probable_cells_of_nas_bench_201(problem):
    logits = random_logits(1, SPACE.choices)
    expected = [arch.tolist() for _, arch in brute_force(logits, SPACE, CELLS)[:30]]
    assert gdas.most_probable(logits, 30, problem).tolist() == expected


# -- the expected cost


def test_the_expected_cost_has_the_right_gradient():
    rng = np.random.default_rng(0)
    table = CostTable((2, 3, 2), ((0, 1), (1, 2), (2,)), (rng.random((2, 3)), rng.random((3, 2)), rng.random(2)))
    logits = [torch.randn(options, dtype=torch.float64, requires_grad=True) for options in table.choices]
    cost = table.differentiable()
    assert torch.autograd.gradcheck(lambda *rows: cost([torch.softmax(row, dim=0) for row in rows]), logits)


def test_the_expected_cost_is_the_mean_over_all_networks_and_the_table_at_one_hot():
    rng = np.random.default_rng(1)
    table = CostTable((2, 3, 2), ((0, 1, 2), (1,)), (rng.random((2, 3, 2)), rng.random(3)))
    shares = [rng.dirichlet(np.ones(options)) for options in table.choices]
    cells = np.array(list(product(*map(range, table.choices))))
    chance = np.prod([share[cells[:, gene]] for gene, share in enumerate(shares)], axis=0)
    got = float(table.differentiable()([torch.from_numpy(share) for share in shares]))
    assert got == pytest.approx(float(chance @ table.predict(cells)))
    one_hot = [torch.nn.functional.one_hot(torch.from_numpy(cells[:, gene]), n) for gene, n in enumerate((2, 3, 2))]
    assert table.differentiable()([rows.double() for rows in one_hot]).tolist() == table.predict(cells).tolist()


def test_the_scale_of_costs_is_that_of_a_sample(problem):
    sample = SPACE.sample(512, stream(problem.seed, "gdas.scale"))
    costs = TABLE.predict(sample)
    assert gdas.cost_scale(problem) == pytest.approx((costs.min(), np.median(costs)))


@pytest.mark.parametrize("level", [0.0, 2.5])
def test_a_constant_cost_has_a_scale(problem, level):
    table = CostTable(SPACE.choices, ((0,),), (np.full(5, level),))
    flat = replace(problem, cost=table.differentiable(), budget=2)
    lowest, median = gdas.cost_scale(flat)
    assert lowest == level
    assert median > lowest
    assert len(found(flat, weights=(0.0, 1.0))) == 2


# -- runs


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": (0.1, -0.1)},
        {"weights": ()},
        {"weights": (float("nan"),)},
        {"weights": (float("inf"),)},
        {"tau_first": 0.0},
        {"tau_last": -1.0},
        {"tau_first": float("nan")},
        {"steps": 0},
        {"batch": 0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(problem, settings):
    with pytest.raises(UsageError):
        found(problem, **settings)


def test_equal_seeds_find_the_same_and_others_do_not(problem):
    first = plain(found(problem))
    torch.manual_seed(42)
    assert plain(found(problem)) == first
    assert plain(found(replace(problem, seed=1))) != first


def test_every_run_says_its_number_its_weight_and_networks_that_differ(problem):
    runs = found(problem, weights=(0.0, 0.25, 2.0))
    assert [(one.run, one.note) for one in runs] == [(0, "weight 0"), (1, "weight 0.25"), (2, "weight 2")]
    for one in runs:
        assert one.archs.shape == (4, 6)
        assert SPACE.is_valid(one.archs).all()
        assert len(np.unique(SPACE.canonical(one.archs), axis=0)) == 4


@pytest.mark.parametrize("skip", [{0}, {1, 3}, {0, 1, 2, 3, 4, 5}])
def test_finished_runs_are_skipped_and_the_others_stay_as_they_are(problem, skip):
    kept = [one for one in plain(found(problem)) if one[0] not in skip]
    assert plain(found(replace(problem, skip=frozenset(skip)))) == kept


@pytest.mark.parametrize("budget", [1, 2, 5, 6, 7, 13])
def test_the_budget_is_spent_and_never_exceeded(problem, budget):
    runs = found(replace(problem, budget=budget), steps=1)
    counts = [len(one.archs) for one in runs]
    assert sum(counts) == budget
    assert len(runs) == min(budget, len(gdas.DEFAULT_WEIGHTS))
    assert max(counts) - min(counts) <= 1


def test_the_shared_weights_are_not_touched(problem):
    before = {name: tensor.clone() for name, tensor in problem.supernet().state_dict().items()}
    found(problem)
    after = problem.supernet().state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_progress_counts_the_steps_of_all_runs(problem):
    told = []
    found(replace(problem, progress=lambda *said: told.append(said)), weights=(0.0, 1.0))
    assert [what for what, _, _ in told] == ["gdas"] * len(told)
    steps = [done for _, done, _ in told]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 6)
    assert {total for _, _, total in told} == {6}


def test_a_heavy_weight_finds_the_cheapest_networks_and_none_does_not(problem):
    heavy, none = found(replace(problem, budget=10), weights=(1000.0, 0.0), steps=40)
    cheap = LIVE_COSTS[len(LIVE_COSTS) // 20]
    costs = TABLE.predict(heavy.archs)
    assert costs[0] <= LIVE_COSTS[len(LIVE_COSTS) // 100]
    assert np.median(costs) <= cheap, "most are among the cheapest twentieth"
    assert TABLE.predict(none.archs).min() > cheap


def test_networks_mostly_respect_a_bound(problem):
    bound = float(LIVE_COSTS[len(LIVE_COSTS) // 5])
    free, bounded = (found(replace(problem, budget=10, bound=b), weights=(0.0,), steps=60)[0] for b in (None, bound))
    assert (TABLE.predict(free.archs) <= bound).mean() < 0.5
    assert (TABLE.predict(bounded.archs) <= bound).mean() >= 0.7


def test_every_predicted_cost_and_its_bounds_are_descended(problem):
    genes = tuple((gene,) for gene in range(6))
    flat = CostTable(SPACE.choices, genes, (np.ones(5),) * 6).differentiable()  # says nothing of any architecture
    dear = CostTable(SPACE.choices, genes, (np.array([0.1, 0.1, 0.1, 0.1, 5.0]),) * 6)  # pools are dear

    def pools(weight, **bounds):
        several = replace(problem, cost=flat, budget=1, more=(Priced(dear.differentiable(), **bounds),))
        (run,) = found(several, weights=(weight,), steps=40, rate=0.3)
        return int((run.archs[0] == 4).sum())

    assert pools(5.0) == pools(0.0, bound=0.7) == 0
    assert pools(0.0, floor=29.0) >= 4


def test_strategies_that_take_one_cost_are_refused_several(monkeypatch):
    names = ("memory", "latency")
    evaluators = (_Owner(), *(Predicted(Objective(name, "ms", False, "predicted", name), None, "") for name in names))
    plan = SearchPlan("nasbench201", ("accuracy", *names), strategies=("single",))
    monkeypatch.setitem(gradient.REGISTRY._registered, "single", lambda problem: iter(()))
    lower, upper = (Constraint("latency", 3.0, one) for one in (False, True))
    with pytest.raises(UsageError, match=r"'single' takes one predicted objective.*memory, latency"):
        check_gradients(plan, evaluators, ())
    with pytest.raises(UsageError, match="latency >= 3"):
        check_gradients(plan, (evaluators[0], evaluators[2]), (lower,))
    check_gradients(plan, (evaluators[0], evaluators[2]), (upper,))
    check_gradients(replace(plan, strategies=("gdas",)), evaluators, (lower,))


class _Owner(OwnsWeights):
    """Shared weights that nobody looks at."""

    objective = Objective("accuracy", "fraction", True, "shared", "accuracy")
    images = supernet = None

    def network(self, arch):
        raise NotImplementedError

    def tested(self, arch):
        raise NotImplementedError

"""Every strategy held to the kit, the kit held to broken strategies, and what the strategies are for."""

import numpy as np
import pytest

import nas
from device_profiles.errors import UnknownName, UsageError
from nas import testing
from nas.operators import seen as archive
from nas.operators import variation
from nas.operators.protocol import Problem
from nas.pareto import indicators
from nas.strategies import REGISTRY, create, names
from nas.strategies.random import RandomSearch

CHOICES = (5,) * 10
GENES = np.arange(10)
CORNERS = np.array([GENES % 5, (3 * GENES + 2) % 5])


def costs_of(archs):
    """Distances to two corners: the front between them is a vanishing share of the space."""
    return ((archs[:, None, :] != CORNERS) * (1 + GENES)).sum(axis=2) / 55.0


#: Half a minute each on all problems.
SLOW = ("auto", "nat", "nsca", "nsganetv2", "scalarisation")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in names()])
def test_every_strategy_conforms(name):
    testing.check_strategy(name)


@pytest.mark.parametrize("name", ["auto", "nsca", "scalarisation"])
def test_those_that_think_conform_on_some_problems(name):
    testing.check_strategy(name, thorough=False)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"population": 4}, {"population": 100, "crossover": 0.0, "mutation": 1.0}])
def test_nsga2_conforms_with_other_settings(settings):
    testing.check_strategy("nsga2", **settings)


class Forgets(RandomSearch):
    """Rule 2: what was told comes again."""

    def tell(self, archs, costs, violations=None):
        pass


class Repeats(RandomSearch):
    """Rule 2: one network twice."""

    def ask(self, n):
        rows = super().ask(n)
        return np.concatenate([rows[:1], rows])[:n]


class Strays(RandomSearch):
    """Rule 2: outside of the space."""

    def ask(self, n):
        return super().ask(n) + (n > 40)


class Overflows(RandomSearch):
    """Rule 2: more than was asked for."""

    def ask(self, n):
        return super().ask(n + 1)


class Tires(RandomSearch):
    """Rule 2: fewer although there are more."""

    def ask(self, n):
        return super().ask(min(n, 10))


class Invents(RandomSearch):
    """Rule 2: genomes without a network."""

    def __init__(self, problem, *, seed):
        super().__init__(Problem(problem.choices, problem.objectives, canonical=problem.canonical), seed=seed)


class BlindToTwins(RandomSearch):
    """Rule 2: equal networks with other genomes."""

    def __init__(self, problem, *, seed):
        super().__init__(Problem(problem.choices, problem.objectives, valid=problem.valid), seed=seed)


class Wanders(RandomSearch):
    """Rule 1: asking changes what is asked next."""

    def ask(self, n):
        self._seed += 1
        return super().ask(n)


class CountsAsks(RandomSearch):
    """Rule 1: the state depends on the asks between the tells."""

    asked = 0

    def ask(self, n):
        self.asked = 1
        return super().ask(n)

    def tell(self, archs, costs, violations=None):
        super().tell(archs, costs, violations)
        self._seed += self.asked


class Aliases(RandomSearch):
    """Rule 1: it keeps the caller's array instead of its content."""

    def __init__(self, problem, *, seed):
        super().__init__(problem, seed=seed)
        self.last = None

    def ask(self, n):
        rng = np.random.default_rng(0 if self.last is None else int(np.nan_to_num(self.last).sum() * 1e6) % 2**31)
        return self._seen.unseen(n, rng, set())

    def tell(self, archs, costs, violations=None):
        super().tell(archs, costs, violations)
        self.last = costs


class Greedy(RandomSearch):
    """Follows what `score` likes best of what was told, by changing one gene of it at a time."""

    def __init__(self, problem, *, seed):
        super().__init__(problem, seed=seed)
        self.choices = np.array(problem.choices)
        self.told, self.scores = [], []

    @staticmethod
    def score(costs, violation):
        return (costs.sum() if np.isfinite(costs).all() else 1e9) + 1e6 * violation

    def tell(self, archs, costs, violations=None):
        super().tell(archs, costs, violations)
        amounts = np.zeros(len(archs)) if violations is None else violations
        self.told += list(np.array(archs))
        self.scores += [self.score(row, amount) for row, amount in zip(costs, amounts, strict=True)]

    def ask(self, n):
        taken, parts = set(), []
        rng = np.random.default_rng(len(self.told))
        for index in np.argsort(self.scores, kind="stable")[:10] if n > 1 else ():
            near = np.repeat(self.told[index][None], 10, axis=0)
            genes = rng.integers(0, len(self.choices), size=10)
            near[np.arange(10), genes] = rng.integers(0, self.choices[genes])
            parts.append(near[self._seen.fresh(near, taken)])
        rows = np.concatenate(parts)[:n] if parts else np.empty((0, len(self.choices)), dtype=np.int64)
        taken = set(self._seen.keys(rows)) if len(rows) else set()
        return np.concatenate([rows, self._seen.unseen(n - len(rows), rng, taken)])


class LikesFailures(Greedy):
    """Rule 4: a NaN compares as if it were good."""

    @staticmethod
    def score(costs, violation):
        return np.nan_to_num(costs, nan=-1.0, posinf=1e9, neginf=1e9).sum() + 1e6 * violation


class LikesInfinities(Greedy):
    """Rule 4: minus infinity is taken for a very low cost."""

    @staticmethod
    def score(costs, violation):
        return np.nan_to_num(costs, nan=1e9).sum() + 1e6 * violation


class IgnoresViolations(Greedy):
    """Rule 5: constraints do not matter."""

    @staticmethod
    def score(costs, violation):
        return Greedy.score(costs, 0.0)


class SeesOnlyFeasibility(Greedy):
    """Rule 5: how much is violated does not matter."""

    @staticmethod
    def score(costs, violation):
        return Greedy.score(costs, float(violation > 0))


class CountsZeros(RandomSearch):
    """Rule 5: violations of 0 are not as if there were none."""

    def tell(self, archs, costs, violations=None):
        super().tell(archs, costs, violations)
        self._seed += violations is not None


class BlindToBounds(RandomSearch):
    """Rule 7: what is known to break a bound is asked for."""

    def __init__(self, problem, *, seed):
        blind = Problem(problem.choices, problem.objectives, canonical=problem.canonical, valid=problem.valid)
        super().__init__(blind, seed=seed)


class ForgetsWhatIsOut(RandomSearch):
    """Rule 2: what is out is asked for again."""

    def ask(self, n, pending=None):
        return super().ask(n)


class BlindToTwinsOut(RandomSearch):
    """Rule 2: another genome of a network that is out."""

    def ask(self, n, pending=None):
        rows = super().ask(n if pending is None else n + len(pending))
        out = set() if pending is None else {row.tobytes() for row in np.ascontiguousarray(pending)}
        return np.array([row for row in rows if row.tobytes() not in out], dtype=np.int64).reshape(-1, rows.shape[1])[
            :n
        ]


class TakesWhatIsOutForTold(RandomSearch):
    """Rule 1: what was out once is never asked for again."""

    def ask(self, n, pending=None):
        if pending is not None:
            self._seen.add(pending)
        return super().ask(n)


class TakesAnything(RandomSearch):
    """Settings are not checked."""

    def __init__(self, problem, *, seed, **settings):
        super().__init__(problem, seed=seed)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Forgets, "told before"),
        (Repeats, "one network twice"),
        (Strays, "outside of it"),
        (Overflows, "gave 2 rows"),
        (Tires, "gave 10 rows"),
        (Invents, "no network"),
        (BlindToTwins, "one network twice|told before"),
        (Wanders, "asking changes nothing"),
        (CountsAsks, "resuming is replay"),
        (Aliases, "rule 1"),
        (LikesFailures, r"a NaN is a failure"),
        (LikesInfinities, r"an infinity is a failure"),
        (IgnoresViolations, "feasible beats infeasible"),
        (SeesOnlyFeasibility, "less violation beats more"),
        (CountsZeros, "0 is feasible"),
        (BlindToBounds, "bounds on known costs are kept"),
        (ForgetsWhatIsOut, "gave one that is out"),
        (BlindToTwinsOut, "gave one that is out"),
        (TakesWhatIsOutForTold, "what is pending changes nothing"),
        (TakesAnything, "must be refused"),
    ],
)
def test_the_kit_finds_broken_strategies(broken, message, monkeypatch):
    monkeypatch.setitem(REGISTRY._registered, "broken", broken)
    with pytest.raises(AssertionError, match=message):
        testing.check_strategy("broken")


def test_the_kit_passes_a_greedy_strategy(monkeypatch):
    monkeypatch.setitem(REGISTRY._registered, "greedy", Greedy)
    testing.check_strategy("greedy")


@pytest.mark.parametrize("name", ["auto", "nsga2", "scalarisation"])
def test_workers_of_a_large_space_get_networks_of_their_own(name):
    strategy = create(name, choices=(9,) * 12, objectives=2, seed=0)
    rows = strategy.ask(20)
    strategy.tell(rows, np.stack([rows.mean(axis=1), 8 - rows.max(axis=1) + rows[:, 0]], axis=1).astype(float))
    out = rows[:0]
    for _ in range(5):
        (row,) = strategy.ask(1, pending=out)
        out = np.concatenate([out, row[None]])
    assert len({row.tobytes() for row in np.concatenate([rows, out])}) == 25


def test_weights_whose_architecture_is_out_have_had_their_turn():
    settings = {"initial": 2, "parents": 1, "crossover": 0.0}
    strategy = create("scalarisation", choices=(5,) * 20, objectives=2, seed=0, **settings)
    ends = np.array([[0] * 20, [4] * 20])
    strategy.tell(ends, np.array([[0.0, 1.0], [1.0, 0.0]]))
    out = ends[:0]
    for _ in range(6):
        out = np.concatenate([out, strategy.ask(1, pending=out)])
    low = (out == 0).sum(axis=1) > 10
    assert low.any() and not low.all(), "children of one end alone"


class Plain:
    """A strategy of others, older than what is pending."""

    def __init__(self, problem, *, seed):
        self._rows, self._told = np.indices(problem.choices).reshape(len(problem.choices), -1).T, 0

    @property
    def told(self):
        return self._told

    def ask(self, n):
        return self._rows[self._told : self._told + n]

    def tell(self, archs, costs, violations=None):
        self._told += len(archs)


def test_a_strategy_without_the_argument_is_asked_for_more_and_what_is_out_is_dropped(monkeypatch):
    monkeypatch.setitem(REGISTRY._registered, "plain", Plain)
    strategy = create("plain", choices=(3, 2), objectives=1, canonical=lambda archs: archs // [1, 2])
    first = strategy.ask(2)
    np.testing.assert_array_equal(first, [[0, 0], [0, 1]])
    twins = np.array([[0, 1]])
    np.testing.assert_array_equal(strategy.ask(2, pending=twins), [[1, 0]], "0 0 and 0 1 are one network")
    assert len(strategy.ask(6, pending=np.array([[0, 0], [2, 0]]))) == 2
    strategy.tell(first, np.zeros((2, 1)))
    assert strategy.told == 2 and strategy.ask(1).tolist() == [[1, 0]]


def test_what_is_out_must_be_genomes():
    with pytest.raises(UsageError, match="pending must be rows of 2 genes"):
        create("random", choices=(3, 2), objectives=1).ask(1, pending=np.array([[1, 2, 3]]))


@pytest.mark.parametrize(
    "given",
    [
        {"choices": (), "objectives": 1},
        {"choices": (3, 0), "objectives": 1},
        {"choices": (3, 2), "objectives": 0},
        {"choices": (3, 2), "objectives": 1, "no_such_setting": 1},
        {"choices": (3, 2), "objectives": 1, "population": 3},
        {"choices": (3, 2), "objectives": 1, "crossover": 1.5},
        {"choices": (3, 2), "objectives": 1, "mutation": 0.0},
    ],
)
def test_impossible_problems_and_settings_are_refused(given):
    with pytest.raises(UsageError) as caught:
        create("nsga2", **given)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("setting", [{"mutation": "often"}, {"population": "16"}, {"steps": None}, {"tournament": 2.5}])
def test_settings_of_another_type_are_refused(setting):
    with pytest.raises(UsageError, match=next(iter(setting))):
        create("nsga2", choices=(3, 2), objectives=1, **setting)


def test_a_fault_of_the_strategy_is_not_the_users(monkeypatch):
    class Faulty(RandomSearch):
        def __init__(self, problem, *, seed):
            super().__init__(problem, seed=seed)
            len(seed)

    monkeypatch.setitem(REGISTRY._registered, "faulty", Faulty)
    with pytest.raises(TypeError, match="len"):
        create("faulty", choices=(3, 2), objectives=1)


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(UnknownName) as caught:
        create("nsga22", choices=(2,), objectives=1)
    assert "'nsga2'" in caught.value.hint


@pytest.mark.parametrize("costs", [np.zeros((2, 3)), np.zeros((1, 2)), np.zeros(2)])
def test_nsga2_refuses_costs_of_another_shape(costs):
    with pytest.raises(UsageError, match="costs"):
        create("nsga2", choices=CHOICES, objectives=2).tell(np.zeros((2, 10), dtype=int), costs)


def searched(name, seed, evaluations=200, violations_of=None, columns=(0, 1)):
    """Everything that was told, and its costs."""
    strategy = create(name, choices=CHOICES, objectives=len(columns), seed=seed)
    told = []
    while sum(map(len, told)) < evaluations:
        rows = strategy.ask(10)
        strategy.tell(rows, costs_of(rows)[:, columns], None if violations_of is None else violations_of(rows))
        told.append(rows)
    return np.concatenate(told)


def test_nsga2_beats_random_search():
    volumes = {
        name: [indicators.hypervolume(costs_of(searched(name, seed)), np.ones(2)) for seed in range(10)]
        for name in ("nsga2", "random")
    }
    assert np.mean(volumes["nsga2"]) > np.mean(volumes["random"]) + 0.1
    assert sum(a > b for a, b in zip(volumes["nsga2"], volumes["random"], strict=True)) >= 9


def test_nsga2_of_one_objective_comes_closer_to_the_best():
    least = {
        name: np.mean([costs_of(searched(name, seed, columns=(0,)))[:, 0].min() for seed in range(10)])
        for name in ("nsga2", "random")
    }
    assert least["nsga2"] < 0.6 * least["random"]


def test_nsga2_finds_its_way_into_a_small_feasible_region():
    def violations_of(archs):
        return np.maximum(8 - (archs == 1).sum(axis=1), 0).astype(float)

    feasible = {
        name: np.mean([np.mean(violations_of(searched(name, s, 300, violations_of)[-100:]) == 0) for s in range(5)])
        for name in ("nsga2", "random")
    }
    assert feasible["random"] < 0.01
    assert feasible["nsga2"] > 0.2


def test_other_seeds_search_elsewhere():
    assert len({searched(name, seed, 30).tobytes() for name in names() for seed in range(3)}) == 3 * len(names())


def test_random_search_is_uniform():
    rows = create("random", choices=(2, 5, 7, 9, 9), objectives=1, seed=3).ask(2000)
    for gene, options in enumerate((2, 5, 7, 9, 9)):
        counts = np.bincount(rows[:, gene], minlength=options)
        expected = 2000 / options
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)


def test_a_space_beyond_counting_is_not_enumerated():
    rows = create("random", choices=(9,) * 40, objectives=1).ask(30)
    assert rows.shape == (30, 40)
    seen = archive.Seen(Problem((9,) * 40, 1, valid=lambda archs: np.zeros(len(archs), dtype=bool)))
    assert seen.unseen(1, np.random.default_rng(0), set()).shape == (0, 40)


def test_keys_are_those_of_networks():
    seen = archive.Seen(Problem((4, 4), 1, canonical=lambda archs: np.sort(archs, axis=1)))
    seen.add(np.array([[1, 3]]))
    assert len(seen) == 1
    taken = set()
    archs = np.array([[3, 1], [0, 2], [2, 0], [0, 0]])
    assert seen.fresh(archs, taken).tolist() == [1, 3]
    assert seen.fresh(archs, taken).tolist() == []


def test_children_take_each_gene_from_a_parent():
    rng = np.random.default_rng(0)
    mothers, fathers = np.zeros((4000, 6), dtype=np.int64), np.ones((4000, 6), dtype=np.int64)
    children = variation.uniform_crossover(mothers, fathers, rng, probability=0.8, swap=0.25)
    assert set(np.unique(children)) == {0, 1}
    assert children.mean() == pytest.approx(0.8 * 0.25, abs=0.015)
    uncrossed = (children == 0).all(axis=1).mean()
    assert uncrossed == pytest.approx(0.2 + 0.8 * 0.75**6, abs=0.03)
    assert (variation.uniform_crossover(mothers, fathers, rng, probability=0.0) == mothers).all()
    assert (variation.uniform_crossover(mothers, fathers, rng, probability=1.0, swap=1.0) == fathers).all()


def test_mutation_resets_to_another_option_evenly():
    rng = np.random.default_rng(0)
    archs = np.tile(np.array([2, 0, 1]), (6000, 1))
    mutated = variation.reset_mutation(archs, (5, 1, 2), rng, rate=0.5)
    changed = (mutated != archs).mean(axis=0)
    assert changed == pytest.approx([0.5, 0.0, 0.5], abs=0.03)
    counts = np.bincount(mutated[:, 0], minlength=5)[[0, 1, 3, 4]]
    assert counts / 6000 == pytest.approx(np.full(4, 0.125), abs=0.02)
    assert (variation.reset_mutation(archs, (5, 1, 2), rng, rate=1.0)[:, [0, 2]] != archs[:, [0, 2]]).all()
    assert (variation.reset_mutation(archs, (5, 1, 2), rng, rate=0.0) == archs).all()


def test_the_page_of_the_package_is_true():
    strategy = nas.strategies.create("nsga2", choices=(5,) * 6, objectives=2, seed=0)
    assert strategy.ask(10).shape == (10, 6)

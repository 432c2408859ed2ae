"""Proposals to prune and freeze: against Fisher's test and a correction by hand, on planted effects, and on chance."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
from scipy.stats import fisher_exact

from device_profiles.errors import UsageError
from nas.certainty import restriction
from nas.pareto import dominance
from nas.spaces import REGISTRY
from nas.spaces.product import Gene, ProductSpace
from nas.study.study import Study
from profiler.store import Store


@dataclass(frozen=True)
class Toy(ProductSpace):
    """Four genes; the second does not matter where the first is `off`."""

    name = "toy"

    @cached_property
    def genes(self):
        return (
            Gene("mode", ("off", "slow", "fast")),
            Gene("kernel", (3, 5, 7), ordered=True),
            Gene("width", (8, 16, 32, 64), ordered=True),
            Gene("idle", ("a", "b", "c", "d", "e", "f")),
        )

    @property
    def input_shape(self):
        return (1, 3, 4, 4)

    def active(self, archs):
        found = np.ones(archs.shape, dtype=np.bool_)
        found[:, 1] = archs[:, 0] > 0
        return found

    def assembly(self, arch):
        raise NotImplementedError


SPACE = Toy()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(REGISTRY._registered, "toy", Toy)


def everything():
    return np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.choices), axis=1).astype(np.int64)


def networks():
    """One genome of each network."""
    return np.unique(SPACE.canonical(everything()), axis=0)


def oracle(archs, costs, share, rate):
    """What to prune, with corrected p-values: contingency tables, Fisher's test, and the step-up rule, by hand."""
    ranks = dominance.ranks(costs)
    level = max([0, *(level for level in range(ranks.max() + 1) if (ranks <= level).sum() <= share * len(archs))])
    best, active = ranks <= level, SPACE.active(archs)
    tests = []
    for gene, count in enumerate(SPACE.choices):
        for option in range(count):
            use = active[:, gene]
            has = archs[:, gene] == option
            table = [[(use & best & h).sum() for h in (has, ~has)], [(use & ~best & h).sum() for h in (has, ~has)]]
            tests += [(fisher_exact(table, alternative=tail)[1], tail, gene, option) for tail in ("less", "greater")]
    tests.sort()
    corrected, least = {}, 1.0
    for place in range(len(tests), 0, -1):
        p_value, *which = tests[place - 1]
        least = min(least, p_value * len(tests) / place)
        corrected[tuple(which)] = least
    on_front = ranks == 0
    return {
        (SPACE.genes[gene].name, SPACE.genes[gene].options[option]): p
        for (tail, gene, option), p in corrected.items()
        if tail == "less" and p <= rate and not (on_front & active[:, gene] & (archs[:, gene] == option)).any()
    }


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_what_is_pruned_is_what_fishers_test_says(share):
    archs = networks()
    rng = np.random.default_rng(0)
    cost = archs[:, 2] + 1.5 * (archs[:, 1] == 0) * (archs[:, 0] > 0)
    costs = cost[:, None] + rng.normal(0, 0.8, (len(archs), 2))
    wanted = oracle(archs, costs, share, 0.05)
    assert ("width", 64) in wanted
    found = [p for p in restriction.propose(SPACE, archs, costs, share=share) if p.action == "prune"]
    assert {(p.gene, option) for p in found for option in p.options} == set(wanted)
    for proposal in found:
        assert proposal.p_value == pytest.approx(max(wanted[proposal.gene, option] for option in proposal.options))
        assert all(f"{option}: " in proposal.evidence for option in proposal.options)


def test_a_gene_is_frozen_where_nearly_all_of_the_best_agree():
    archs = networks()
    cost = np.where(archs[:, 0] == 2, 0.0, 10.0) + np.random.default_rng(1).random(len(archs))
    first = restriction.propose(SPACE, archs, cost[:, None])[0]
    assert (first.gene, first.options, first.action) == ("mode", ("fast",), "freeze")
    assert first.p_value < 0.01
    assert first.evidence == "fast: 33 of the best 33 (100%), 72 of all 168 (43%)"


def test_what_the_front_uses_stays():
    archs = networks()
    cost = archs[:, 2] + 2.5 * np.random.default_rng(2).random(len(archs))
    pruned = [p for p in restriction.propose(SPACE, archs, cost[:, None]) if p.gene == "width"]
    assert 64 in pruned[0].options
    # One wide network is unbeaten in a second cost: its width is as rare among the best as before, and stays.
    second = np.ones(len(archs))
    second[np.flatnonzero(archs[:, 2] == 3)[0]] = 0.0
    kept = restriction.propose(SPACE, archs, np.stack([cost, second], axis=1))
    assert [p for p in kept if p.gene == "width"]
    assert all(64 not in p.options for p in kept if p.gene == "width" and p.action == "prune")
    assert all(p.action == "prune" for p in kept if p.gene == "width")


def test_chance_proposes_seldom():
    """Costs that do not depend on the architecture: at a rate of 5 % few of 100 studies propose anything."""
    archs = networks()
    runs = [
        restriction.propose(SPACE, archs, np.random.default_rng(seed).random((len(archs), 2))) for seed in range(100)
    ]
    assert sum(map(bool, runs)) <= 8


def test_a_network_counts_once_and_failures_not_at_all():
    archs = networks()
    cost = (archs[:, 2] + np.random.default_rng(3).random(len(archs)))[:, None]
    wanted = restriction.propose(SPACE, archs, cost)
    assert wanted
    # Genomes of one network: the kernel of a mode that is off changes nothing.
    off = archs[archs[:, 0] == 0] + np.array([0, 2, 0, 0])
    again = np.concatenate([archs, off]), np.concatenate([cost, cost[archs[:, 0] == 0]])
    doubled = restriction.propose(SPACE, *again)
    assert [p.gene for p in doubled] == [p.gene for p in wanted]
    assert "of all 168 " in next(p.evidence for p in doubled if p.gene == "width")
    failed = np.concatenate([cost, np.full((5, 1), np.nan)])
    assert restriction.propose(SPACE, np.concatenate([archs, archs[:5]]), failed) == wanted


def test_architectures_that_break_constraints_are_not_the_best():
    archs = networks()
    cost = (archs[:, 2] + 2.5 * np.random.default_rng(4).random(len(archs)))[:, None]
    narrow = (archs[:, 2] == 0).astype(np.float64)
    found = restriction.propose(SPACE, archs, cost, narrow)
    assert any(8 in p.options for p in found if p.gene == "width" and p.action == "prune")
    assert restriction.propose(SPACE, archs, cost, np.ones(len(archs))) == ()
    assert restriction.propose(SPACE, archs[:0], cost[:0]) == ()


def test_proposals_are_applied_only_when_asked_for_and_keep_the_front():
    archs = networks()
    rng = np.random.default_rng(5)
    costs = (archs[:, 2] - archs[:, 0])[:, None] + rng.random((len(archs), 2))
    proposals = restriction.propose(SPACE, archs, costs)
    left = restriction.apply(SPACE, proposals)
    assert left.size < SPACE.size
    assert restriction.apply(SPACE, ()) is SPACE
    networks_left = {
        row.tobytes()
        for row in SPACE.canonical(
            left.widen(np.stack(np.unravel_index(np.arange(left.size), left.choices), axis=1).astype(np.int64))
        )
    }
    assert all(row.tobytes() in networks_left for row in SPACE.canonical(archs[dominance.nondominated(costs)]))


def test_apply_freezes_and_prunes_and_goes_on_from_a_restriction():
    freeze = restriction.Proposal("mode", ("fast",), "freeze", "", 0.0)
    prune = restriction.Proposal("width", (64, 8), "prune", "", 0.0)
    left = restriction.apply(SPACE, [freeze, prune])
    assert [gene.options for gene in left.genes] == [("fast",), (3, 5, 7), (16, 32), ("a", "b", "c", "d", "e", "f")]
    again = restriction.apply(left, [restriction.Proposal("kernel", (3,), "prune", "", 0.0)])
    assert again.choices == (1, 2, 2, 6)
    with pytest.raises(UsageError):
        restriction.apply(SPACE, [restriction.Proposal("idle", ("a", "b", "c", "d", "e", "f"), "prune", "", 0.0)])
    with pytest.raises(UsageError):
        restriction.apply(SPACE, [restriction.Proposal("depth", (1,), "prune", "", 0.0)])


def test_a_study_proposes_what_its_trials_say(tmp_path):
    archs = networks()
    rng = np.random.default_rng(6)
    accuracy, latency = 0.9 - 0.1 * archs[:, 2], 0.2 * archs[:, 2] + rng.random(len(archs))
    objective = {"unit": "", "source": "table", "spec": ""}
    with Store(tmp_path / "run.db") as store:
        study = Study(store)
        study.bind(
            {
                "space": "toy",
                "objectives": [
                    {"name": "accuracy", "maximise": True, **objective},
                    {"name": "latency", "maximise": False, **objective},
                ],
                "constraints": [{"name": "latency", "bound": 0.8, "upper": True}],
            }
        )
        trials = study.add_batch(study.search("random", {}), "random", 0, archs)
        values = list(zip(trials, accuracy, latency, strict=True))
        study.judge({t.id: {"accuracy": (a, None, None), "latency": (c, None, None)} for t, a, c in values[:-3]})
        found = restriction.of_study(study)
    costs = np.stack([-accuracy, latency], axis=1)[:-3]
    outside = np.maximum(latency[:-3] - 0.8, 0.0)
    assert found == restriction.propose(SPACE, archs[:-3], costs, outside)
    assert any(p.gene == "width" and 64 in p.options for p in found)


class Nameless:
    name = "nameless"


@pytest.mark.parametrize(
    ("archs", "costs", "violations", "settings"),
    [
        (networks(), np.zeros(168), None, {}),
        (networks(), np.zeros((167, 1)), None, {}),
        (networks(), np.zeros((168, 1)), np.zeros(3), {}),
        (networks() + 3, np.zeros((168, 1)), None, {}),
        (networks(), np.zeros((168, 1)), None, {"share": 0.0}),
        (networks(), np.zeros((168, 1)), None, {"rate": 1.0}),
    ],
)
def test_what_does_not_fit_is_refused(archs, costs, violations, settings):
    with pytest.raises(UsageError):
        restriction.propose(SPACE, archs, costs, violations, **settings)


def test_a_space_whose_genes_have_no_names_is_refused():
    with pytest.raises(UsageError, match="no names"):
        restriction.propose(Nameless(), networks(), np.zeros((168, 1)))

"""Few-sample transfer: its algebra, against plain loops and textbook formulas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.transfer import TransferPredictor, choosing, mixture, predictor, sources
from predictors.transfer.genes import Genes, Structure
from predictors.transfer.mixture import Draws, Places
from predictors.transfer.sources import Prior

CARDINALITIES = st.lists(st.integers(1, 5), min_size=1, max_size=6)


def genomes(choices, count, seed=0):
    return np.random.default_rng(seed).integers(0, choices, (count, len(choices)))


def every(choices):
    return np.stack(np.unravel_index(np.arange(math.prod(choices)), choices), axis=1).astype(np.int64)


def case(choices=(3, 1, 4, 4), count=6, seed=0, factors=2):
    """Genes, a prior of made-up sources, samples, relative latencies."""
    rng = np.random.default_rng(seed)
    genes = Genes.of(choices)
    structure = Structure(genes, lambda archs: archs[:, :2] ** 2.0 + archs[:, -1:])
    width = genes.width + structure(genomes(choices, 1)).shape[1]
    prior = Prior(("a", "b"), 0.1 * rng.normal(size=width), 0.05 * rng.normal(size=(factors, width)))
    archs = genomes(choices, count, seed)
    places = Places.of(archs, genes, structure, prior)
    return genes, structure, prior, places, places.mean * rng.normal(1.0, 0.2, count)


# -- genes


@given(CARDINALITIES)
def test_contrasts_are_orthonormal_over_the_space(choices):
    genes = Genes.of(choices)
    found = genes.contrasts(every(choices))
    assert found.shape == (genes.size, genes.width)
    assert found.mean(axis=0) == pytest.approx(np.zeros(genes.width), abs=1e-12)
    assert found.T @ found / genes.size == pytest.approx(np.eye(genes.width), abs=1e-9)


@given(CARDINALITIES, st.integers(0, 1000))
def test_matches_are_the_sums_over_genes_and_pairs(choices, seed):
    genes = Genes.of(choices)
    one, other = genomes(choices, 4, seed), genomes(choices, 3, seed + 1)
    main, pairs = genes.matches(genes.contrasts(one), genes.contrasts(other))
    free = [g for g, c in enumerate(choices) if c > 1]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            m = [1.0 if a[g] == b[g] else -1.0 / (choices[g] - 1) for g in free]
            products = [m[p] * m[q] for p in range(len(m)) for q in range(p)]
            assert main[i, j] == pytest.approx(np.mean(m) if m else 0.0, abs=1e-9)
            assert pairs[i, j] == pytest.approx(np.mean(products) if products else 0.0, abs=1e-9)


def test_shared_effects_do_not_know_which_gene_has_an_option():
    genes = Genes.of([3, 4, 3, 1, 3])
    shared = genes.contrasts(np.array([[0, 3, 1, 0, 2], [2, 3, 0, 0, 1], [0, 3, 1, 0, 1]])) @ genes.shared
    assert shared[0] == pytest.approx(shared[1])
    assert not np.allclose(shared[0], shared[2])
    assert Genes.of([2, 3, 4]).shared.shape == (6, 0)


def test_features_are_asked_once_for_each_architecture_of_a_small_space():
    asked = []

    def features(archs):
        asked.append(len(archs))
        return archs.astype(float)

    structure = Structure(Genes.of([3, 3]), features)
    first = structure(every([3, 3]))
    before = len(asked)
    assert (structure(every([3, 3])[::-1])[::-1] == first).all()
    assert len(asked) == before


# -- the Gaussian process


def posterior(kernel, noise, level, mean, relative, across, own, extra=None):
    """Mean and variance by the textbook: Rasmussen & Williams, equations 2.25 and 2.26, and 2.30."""
    full = kernel + np.diag(noise * level**2) + (np.diag(extra) if extra is not None else 0.0)
    residual = relative - mean
    inverse = np.linalg.inv(full)
    log = -0.5 * (residual @ inverse @ residual + np.log(np.linalg.det(full)))
    return across @ inverse @ residual, own - np.einsum("ij,jk,ik->i", across, inverse, across), log


def explicit(genes, places, relative, target, draws):
    """The mixture by a loop over draws and hypotheses: mean, variance, probability of each sample to be wrong."""
    count = len(relative)
    logs, means, seconds, wrong = [], [], [], []
    for variances, noise, sourced, weight in zip(
        draws.variances, draws.noise, draws.sourced, draws.weights, strict=True
    ):
        kernel, across = (np.tensordot(variances, mixture.kernels(p, places, genes), 1) for p in (places, target))
        own = variances @ mixture.diagonals(target, genes)
        for hypothesis in range(-1, count):
            extra = np.zeros(count)
            if hypothesis >= 0:
                extra[hypothesis] = (mixture.WRONG_SD * places.level[hypothesis]) ** 2
            base = places.mean if sourced else np.ones(count)
            mean, variance, log = posterior(kernel, noise, places.level, base, relative, across, own, extra)
            mean = mean + (target.mean if sourced else 1.0)
            prior = 1 - mixture.WRONG if hypothesis < 0 else mixture.WRONG / count
            logs.append(log + np.log(prior * weight))
            means.append(mean)
            seconds.append(variance + noise * target.level**2 + mean**2)
            wrong.append(hypothesis)
    weights = np.exp(np.array(logs) - max(logs))
    weights /= weights.sum()
    mean = weights @ np.array(means)
    shares = [weights[np.array(wrong) == i].sum() for i in range(count)]
    return mean, weights @ np.array(seconds) - mean**2, np.array(shares)


@pytest.mark.parametrize("seed", range(4))
def test_the_collapsed_mixture_is_the_loop_over_hypotheses(seed):
    genes, structure, prior, places, relative = case(seed=seed)
    draws = Draws.make(np.random.default_rng(seed), sources=True, structure=True, shared=True)
    keep = np.arange(0, len(draws.noise), 10)  # with and without sources
    draws = Draws(draws.variances[keep], draws.noise[keep], draws.sourced[keep], draws.weights[keep])
    target = Places.of(genomes(genes.choices, 9, seed + 50), genes, structure, prior)
    found = mixture.weigh(mixture.kernels(places, places, genes), places.level, relative, places.mean, draws)
    collapsed = mixture.collapse(found, draws, places.mean, 1.0)
    mean, variance = collapsed.moments(target, places, genes)
    wanted_mean, wanted_variance, wanted_wrong = explicit(genes, places, relative, target, draws)
    assert mean == pytest.approx(wanted_mean, rel=1e-6)
    assert variance == pytest.approx(wanted_variance, rel=1e-5, abs=1e-8)
    assert collapsed.wrong == pytest.approx(wanted_wrong, abs=1e-6)
    assert found.weights.sum() == pytest.approx(1.0)


def test_one_hypothesis_is_the_process_of_scikit_learn():
    process = pytest.importorskip("sklearn.gaussian_process")
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    genes = Genes.of([4, 4, 4])
    structure, prior = Structure(genes, None), Prior.none(genes.width)
    archs, others = genomes(genes.choices, 8), genomes(genes.choices, 20, seed=1)
    relative = np.random.default_rng(2).normal(1.0, 0.2, 8)
    places, target = (Places.of(a, genes, structure, prior) for a in (archs, others))
    # The kernel of main effects is a dot product of contrasts, of which each gene has 3.
    draws = Draws(np.array([[0.25, 0, 0, 0, 0.04, 0, 0]]), np.array([0.01]), np.array([0.0]), np.array([1.0]))
    found = mixture.weigh(mixture.kernels(places, places, genes), places.level, relative, places.mean, draws)
    alone = np.zeros_like(found.weights)
    alone[:, 0] = 1.0  # the hypothesis that no sample is wrong
    collapsed = mixture.collapse(
        mixture.Weighed(alone, found.inverses, found.solved, found.drops), draws, places.mean, 1.0
    )
    mean, variance = collapsed.moments(target, places, genes)
    inputs = np.sqrt(0.04 / 9) * genes.contrasts(archs)
    other_inputs = np.sqrt(0.04 / 9) * genes.contrasts(others)
    theirs = process.GaussianProcessRegressor(kernels.DotProduct(0.5, "fixed"), alpha=0.01, optimizer=None)
    wanted, spread = theirs.fit(inputs, relative - 1.0).predict(other_inputs, return_std=True)
    assert mean == pytest.approx(1.0 + wanted, abs=1e-6)
    assert variance == pytest.approx(spread**2 + 0.01, abs=1e-6)


def test_samples_are_chosen_by_what_they_take_away():
    genes, structure, prior, _, _ = case()
    archs = every(genes.choices)
    places = Places.of(archs, genes, structure, prior)
    variances, noise = np.array([0.2, 0.1, 1.0, 0.02, 0.02, 0.004, 0.01]), 0.002
    belief = choosing.Belief(2.0, variances, noise)
    chosen = choosing.greedy(places, genes, beliefs=[belief], n=4)
    kernel = np.tensordot(variances, mixture.kernels(places, places, genes), 1)

    def left(rows):
        own = kernel[np.ix_(rows, rows)] + np.diag(noise * places.level[rows] ** 2)
        return np.trace(kernel - kernel[:, rows] @ np.linalg.solve(own, kernel[rows]))

    for step in range(4):
        before = list(chosen[:step])
        sums = [left([*before, j]) for j in range(len(archs)) if j not in before]
        assert left(list(chosen[: step + 1])) == pytest.approx(min(sums), rel=1e-9)
    # What was measured before counts as if it had been chosen.
    more = choosing.greedy(
        places, genes, beliefs=[belief], n=2,
        measured=Places.of(archs[chosen[:2]], genes, structure, prior),
    )  # fmt: skip
    assert left([*chosen[:2], *more]) == pytest.approx(left(list(chosen)), rel=1e-6)


# -- sources


def additive(genes, seed, scale=3.0, noise=0.0):
    rng = np.random.default_rng(seed)
    archs = every(genes.choices)
    relative = 1.0 + genes.contrasts(archs) @ (0.08 * rng.normal(size=genes.width))
    return archs, scale * relative * rng.normal(1.0, noise, len(archs)) if noise else scale * relative


def test_surfaces_of_additive_sources_are_recovered():
    genes = Genes.of([3, 4, 2, 3])
    tables = {f"device{i}": additive(genes, i, scale=10.0**i) for i in range(4)}
    prior = sources.fit(tables, genes, Structure(genes, None))
    relative = np.array([ms / ms.mean() for _, ms in tables.values()])
    surfaces = genes.contrasts(every(genes.choices)) @ prior.mean + 1.0
    assert surfaces == pytest.approx(relative.mean(axis=0), rel=1e-4)
    deviations = relative - relative.mean(axis=0)
    wanted = deviations.T @ deviations / 4
    spread = genes.contrasts(every(genes.choices)) @ prior.factors.T
    assert spread @ spread.T == pytest.approx(wanted, abs=1e-4)
    assert len(prior.factors) == 3  # four surfaces around their mean


def test_networks_that_a_runtime_deleted_do_not_bend_a_surface():
    genes = Genes.of([3, 4, 2, 3])
    archs, ms = additive(genes, 0)
    broken = ms.copy()
    broken[5] /= 1000.0
    plain, floored = (sources.fit({"a": (archs, t)}, genes, Structure(genes, None)).mean for t in (ms, broken))
    raw = sources.fit({"a": (archs, np.where(np.arange(len(ms)) == 5, 0.3 * np.quantile(ms, 0.05), ms))}, genes,
                      Structure(genes, None)).mean  # fmt: skip
    assert floored == pytest.approx(raw, abs=1e-3)
    assert np.linalg.norm(floored - plain) < 0.3 * np.linalg.norm(plain)


def test_a_table_of_few_architectures_follows_the_others():
    genes = Genes.of([4] * 8)
    rng = np.random.default_rng(0)
    truth = 0.05 * rng.normal(size=genes.width)
    tables = {}
    for i, count in enumerate((800, 800, 800, 12)):
        archs = np.unique(genomes(genes.choices, count, seed=i), axis=0)
        own = truth + 0.005 * np.random.default_rng(i).normal(size=genes.width)
        tables[f"d{i}"] = archs, 2.0 * (1.0 + genes.contrasts(archs) @ own)
    structure = Structure(genes, None)
    prior = sources.fit(tables, genes, structure)
    assert np.linalg.norm(prior.mean - truth) < 0.15 * np.linalg.norm(truth)
    # The small table does not look like a device of another kind.
    without = sources.fit({k: v for k, v in tables.items() if k != "d3"}, genes, structure)
    assert (prior.factors**2).sum() < 3.0 * (without.factors**2).sum()


@pytest.mark.parametrize(
    ("ms", "step"),
    [
        ([3.0, 4.0, 7.0, 12.0, 5.0], 1.0),
        ([30.0, 40.0, 70.0, 120.0, 50.0], 10.0),
        ([0.3, 0.4, 0.7, 1.2, 0.5], 0.1),
        ([3.0, 4.0, 7.0, 12.0], 0.0),
        ([3.0, 4.0, 7.0, 12.0, 5.00037], 0.0),
    ],
)
def test_a_rounded_clock_is_seen(ms, step):
    assert predictor._step_ms(np.array(ms)) == pytest.approx(step)


def test_a_rounded_clock_adds_its_variance_to_samples_and_to_intervals():
    """A uniform error of one step has a variance of a twelfth of its square."""
    rng = np.random.default_rng(0)
    archs = rng.integers(0, 3, (400, 4))
    truth = 4.0 + 6.0 * rng.random((4, 3))[np.arange(4), archs].sum(axis=1)
    rows = np.unique(archs, axis=0, return_index=True)[1][:12]
    exact, rounded = (TransferPredictor([3] * 4) for _ in range(2))
    exact.adapt(archs[rows], truth[rows])
    rounded.adapt(archs[rows], np.round(truth[rows]))
    fine, coarse = exact.predict(archs), rounded.predict(archs)
    assert (coarse.high - coarse.low).mean() > (fine.high - fine.low).mean()
    fitted = rounded._fit()[0]
    assert fitted.step * fitted.scale_ms == pytest.approx(1.0)
    assert (coarse.high - coarse.value >= 1.645 * np.sqrt(1 / 12) - 1e-9).all()

"""One cost for many devices: devices that were learned from, and those that were not."""

import csv
import gzip
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from device_profiles.errors import InvalidTable, SchemaMismatch, UsageError
from predictors.differentiable import ConditionedCost, NetworkCost, _prior
from predictors.differentiable.surface import contrasts
from predictors.testing.costs import check_differentiable_cost

CHOICES = (3, 4, 2, 3)
EVERYTHING = np.stack(np.unravel_index(np.arange(72), CHOICES), axis=1)


def device(seed, scale=1.0, joint=0.3):
    """Latencies of everything on a made-up device: two kinds of work, weighed anew, and what three genes share."""
    shared = np.random.default_rng(0)
    work = [shared.uniform(0.2, 2, (2, n)) for n in CHOICES]
    joined = shared.uniform(0, 1, CHOICES[:3])
    share = np.random.default_rng(seed).uniform()
    value = sum((share * w[0] + (1 - share) * w[1])[EVERYTHING[:, g]] for g, w in enumerate(work))
    return scale * (0.5 + value + joint * (1 + share) * joined[tuple(EVERYTHING[:, :3].T)])


def sources(count, **settings):
    return {f"d{i}": (EVERYTHING, device(10 + i, scale=0.5 * 2 ** (i % 5), **settings)) for i in range(count)}


@pytest.fixture(scope="module")
def cost():
    """Twelve devices, of which the network learns what three genes share: more than a prior of pairs knows."""
    return ConditionedCost.fit(CHOICES, sources(12, joint=1.5), steps=1500)


@pytest.fixture(scope="module")
def bare():
    """Three devices: too few for a network."""
    return ConditionedCost.fit(CHOICES, sources(3))


def at(values, references):
    return values[(references @ [24, 6, 3, 1])]


def error(found, truth):
    return float(np.mean(np.abs(found - truth) / truth))


def test_rows_of_the_made_up_space_are_found():
    assert at(np.arange(72), EVERYTHING).tolist() == list(range(72))


@pytest.mark.slow
def test_a_device_that_was_never_seen_is_known_by_its_references(cost):
    assert cost.references.shape == (10, 4) and len(np.unique(cost.references, axis=0)) == 10
    for seed in (100, 101, 102):
        truth = device(seed, scale=3.0, joint=1.5)
        found = cost.predict(EVERYTHING, at(truth, cost.references))
        assert error(found.value, truth) < 0.03
        assert found.unit == "ms" and found.low is None and found.high is None and (found.coverage == 1).all()


@pytest.mark.slow
def test_it_is_better_than_the_mean_of_sources(cost):
    mean = np.mean([value / np.exp(np.log(value).mean()) for _, value in sources(12, joint=1.5).values()], axis=0)
    for seed in (100, 101, 102):
        truth = device(seed, joint=1.5)
        known = at(truth, cost.references)
        scaled = mean * np.exp(np.mean(np.log(known / at(mean, cost.references))))
        assert error(cost.predict(EVERYTHING, known).value, truth) < 0.5 * error(scaled, truth)


def test_the_network_learns_what_the_prior_leaves(cost):
    assert cost.has_network and cost.joint.ratio < 0.8
    plain = replace(cost, joint=replace(cost.joint, learned=None))
    errors = []
    for seed in range(100, 110):
        truth = device(seed, joint=1.5)
        known = at(truth, cost.references)
        errors.append([error(c.predict(EVERYTHING, known).value, truth) for c in (cost, plain)])
    assert np.mean(errors, axis=0)[0] < 0.8 * np.mean(errors, axis=0)[1]


def test_with_few_devices_the_prior_stands_alone(bare):
    assert not bare.has_network and bare.joint.ratio is None
    truth = device(100)
    assert error(bare.predict(EVERYTHING, at(truth, bare.references)).value, truth) < 0.03


@pytest.mark.parametrize("name", ["cost", "bare"])
def test_the_cost_of_a_device_conforms(name, request):
    fitted = request.getfixturevalue(name)
    for scale in (1e-3, 1.0, 1e3):
        own = fitted.for_device(at(device(100, scale), fitted.references))
        check_differentiable_cost(own, own.predict)


def test_the_scale_of_a_device_multiplies_its_cost(bare):
    known = at(device(100), bare.references)
    once, twice = (bare.predict(EVERYTHING, factor * known).value for factor in (1.0, 2.0))
    assert twice == pytest.approx(2 * once, rel=1e-9)


def test_without_a_network_it_is_an_exact_expectation(bare):
    own = bare.for_device(at(device(100), bare.references))
    torch.manual_seed(0)
    probabilities = [torch.rand(n, dtype=torch.float64).softmax(-1) for n in CHOICES]
    chance = np.prod([p.numpy()[EVERYTHING[:, g]] for g, p in enumerate(probabilities)], axis=0)
    assert float(own(probabilities)) == pytest.approx(float(chance @ own.predict(EVERYTHING).value), rel=1e-3)


def test_references_that_are_given_are_kept():
    references = EVERYTHING[[3, 60, 11, 42]]
    fitted = ConditionedCost.fit(CHOICES, sources(3), references=references)
    assert fitted.references.tolist() == references.tolist()
    fitted.references[:] = 0
    assert fitted.references.tolist() == references.tolist()


def test_chosen_references_are_better_than_a_handful_in_a_corner():
    chosen, corner = (
        ConditionedCost.fit(CHOICES, sources(3), references=references) for references in (None, EVERYTHING[:10])
    )
    errors = [
        [error(c.predict(EVERYTHING, at(device(seed), c.references)).value, device(seed)) for c in (chosen, corner)]
        for seed in range(100, 110)
    ]
    assert np.mean(errors, axis=0)[0] < np.mean(errors, axis=0)[1]


@pytest.mark.slow
def test_equal_seeds_give_equal_costs():
    known = None
    found = []
    for _ in range(2):
        fitted = ConditionedCost.fit(CHOICES, sources(6), seed=3, steps=200)
        known = at(device(100), fitted.references)
        found.append(fitted.predict(EVERYTHING, known).value)
    assert np.array_equal(*found)


# -- sources that are partial


def test_references_that_a_source_lacks_are_filled_and_counted():
    references = EVERYTHING[[3, 60, 11, 42, 25, 70]]
    tables = sources(4)
    keep = np.ones(72, dtype=bool)
    keep[[3, 60]] = False
    tables["d1"] = (EVERYTHING[keep], tables["d1"][1][keep])
    fitted = ConditionedCost.fit(CHOICES, tables, references=references)
    whole = ConditionedCost.fit(CHOICES, sources(4), references=references)
    assert (fitted.filled, whole.filled) == (2, 0)
    known = at(device(100), references)
    assert fitted.predict(EVERYTHING, known).value == pytest.approx(whole.predict(EVERYTHING, known).value, rel=0.05)


def test_references_are_chosen_among_what_most_sources_have():
    tables = sources(4)
    tables["d2"] = (EVERYTHING[:40], tables["d2"][1][:40])
    fitted = ConditionedCost.fit(CHOICES, tables)
    assert fitted.filled == 0 and (fitted.references @ [24, 6, 3, 1] < 40).all()


def test_devices_with_different_architectures_teach_one_network():
    rng = np.random.default_rng(0)
    references = EVERYTHING[[3, 60, 11, 42, 25, 70]]
    tables = {}
    for name, (_, value) in sources(8).items():
        rows = np.union1d(rng.choice(72, 36, replace=False), [3, 60, 11])
        tables[name] = (EVERYTHING[rows], value[rows])
    fitted = ConditionedCost.fit(CHOICES, tables, references=references, steps=300)
    assert fitted.filled > 0
    truth = device(100)
    assert error(fitted.predict(EVERYTHING, at(truth, references)).value, truth) < 0.06


def test_a_source_without_any_reference_is_refused():
    tables = sources(3)
    tables["d1"] = (EVERYTHING[:40], tables["d1"][1][:40])
    with pytest.raises(InvalidTable, match="'d1' has none of the 2 references"):
        ConditionedCost.fit(CHOICES, tables, references=EVERYTHING[[50, 60]])


# -- bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_latencies_that_are_none_are_refused(bad, bare):
    tables = sources(3)
    tables["d1"][1][7] = bad
    with pytest.raises(InvalidTable, match=r"'d1'.* row 7"):
        ConditionedCost.fit(CHOICES, tables)
    known = at(device(100), bare.references)
    known[2] = bad
    with pytest.raises(InvalidTable, match=r"references.* row 2"):
        bare.for_device(known)


@pytest.mark.parametrize("shape", [(9,), (11,), (1, 10), ()])
def test_other_numbers_of_references_are_refused(shape, bare):
    with pytest.raises(UsageError, match="its 10 references"):
        bare.for_device(np.ones(shape))


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (lambda t: {}, UsageError, "no source devices"),
        (lambda t: {**t, "d1": (EVERYTHING, np.full(72, 3.0))}, InvalidTable, "'d1' is constant"),
        (lambda t: {**t, "d1": (EVERYTHING[:9], t["d1"][1][:9])}, InvalidTable, "'d1' has 9 distinct"),
        (lambda t: {**t, "d1": (EVERYTHING, t["d1"][1][:9])}, InvalidTable, r"'d1'.*\(72,\)"),
        (lambda t: {**t, "d1": (EVERYTHING + 1, t["d1"][1])}, UsageError, "outside"),
        (lambda t: {**t, "d1": (EVERYTHING[:, :3], t["d1"][1])}, UsageError, r"\(n, 4\)"),
    ],
)
def test_sources_that_teach_nothing_are_refused(spoil, error, says):
    with pytest.raises(error, match=says):
        ConditionedCost.fit(CHOICES, spoil(sources(3)))


@pytest.mark.parametrize(
    ("references", "says"),
    [
        (EVERYTHING[[1, 2, 1]], "3 with 2 distinct"),
        (EVERYTHING[:0], "distinct"),
        (EVERYTHING[:3] + 2, "outside"),
        (EVERYTHING[:3, :2], r"\(n, 4\)"),
    ],
)
def test_references_that_are_none_are_refused(references, says):
    with pytest.raises(UsageError, match=says):
        ConditionedCost.fit(CHOICES, sources(3), references=references)


# -- files


@pytest.mark.parametrize("name", ["cost", "bare"])
def test_what_is_saved_is_loaded_as_it_was(name, request, tmp_path):
    fitted = request.getfixturevalue(name)
    fitted.save(tmp_path)
    again = ConditionedCost.load(tmp_path)
    known = at(device(100), fitted.references)
    assert np.array_equal(again.predict(EVERYTHING, known).value, fitted.predict(EVERYTHING, known).value)
    assert again.references.tolist() == fitted.references.tolist()
    assert (again.devices, again.filled, again.has_network) == (fitted.devices, fitted.filled, fitted.has_network)


def test_damaged_files_are_refused(cost, forge, tmp_path):
    cost.save(tmp_path)
    for file in (tmp_path / "cost.json", tmp_path / "cost.safetensors"):
        content = file.read_bytes()
        for damaged in (None, b"", content[: len(content) // 2], b"[]"):
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            with pytest.raises(SchemaMismatch):
                ConditionedCost.load(tmp_path)
            file.write_bytes(content)
    facts = json.loads((tmp_path / "cost.json").read_text())
    for name in sorted(facts.keys() - {"files", "digest", "written_by", "schema"}):
        for spoiled in ({**facts, name: "?"}, {key: value for key, value in facts.items() if key != name}):
            (tmp_path / "cost.json").write_text(json.dumps(spoiled))
            forge(tmp_path, "cost.json")
            with pytest.raises(SchemaMismatch):
                ConditionedCost.load(tmp_path)


def test_a_cost_of_another_kind_is_refused(bare, tmp_path):
    bare.save(tmp_path)
    with pytest.raises(SchemaMismatch, match="conditioned-cost"):
        NetworkCost.load(tmp_path)


# -- the prior


def test_covariances_are_sums_over_genes_and_over_pairs_of_them():
    prior = _prior.Prior(CHOICES, EVERYTHING[:5], np.zeros((1, 13)), _prior.draw_scales(np.random.default_rng(0)))
    others = EVERYTHING[[0, 17, 44, 71]]
    main, pairs = prior._kernels(prior.anchors, others)
    terms = (prior.anchors[:, None] == others[None]) - 1 / np.array(CHOICES)
    assert main == pytest.approx(1 + terms.sum(axis=-1) / 4)
    by_pair = sum(terms[..., i] * terms[..., j] for i in range(4) for j in range(i))
    assert pairs == pytest.approx(by_pair / 6)
    assert contrasts(CHOICES, others).sum(axis=1) == pytest.approx(0)


def test_a_posterior_nearly_passes_through_what_was_measured():
    rng = np.random.default_rng(0)
    surfaces = np.hstack([np.ones((4, 1)), rng.normal(0, 0.1, (4, 12))])
    scales = np.array([[1.0, 0.5, 0.2, 1e-4]])
    prior = _prior.Prior(CHOICES, EVERYTHING[[3, 60, 11, 42]], surfaces, scales)
    vectors = rng.uniform(0.8, 1.2, (7, 4))
    effects, pairs, chosen = prior.posterior(vectors)
    assert prior.values(effects, pairs, prior.anchors) == pytest.approx(vectors, abs=1e-3)
    assert chosen == pytest.approx(np.log(scales).repeat(7, axis=0))


# -- public data


@pytest.mark.slow
def test_on_public_data_an_unseen_device_is_ranked_better_than_by_the_mean_of_sources(data):
    with gzip.open(data / "nasbench201.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    archs = np.array([[names.index(e.split("~")[0]) for e in r["arch"].replace("+", "").split("|") if e] for r in rows])
    tables = {key: np.array([float(r[key]) for r in rows]) for key in rows[0] if key.startswith("latency_ms.")}
    truth = tables.pop("latency_ms.gold_6240")
    fitted = ConditionedCost.fit([5] * 6, {name: (archs, value) for name, value in tables.items()}, steps=600)
    place = {arch.tobytes(): row for row, arch in enumerate(archs)}
    known = truth[[place[arch.tobytes()] for arch in fitted.references]]
    mean = np.mean([value / np.exp(np.log(value).mean()) for value in tables.values()], axis=0)

    def ranked(found):
        return np.corrcoef(found.argsort().argsort(), truth.argsort().argsort())[0, 1]

    value = fitted.predict(archs, known).value
    assert ranked(value) > 0.94
    assert ranked(value) > ranked(mean)

"""Costs that are learned for one device."""

import csv
import gzip
import json
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from device_profiles.errors import HwnasError, InvalidTable, SchemaMismatch, UsageError
from predictors.differentiable import NetworkCost
from predictors.differentiable.surface import Network
from predictors.testing.costs import check_differentiable_cost

CHOICES = (3, 4, 5, 2, 4)


def made_up(count, *, pairs, seed=0, choices=CHOICES):
    """Architectures and ms: main effects, and pairs of neighbouring genes as strong as asked."""
    rng = np.random.default_rng(seed)
    main = [rng.uniform(0.2, 2, n) for n in choices]
    both = [rng.normal(size=(n, m)) for n, m in pairwise(choices)]
    archs = np.stack([rng.integers(0, n, count) for n in choices], axis=1)
    value = sum(effect[archs[:, g]] for g, effect in enumerate(main))
    value = value + pairs * sum(table[archs[:, g], archs[:, g + 1]] for g, table in enumerate(both))
    return archs, np.maximum(value, 0.2) + 0.5


@pytest.fixture(scope="module")
def crossed():
    """A cost with strong pairs, from 400 of its 480 architectures."""
    return NetworkCost.fit(CHOICES, *made_up(1500, pairs=0.4), steps=2000)


@pytest.fixture(scope="module")
def additive():
    """A cost whose table is its main effects with 2 % of noise."""
    archs, value = made_up(150, pairs=0.0)
    return NetworkCost.fit(CHOICES, archs, value * np.random.default_rng(1).normal(1, 0.02, 150), steps=400)


def test_pairs_of_genes_are_learned_and_conform(crossed):
    assert crossed.has_network
    assert crossed.error < 0.5 * crossed.linear_error
    check_differentiable_cost(crossed, crossed.predict)


def test_without_pairs_the_network_is_dropped_and_the_main_effects_conform(additive):
    assert not additive.has_network
    assert additive.error == additive.linear_error < 0.03
    check_differentiable_cost(additive, additive.predict)


def test_main_effects_are_exact_expectations(additive):
    archs = np.stack(np.unravel_index(np.arange(480), CHOICES), axis=1)
    probabilities = [torch.rand(n, dtype=torch.float64).softmax(-1) for n in CHOICES]
    chance = np.prod([p.numpy()[archs[:, g]] for g, p in enumerate(probabilities)], axis=0)
    assert float(additive(probabilities)) == pytest.approx(float(chance @ additive.predict(archs).value), rel=1e-3)


def test_main_effects_are_those_of_the_table():
    archs, value = made_up(300, pairs=0.0)
    unseen, truth = made_up(100, pairs=0.0)
    found = NetworkCost.fit(CHOICES, archs, value, steps=100).predict(unseen)
    assert found.value == pytest.approx(truth, rel=2e-3)


def test_the_interval_covers_what_was_not_seen():
    archs, value = made_up(1200, pairs=0.2)
    value = value * np.exp(np.random.default_rng(2).normal(0, 0.1, len(value)))
    cost = NetworkCost.fit(CHOICES, archs[:800], value[:800], unit="mJ", steps=400)
    found = cost.predict(archs[800:])
    inside = np.mean((found.low <= value[800:]) & (value[800:] <= found.high))
    assert found.unit == "mJ" and 0.82 <= inside <= 0.98
    assert (found.low > 0).all() and (found.coverage == 1).all() and found.missing == ((),) * 400


def test_too_few_rows_give_no_interval():
    archs, value = made_up(50, pairs=0.0)
    rows = np.sort(np.unique(archs, axis=0, return_index=True)[1])[:30]
    found = NetworkCost.fit(CHOICES, archs[rows], value[rows], steps=100).predict(archs)
    assert found.low is None and found.high is None


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-6, pytest.param(1e6, marks=pytest.mark.slow)])
def test_the_unit_does_not_matter(scale, crossed):
    archs, value = made_up(1500, pairs=0.4)
    other = NetworkCost.fit(CHOICES, archs, scale * value, steps=2000)
    assert other.predict(archs).value == pytest.approx(scale * crossed.predict(archs).value, rel=0.05)


def test_costs_stay_above_zero_beyond_what_was_learned():
    archs = np.stack(np.unravel_index(np.arange(64), (4, 4, 4)), axis=1)
    zeros = (archs == 0).sum(axis=1)
    value = np.array([10.0, 4.0, 1.0])[np.minimum(zeros, 2)]
    seen = zeros < 3
    cost = NetworkCost.fit((4, 4, 4), archs[seen], value[seen], steps=0)
    assert cost.surface.linear(archs[~seen])[0] < 0, "without this the test shows nothing"
    assert 0 < cost.predict(archs[~seen]).value[0] < 1
    check_differentiable_cost(cost, cost.predict)


def test_equal_seeds_give_equal_costs_and_others_another():
    archs, value = made_up(300, pairs=0.4)
    fits = [NetworkCost.fit(CHOICES, archs, value, seed=seed, steps=200).predict(archs).value for seed in (3, 3, 4)]
    assert np.array_equal(fits[0], fits[1]) and not np.array_equal(fits[0], fits[2])


def test_rows_of_one_architecture_are_never_on_both_sides():
    archs, _ = made_up(40, pairs=0.0)
    archs = np.repeat(np.unique(archs, axis=0), 50, axis=0)
    by_row = np.random.default_rng(0).lognormal(0, 1, len(archs) // 50).repeat(50)
    cost = NetworkCost.fit(CHOICES, archs, by_row, steps=400)
    assert cost.error > 0.2, "values that nothing explains were predicted: the held-out rows were seen"


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_values_that_are_no_costs_are_refused(bad):
    archs, value = made_up(60, pairs=0.0)
    value[7] = bad
    with pytest.raises(InvalidTable, match=r"1 of 60 .* row 7"):
        NetworkCost.fit(CHOICES, archs, value)


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (lambda a, v: (CHOICES, a, np.full(60, 2.0)), InvalidTable, "constant"),
        (lambda a, v: (CHOICES, a[:5], v[:5]), InvalidTable, "at least 20"),
        (lambda a, v: (CHOICES, a[[0] * 60], v), InvalidTable, "at least 20 distinct architectures, got 1"),
        (lambda a, v: (CHOICES, a, v[:59]), InvalidTable, r"\(60,\)"),
        (lambda a, v: (CHOICES, a, v[:, None]), InvalidTable, r"\(60,\)"),
        (lambda a, v: (CHOICES, a[:, :4], v), UsageError, r"\(n, 5\)"),
        (lambda a, v: (CHOICES, a + 0.5, v), UsageError, "whole|integer"),
        (lambda a, v: (CHOICES, a + 1, v), UsageError, "outside"),
        (lambda a, v: (CHOICES, a - 1, v), UsageError, "outside"),
        (lambda a, v: ((), a, v), UsageError, "at least 1 option"),
        (lambda a, v: ((3, 0, 5, 2, 4), a, v), UsageError, "at least 1 option"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(spoil, error, says):
    with pytest.raises(error, match=says) as caught:
        NetworkCost.fit(*spoil(*made_up(60, pairs=0.0)))
    assert isinstance(caught.value, HwnasError) and (caught.value.hint or error is UsageError)


def test_leading_shapes_that_differ_are_refused(crossed):
    probabilities = [torch.full((2, n), 1 / n) for n in CHOICES]
    with pytest.raises(UsageError, match="leading shapes"):
        crossed([probabilities[0][:1], *probabilities[1:]])


def test_genes_outside_of_the_space_are_refused(crossed):
    with pytest.raises(UsageError, match="outside"):
        crossed.predict(np.array([[3, 0, 0, 0, 0]]))
    assert crossed.predict(np.empty((0, 5), dtype=np.int64)).value.shape == (0,)


# -- files


@pytest.mark.parametrize("name", ["crossed", "additive"])
def test_what_is_saved_is_loaded_as_it_was(name, request, tmp_path):
    cost = request.getfixturevalue(name)
    cost.save(tmp_path / "cost")
    assert sorted(file.name for file in (tmp_path / "cost").iterdir()) == ["cost.json", "cost.safetensors"]
    again = NetworkCost.load(tmp_path / "cost")
    archs, _ = made_up(200, pairs=0.0, seed=5)
    for field in ("value", "low", "high"):
        assert np.array_equal(getattr(again.predict(archs), field), getattr(cost.predict(archs), field))
    assert (again.unit, again.error, again.linear_error, again.has_network) == (
        cost.unit,
        cost.error,
        cost.linear_error,
        cost.has_network,
    )
    check_differentiable_cost(again, cost.predict)


def test_damaged_files_are_refused(crossed, tmp_path):
    crossed.save(tmp_path)
    for file in (tmp_path / "cost.json", tmp_path / "cost.safetensors"):
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[-3] ^= 0xFF
        for damaged in (None, b"", content[: len(content) // 2], bytes(flipped), b"[]"):
            file.unlink()
            if damaged is not None:
                file.write_bytes(damaged)
            with pytest.raises(SchemaMismatch) as caught:
                NetworkCost.load(tmp_path)
            assert str(tmp_path) in caught.value.message and caught.value.hint
            file.write_bytes(content)
    assert NetworkCost.load(tmp_path).choices == CHOICES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", "hwnas.network-cost/9"),
        ("choices", [3, 4, 5, 2]),
        ("choices", "abc"),
        ("choices", [3, 4, 5, 2, 0]),
        ("softness", -1),
        ("softness", float("nan")),
        ("spread", None),
        ("hidden", 32),
        ("half_width", "wide"),
        ("error", -0.1),
        ("unit", 3),
    ],
)
def test_facts_that_make_no_cost_are_refused(crossed, tmp_path, forge, name, value):
    crossed.save(tmp_path)
    facts = json.loads((tmp_path / "cost.json").read_text())
    for content in ({**facts, name: value}, {key: other for key, other in facts.items() if key != name}):
        (tmp_path / "cost.json").write_text(json.dumps(content))
        if value == value and "schema" in content:  # JSON has no NaN to sign
            forge(tmp_path, "cost.json")
        with pytest.raises(SchemaMismatch):
            NetworkCost.load(tmp_path)


def test_a_folder_of_something_else_is_left_alone(crossed, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a learned cost"):
        crossed.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_tensors_of_another_cost_are_refused(crossed, additive, tmp_path):
    crossed.save(tmp_path / "a")
    additive.save(tmp_path / "b")
    (tmp_path / "a" / "cost.safetensors").write_bytes((tmp_path / "b" / "cost.safetensors").read_bytes())
    with pytest.raises(SchemaMismatch, match="SHA-256 differs"):
        NetworkCost.load(tmp_path / "a")


# -- public data, and speed


@pytest.mark.slow
def test_on_public_data_it_beats_its_main_effects(data):
    with gzip.open(data / "nasbench201.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    names = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
    archs = np.array([[names.index(e.split("~")[0]) for e in r["arch"].replace("+", "").split("|") if e] for r in rows])
    value = np.array([float(r["latency_ms.1080ti_1"]) for r in rows])
    cost = NetworkCost.fit([5] * 6, archs, value)
    assert cost.has_network and cost.error < cost.linear_error
    assert np.corrcoef(cost.predict(archs).value.argsort().argsort(), value.argsort().argsort())[0, 1] > 0.985


@pytest.fixture(scope="module")
def large():
    """22 genes of 9 options, with a network, learned or not."""
    choices = (9,) * 22
    cost = NetworkCost.fit(choices, *made_up(1000, pairs=0.1, choices=choices), steps=100)
    rng = np.random.default_rng(0)
    sizes = ((64,), (64, 64), (64,), (64,), (1,))
    network = Network(rng.normal(size=(198, 64)) / 5, tuple(rng.normal(size=size) / 8 for size in sizes))
    return replace(cost, surface=replace(cost.surface, network=network, spread=1.0))


def test_costs_of_large_spaces_conform(large):
    check_differentiable_cost(large, large.predict)


def test_many_rows_are_predicted_together(large):
    """Row by row is the yardstick, so that no absolute time is asked for."""
    many = np.random.default_rng(0).integers(0, 9, (40_000, 22))
    large.predict(many[:100])

    def seconds(work):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    together = seconds(lambda: large.predict(many)) / 40_000
    alone = seconds(lambda: [large.predict(many[i : i + 1]) for i in range(50)]) / 50
    assert together < alone / 5
    assert large.predict(many).value[:50] == pytest.approx(
        [large.predict(many[i : i + 1]).value[0] for i in range(50)], rel=1e-9
    )

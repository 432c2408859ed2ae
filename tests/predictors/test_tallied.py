"""What parts of networks cost: learned from values of networks, exact where they are sums, refused where damaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import nas
from device_profiles.errors import UsageError
from predictors.encodings import Tallied, load
from predictors.testing import check_encoding

SPECS = ["motifs:motifs=3,nodes=3,cell_nodes=4", "nasbot:layers=4,steps=2"]


@pytest.fixture(scope="module", params=SPECS)
def made(request):
    """A space, genomes with networks, and a cost that is a sum over parts."""
    space = nas.spaces.load(request.param)
    archs = space.sample(12_000, np.random.default_rng(0))
    archs = archs[space.is_valid(archs)]
    true = np.random.default_rng(1).uniform(0.1, 1.0, space.tallied)
    numbers, times = space.tally(archs)
    value = (true[numbers] * (numbers > 0) * (1.0 if times is None else times)).sum(axis=0)
    return space, archs, value


@pytest.fixture(scope="module")
def fit(made):
    space, archs, value = made
    return Tallied.fit(space, archs[:-300], value[:-300], "ms")


def test_sums_over_parts_are_found(made, fit):
    _, archs, value = made
    away = np.abs(fit.predict(archs[-300:]).value / value[-300:] - 1.0)
    assert np.median(away) < 0.01 and np.quantile(away, 0.99) < 0.05


def test_it_keeps_the_protocol(made, fit):
    _, archs, _ = made
    check_encoding(replace(fit, half_width=0.1, coverage=0.7), archs[:64], None, "ms")
    check_encoding(fit, archs[:64], None, "ms")
    with pytest.raises(UsageError, match="no gradient"):
        fit.differentiable()


def test_rows_of_a_large_batch_are_those_of_small_ones(made, fit):
    _, archs, _ = made
    np.testing.assert_allclose(fit.predict(archs[:2000]).value[1500:1600], fit.predict(archs[1500:1600]).value)
    assert len(fit.predict(archs[:0]).value) == 0


def test_a_space_that_has_changed_is_named(fit, made):
    with pytest.raises(UsageError, match="parts apart") as caught:
        replace(fit, costs=fit.costs[:-1]).predict(made[1][:1])
    assert caught.value.hint


def test_a_space_that_nobody_knows_is_named(fit, made):
    with pytest.raises(UsageError, match="nobody knows it"):
        replace(fit, space="a space of no one").predict(made[1][:1])


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, facts: tensors.update(costs=tensors["costs"] * np.nan),
        lambda tensors, facts: tensors.update(costs=tensors["costs"][None]),
        lambda tensors, facts: tensors.pop("costs"),
        lambda tensors, facts: facts.update(facts=facts["facts"].replace('"coverage": 1.0', '"coverage": 7.0')),
        lambda tensors, facts: facts.update(facts=facts["facts"].replace('"coverage": 1.0', '"x": 7.0')),
    ],
)
def test_a_damaged_file_is_refused(fit, tmp_path, change):
    fit.save(tmp_path)
    path = tmp_path / Tallied.file
    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()
    tensors = load_file(path)
    change(tensors, facts)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(tensors or {"x": np.zeros(1)}, path, metadata=facts)
    with pytest.raises((ValueError, LookupError)):
        load("tallied", tmp_path, fit.choices, None, "ms")

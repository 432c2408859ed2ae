"""Whatever predicts architectures is loaded in one way, and keeps one protocol."""

from dataclasses import replace

import numpy as np
import pytest

import predictors
from device_profiles.errors import ConditionMismatch, InvalidData, SchemaMismatch, UsageError
from predictors import evaluation, samples, testing
from predictors.differentiable import ConditionedCost, NetworkCost
from predictors.transfer import TransferPredictor

CHOICES = (3, 4, 2, 3, 1)
SPACE = {"target": "a board", "space": "five:genes=5"}
RNG = np.random.default_rng(0)
ARCHS = np.unique(RNG.integers(0, CHOICES, size=(60, len(CHOICES))), axis=0)


def latency(archs, slower=1.0):
    """Main effects and an interaction."""
    pair = 0.4 * ((archs[:, 0] == 1) & (archs[:, 3] == 2))
    return slower * (1.0 + 0.3 * archs[:, 0] + 0.2 * archs[:, 1] ** 0.5 + 0.1 * archs[:, 2] + pair)


def features(archs):
    return np.stack([archs.sum(axis=1), archs[:, 0] * archs[:, 1]], axis=1)


def network(**said):
    return NetworkCost.fit(CHOICES, ARCHS, latency(ARCHS), steps=50, hidden=8, **said)


def conditioned():
    sources = {f"board {i}": (ARCHS, latency(ARCHS, 1.0 + i) + 0.1 * i * ARCHS[:, 1]) for i in range(3)}
    return ConditionedCost.fit(CHOICES, sources, steps=20, hidden=8)


def device(**said):
    whole = conditioned()
    return whole.for_device(latency(whole.references, 1.7), **said)


def transfer(given=None, **said):
    found = TransferPredictor(CHOICES, features=given, **said)
    found.fit_sources({"other": (ARCHS, latency(ARCHS, 0.5) + 0.05 * ARCHS[:, 3])})
    return found.adapt(ARCHS[::5], latency(ARCHS[::5], 2.0))


MAKERS = {"network-cost": network, "device-cost": device, "transfer": transfer}


@pytest.mark.parametrize("said", [{}, SPACE], ids=["nothing", "space and target"])
@pytest.mark.parametrize("name", MAKERS)
def test_each_conforms(name, said):
    made = MAKERS[name](**said)
    testing.check_encoding_predictor(made, ARCHS[:9])
    assert (made.card.predictor, made.card.target, made.card.space) == (name, said.get("target"), said.get("space"))


def test_a_fitted_predictor_conforms(fitted):
    testing.check_encoding_predictor(fitted, np.array([[1, 2, 3], [3, 3, 3], [0, 4, 0]]))


def test_a_transfer_predictor_with_features_is_loaded_with_them_and_has_no_expectation(tmp_path):
    made = transfer(features)
    testing.check_encoding_predictor(made, ARCHS[:9], features=features)
    with pytest.raises(UsageError, match="no expected latency"):
        made.differentiable()
    made.save(tmp_path / "transfer")
    with pytest.raises(UsageError, match="structural features"):
        predictors.load(tmp_path / "transfer")
    transfer().save(tmp_path / "plain")
    again = predictors.load(tmp_path / "plain", features=features)
    assert again.predict(ARCHS).value.tolist() == transfer().predict(ARCHS).value.tolist(), "they are not needed"


def test_the_expected_latency_is_the_mean_over_independent_choices():
    import torch

    made, chance = transfer(), [RNG.dirichlet(np.ones(options)) for options in CHOICES]
    everything = np.array(list(np.ndindex(*CHOICES)))
    weights = np.prod([row[everything[:, gene]] for gene, row in enumerate(chance)], axis=0)
    found = made.differentiable()([torch.tensor(row) for row in chance])
    assert float(found) == pytest.approx(float(weights @ made.predict(everything).value), rel=1e-9)


class Kept:
    """A cost that breaks one rule."""

    def __init__(self, inner, **broken):
        self._inner, self._broken = inner, broken

    def __getattr__(self, name):
        return self._broken.get(name) or getattr(self._inner, name)


@pytest.mark.parametrize(
    ("rule", "broken"),
    [
        ("card", {"card": replace(network().card, unit="ms", choices=())}),
        ("refusals", {"require_target": lambda name: None}),
        ("refusals", {"predict": lambda archs, missing="guess": network().predict(archs)}),
        ("load", {"save": lambda folder: device().save(folder)}),
    ],
)
def test_the_kit_finds_what_breaks_the_protocol(rule, broken):
    with pytest.raises(AssertionError, match=rule):
        testing.check_encoding_predictor(Kept(network(), **broken), ARCHS[:9])


def test_a_cost_in_no_known_unit_is_of_no_cost():
    with pytest.raises(UsageError, match="neither latency"):
        network(unit="kWh").card.cost  # noqa: B018 - the property raises


def test_a_cost_of_many_devices_is_of_none(tmp_path):
    conditioned().save(tmp_path / "many")
    with pytest.raises(UsageError, match="many devices") as caught:
        predictors.load(tmp_path / "many")
    assert "for_device" in caught.value.hint


@pytest.mark.parametrize("name", MAKERS)
def test_targets_and_spaces_that_are_no_texts_are_refused(name, tmp_path, forge):
    MAKERS[name]().save(tmp_path / "saved")
    (head,) = (tmp_path / "saved").glob("*.json")
    forge(tmp_path / "saved", head.name, target=5)
    with pytest.raises(SchemaMismatch, match="target must be a text"):
        predictors.load(tmp_path / "saved")


def test_a_cost_without_a_target_speaks_for_none():
    with pytest.raises(ConditionMismatch, match="does not say"):
        network().require_target("fake")


# -- evaluation


def test_a_learned_cost_is_held_against_what_was_measured_of_its_space(store, corner):
    space, found = corner.base, samples.networks(store, store.require_conditions("fake"))
    rows = store.models()
    archs = np.array([space.parse(rows[model].arch) for model in found.ids])
    cost = NetworkCost.fit(space.choices, archs, found.cost, steps=50, target="fake", space=space.spec)
    told = evaluation.evaluate_architectures(cost, store, space.parse)
    assert told.scores.n == len(found.ids) and told.split == "all measured" and told.noise_mape is not None
    assert (
        told.predicted.tolist() == cost.predict(archs).value.tolist() and told.measured.tolist() == found.cost.tolist()
    )
    with pytest.raises(UsageError, match="of which space"):
        evaluation.evaluate_architectures(replace(cost, space=None), store, space.parse)
    with pytest.raises(InvalidData, match="0 networks"):
        evaluation.evaluate_architectures(replace(cost, space="other"), store, space.parse)

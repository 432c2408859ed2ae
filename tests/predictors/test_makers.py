"""Finding predictors by name, and the kit that holds all of them to one protocol."""

import json
from dataclasses import replace

import numpy as np
import pytest

import predictors
from device_profiles.errors import InvalidTable, SchemaMismatch, UnknownName
from predictors import graphs, models, network, registry, testing
from predictors.graphs import graph_network
from predictors.models.linear import Linear
from predictors.testing.graphs import graphs as made_up
from predictors.testing.graphs import learned

# -- names


def test_graph_predictors_and_kernel_models_are_found_together():
    assert registry.names() == predictors.names() == tuple(sorted(registry.names()))
    assert set(registry.names()) == {*models.REGISTRY.names(), *graphs.REGISTRY.names()}
    assert {"graph-network", "lightgbm", "linear", "lookup", "roofline", "simulation"} <= set(registry.names())
    assert len(registry.names()) == len(models.REGISTRY.names()) + len(graphs.REGISTRY.names()), "no name twice"


def test_predictors_are_found_by_cost():
    assert "simulation" in registry.names_for("memory") and "lookup" not in registry.names_for("memory")
    for cost in ("latency", "energy"):
        assert {"graph-network", "lightgbm", "linear", "lookup"} <= set(registry.names_for(cost))
        assert "simulation" not in registry.names_for(cost)
    assert registry.names_for("beauty") == ()


def test_a_kernel_model_is_a_graph_predictor_with_a_composition():
    kernels, networks = learned("latency", "fake")
    found = registry.get("linear").fit(kernels, networks)
    assert isinstance(found, network.NetworkModel) and isinstance(found.kernels, Linear)
    assert registry.get("simulation") is graphs.REGISTRY.get("simulation")


def test_unknown_names_are_told_of_all():
    with pytest.raises(UnknownName) as caught:
        registry.get("simulatoin")
    assert "'simulation'" in caught.value.hint
    with pytest.raises(UnknownName) as caught:
        registry.get("lokup")
    assert "'lookup'" in caught.value.hint


# -- the kit


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "graph-network" else ()) for n in registry.names()]
)
def test_every_predictor_conforms(name, monkeypatch):
    monkeypatch.setattr(graph_network, "EPOCHS", 10)  # how good it is, is not asked here
    testing.check_graph_predictor(registry.get(name))


class Sound:
    """A predictor that conforms, of which the broken ones are made."""

    costs = ("latency",)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def fit(cls, kernels, networks, *, sure=True):
        if not (np.isfinite(networks.cost) & (networks.cost > 0)).all():
            raise InvalidTable("costs must be above 0 and finite")
        return cls(network.fit(Linear, kernels, networks, sure=sure))

    @classmethod
    def load(cls, folder):
        return cls(network.load(folder, Linear))

    @property
    def half_width(self):
        return self.inner.half_width

    def predict(self, graphs, *, missing="guess"):
        return self.changed(self.inner.predict(graphs, missing=missing))

    def predict_catalogue(self, catalogue):
        return self.changed(self.inner.predict_catalogue(catalogue))

    def changed(self, found):
        return found

    def idle(self, catalogue):
        return self.inner.idle(catalogue)

    def save(self, folder):
        self.inner.save(folder)


class PredictsNothing(Sound):
    costs = ()


class PredictsBeauty(Sound):
    costs = ("latency", "beauty")


class SpeaksInSeconds(Sound):
    def changed(self, found):
        return replace(found, unit="s")


class GivesZeros(Sound):
    def changed(self, found):
        return replace(found, value=0 * found.value, low=None if found.low is None else 0 * found.low)


class GivesNaN(Sound):
    def changed(self, found):
        return replace(found, value=np.where(found.coverage < 1, np.nan, found.value))


class AnswersInSinglePrecision(Sound):
    def changed(self, found):
        return replace(found, value=found.value.astype(np.float32))


class AnswersOneNumber(Sound):
    def changed(self, found):
        return replace(found, value=found.value[:1])


class CoversTooMuch(Sound):
    def changed(self, found):
        return replace(found, coverage=found.coverage + 0.5)


class SaysNothingIsMissing(Sound):
    def changed(self, found):
        return replace(found, missing=((),) * len(found.value))


class InventsWhatIsMissing(Sound):
    def changed(self, found):
        return replace(found, missing=(("Invented",),) * len(found.value))


class GivesOneEnd(Sound):
    def changed(self, found):
        return replace(found, low=None)


class LeavesItsValueOut(Sound):
    def changed(self, found):
        return found if found.low is None else replace(found, low=1.01 * found.value)


class BelievesTheStrange(Sound):
    def changed(self, found):
        if found.high is None:
            return found
        width = self.half_width
        return replace(found, low=found.value * (1 - width), high=found.value * (1 + width))


class HasNoInterval(Sound):
    half_width = None

    def changed(self, found):
        return replace(found, low=None, high=None)


class HidesItsWidth(Sound):
    half_width = None


class IsLessPreciseInAHurry(Sound):
    def changed(self, found):
        return found if self.half_width is not None else replace(found, value=1.1 * found.value)


class NeverRaises(Sound):
    def predict(self, graphs, *, missing="guess"):
        return self.inner.predict(graphs, missing="guess" if missing == "raise" else missing)


class TakesAnyWord(Sound):
    def predict(self, graphs, *, missing="guess"):
        return self.inner.predict(graphs, missing="raise" if missing == "raise" else "guess")


class Sorts(Sound):
    def predict(self, graphs, *, missing="guess"):
        return self.inner.predict(sorted(graphs, key=lambda graph: len(graph.nodes)), missing=missing)


class ListensToOthers(Sound):
    def predict(self, graphs, *, missing="guess"):
        found = self.inner.predict(graphs, missing=missing)
        return replace(found, value=found.value * (1 + 1e-3 * len(graphs)))


class ReadsNames(Sound):
    def predict(self, graphs, *, missing="guess"):
        found = self.inner.predict(graphs, missing=missing)
        named = np.array([graph.outputs[0].startswith("other") for graph in graphs], dtype=bool)
        return replace(found, value=found.value * (1 + 1e-3 * named))


class Gambles(Sound):
    def __init__(self, inner):
        super().__init__(inner)
        self.luck = 1 + 1e-3 * np.random.default_rng().random()

    def changed(self, found):
        return replace(found, value=found.value * self.luck)


class ListsOtherwise(Sound):
    def predict_catalogue(self, catalogue):
        found = self.inner.predict_catalogue(catalogue)
        return replace(found, value=1.001 * found.value)


class ListsWithoutIntervals(Sound):
    def predict_catalogue(self, catalogue):
        return replace(self.inner.predict_catalogue(catalogue), low=None, high=None)


class IsFreeWhenIdle(Sound):
    def idle(self, catalogue):
        return 0.0


class LearnsFromAnything(Sound):
    @classmethod
    def fit(cls, kernels, networks, *, sure=True):
        good = np.isfinite(networks.cost) & (networks.cost > 0)
        return super().fit(kernels, networks.take(np.flatnonzero(good)), sure=sure)


class FailsOddly(Sound):
    @classmethod
    def fit(cls, kernels, networks, *, sure=True):
        if not networks.ids:
            raise KeyError("n00")
        return super().fit(kernels, networks, sure=sure)


class SavesNothing(Sound):
    def save(self, folder):
        pass


class SavesACard(Sound):
    def save(self, folder):
        super().save(folder)
        (folder / "card.json").write_text('{"schema": "mine"}')


class SavesOddFiles(Sound):
    def save(self, folder):
        super().save(folder)
        (folder / "weights.npz").write_bytes(b"weights")


class SavesAPickle(Sound):
    def save(self, folder):
        super().save(folder)
        (folder / "weights.txt").write_bytes(b"\x80\x04weights")


class LoadsAnother(Sound):
    @classmethod
    def load(cls, folder):
        found = network.load(folder, Linear)
        return cls(replace(found, composition=replace(found.composition, constant=9.0)))


class ForgetsTheWidth(Sound):
    @classmethod
    def load(cls, folder):
        return cls(replace(network.load(folder, Linear), half_width=0.5))


class LoadsAnySchema(Sound):
    @classmethod
    def load(cls, folder):
        path = folder / "network.json"
        if path.exists() and '"another/9"' in path.read_text():
            path.write_text(json.dumps({**json.loads(path.read_text()), "schema": "hwnas.network/3"}))
        return super().load(folder)


class LoadsWithAnyError(Sound):
    @classmethod
    def load(cls, folder):
        try:
            return super().load(folder)
        except SchemaMismatch as error:
            raise ValueError("cannot be read") from error


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (PredictsNothing, "costs: it must be a tuple"),
        (PredictsBeauty, "costs: it must be a tuple out of latency, energy, memory"),
        (SpeaksInSeconds, "predict: the unit must be 'ms', got 's'"),
        (GivesZeros, "predict: costs must be above 0"),
        (GivesNaN, "predict: value must be finite"),
        (AnswersInSinglePrecision, "predict: value must be float64"),
        (AnswersOneNumber, r"predict: value must be float64 .*, got \(1,\)"),
        (CoversTooMuch, r"predict: coverage must be within 0\.\.1"),
        (SaysNothingIsMissing, "missing: network .* lacks 0 kernels, and its coverage is"),
        (InventsWhatIsMissing, "missing: network .* lacks kernels that it does not have: .*Invented"),
        (GivesOneEnd, "intervals: one end alone"),
        (LeavesItsValueOut, "intervals: an interval must hold its value"),
        (BelievesTheStrange, "intervals: a network with a strange kernel is believed"),
        (HasNoInterval, "intervals: from .* networks there must be an interval"),
        (HidesItsWidth, "half_width: it is None, and predictions have an interval"),
        (IsLessPreciseInAHurry, "sure: without intervals it predicts other values"),
        (NeverRaises, "missing: .* `raise` does not raise MissingKernel"),
        (TakesAnyWord, "missing: 'skip' is no way"),
        (Sorts, "predict: the answers are not in order"),
        (ListensToOthers, "predict: network 0 alone is another one"),
        (ReadsNames, "predict: names of nodes and values must not matter"),
        (Gambles, "fit: the same samples give another predictor"),
        (ListsOtherwise, "predict_catalogue: a catalogue is predicted otherwise"),
        (ListsWithoutIntervals, "predict_catalogue: a catalogue is predicted otherwise"),
        (IsFreeWhenIdle, "idle: it must be above 0 and finite, got 0.0"),
        (LearnsFromAnything, "fit: a network that costs 0.0 ms must be refused"),
        (FailsOddly, "fit: no networks must be refused with InvalidTable, not KeyError"),
        (SavesNothing, "save: it must write its files into the folder"),
        (SavesACard, "save: card.json is .* a name that a predictor's folder has already"),
        (SavesOddFiles, "save: weights.npz is none of .json"),
        (SavesAPickle, "save: weights.txt is a pickle"),
        (LoadsAnother, "load: it predicts something else"),
        (ForgetsTheWidth, "load: it predicts something else"),
        (LoadsAnySchema, "load: where network.json is of another schema"),
        (LoadsWithAnyError, "load: where .* is missing, it must raise SchemaMismatch, not ValueError"),
    ],
)
def test_the_kit_finds_broken_predictors(broken, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_graph_predictor(broken)


@pytest.mark.parametrize("runtime", ["fake", "onnxruntime", "of-someone-else"])
def test_the_kit_passes_the_sound_one(runtime):
    testing.check_graph_predictor(Sound, runtime=runtime)


def test_the_networks_of_the_kit_are_sound_graphs():
    found = made_up(20, "fake")
    assert found == made_up(20, "fake") and len({graph.digest for graph in found}) == 20
    for graph in found:
        shape = dict(graph.inputs)
        for node in graph.nodes:
            for name, tensor in zip(node.inputs, node.operator.inputs, strict=True):
                assert tensor.constant if name not in shape else shape[name] == tensor
            shape.update(zip(node.outputs, node.operator.outputs, strict=True))
        assert set(graph.outputs) <= set(shape)
    assert any(len(set(node.inputs)) == 2 and node.operator.op_type == "Add" for graph in found for node in graph.nodes)

"""Models of kernels: the kit, what the kit finds, and what each model promises beyond it."""

import json
import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.errors import InvalidTable, SchemaMismatch, UnknownName
from predictors import testing
from predictors.features import roofline_ms
from predictors.models import REGISTRY
from predictors.models.linear import Linear
from predictors.models.protocol import KernelPrediction
from predictors.testing import convolution
from profiler.operators import UNKNOWN, Operator, Tensor

LEARNING = [name for name in REGISTRY.names() if name != "roofline"]
SAMPLES = testing.samples()


# -- the kit


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_kernel_model_conforms(name):
    testing.check_kernel_model(REGISTRY.get(name))


SHAPES = st.sampled_from([UNKNOWN, None, Tensor(()), Tensor((3,)), Tensor((0, 2)), Tensor((2, 3, 4, 5), constant=True)])
KINDS = st.sampled_from(sorted({schema.name for schema in onnx.defs.get_all_schemas()} | {"FusedConv", "QGemm"}))


@pytest.mark.parametrize("name", REGISTRY.names())
@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(KINDS, st.lists(SHAPES, max_size=6), st.lists(SHAPES, max_size=2)), min_size=1, max_size=9))
def test_operators_of_whatever_shapes_are_told_something(name, drawn):
    """Control flow hides shapes, and domains of others have operators of the same names."""
    strange = [
        Operator("of.others", kind, (), tuple(inputs), tuple(tensor or UNKNOWN for tensor in outputs))
        for kind, inputs, outputs in drawn
    ]
    cost = _fitted(name).predict(strange).cost
    assert cost.shape == (len(strange),) and (cost > 0).all() and np.isfinite(cost).all()


@cache
def _fitted(name):
    return REGISTRY.get(name).fit(SAMPLES)


class Sound:
    """A model that conforms, of which the broken ones are made."""

    composed = True

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def fit(cls, samples):
        return cls(Linear.fit(samples))

    @classmethod
    def load(cls, folder):
        return cls(Linear.load(folder))

    def predict(self, operators):
        return self.inner.predict(operators)

    def save(self, folder):
        self.inner.save(folder)


class SaysNothingOfComposition(Sound):
    composed = None


class ForgetsItsOwn(Sound):
    def predict(self, operators):
        return KernelPrediction(super().predict(operators).cost, np.zeros(len(operators), dtype=bool))


class KnowsEverything(Sound):
    def predict(self, operators):
        return KernelPrediction(super().predict(operators).cost, np.ones(len(operators), dtype=bool))


class CountsKnown(Sound):
    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(found.cost, found.known.astype(int))


class AnswersInSinglePrecision(Sound):
    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(found.cost.astype(np.float32), found.known)


class AnswersOneNumber(Sound):
    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(found.cost[:1], found.known)


class AnswersTheUnasked(Sound):
    def predict(self, operators):
        return super().predict(operators or SAMPLES.operators[:1])


class GivesZeros(Sound):
    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(np.where(found.known, found.cost, 0.0), found.known)


class GivesNaN(Sound):
    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(np.where(found.known, found.cost, np.nan), found.known)


class Sorts(Sound):
    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(np.sort(found.cost), found.known)


class ListensToOthers(Sound):
    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(found.cost * (1 + len(operators)), found.known)


class Gambles(Sound):
    def __init__(self, inner):
        super().__init__(inner)
        self.luck = 1 + np.random.default_rng().random()

    def predict(self, operators):
        found = super().predict(operators)
        return KernelPrediction(found.cost * self.luck, found.known)


class LearnsFromNothing(Sound):
    @classmethod
    def fit(cls, samples):
        return super().fit(samples if len(samples.operators) else SAMPLES)


class BelievesAnyTime(Sound):
    @classmethod
    def fit(cls, samples):
        good = np.isfinite(samples.cost) & (samples.cost > 0)
        return super().fit(replace(samples, cost=np.where(good, samples.cost, 1.0)))


class BelievesInfinity(Sound):
    @classmethod
    def fit(cls, samples):
        return super().fit(replace(samples, cost=np.where(samples.cost == np.inf, 1.0, samples.cost)))


class SavesNothing(Sound):
    def save(self, folder):
        pass


class SavesElsewhere(Sound):
    def save(self, folder):
        super().save(folder)
        super().save(folder.parent)


class SavesOddFiles(Sound):
    def save(self, folder):
        super().save(folder)
        (folder / "model.pkl").write_bytes(b"weights")


class SavesACard(Sound):
    def save(self, folder):
        super().save(folder)
        (folder / "card.json").write_text('{"schema": "mine"}')


class SavesAPickle(Sound):
    def save(self, folder):
        super().save(folder)
        (folder / "model.txt").write_bytes(pickle.dumps([1.0, 2.0]))


class SavesWithoutSchema(Sound):
    def save(self, folder):
        super().save(folder)
        data = json.loads((folder / "linear.json").read_text())
        del data["schema"]
        (folder / "linear.json").write_text(json.dumps(data))

    @classmethod
    def load(cls, folder):
        data = json.loads((folder / "linear.json").read_text())
        (folder / "linear.json").write_text(json.dumps({"schema": "hwnas.linear/1", **data}))
        found = super().load(folder)
        (folder / "linear.json").write_text(json.dumps(data))
        return found


class LoadsAnother(Sound):
    @classmethod
    def load(cls, folder):
        return cls(Linear.fit(replace(SAMPLES, cost=2 * SAMPLES.cost)))


class LoadsAnySchema(Sound):
    @classmethod
    def load(cls, folder):
        try:
            return super().load(folder)
        except SchemaMismatch as error:
            if "this version reads" in error.message:
                return cls(Linear.fit(SAMPLES))
            raise


class LoadsWhatIsMissing(Sound):
    @classmethod
    def load(cls, folder):
        return super().load(folder) if (folder / "linear.json").exists() else cls(Linear.fit(SAMPLES))


class LoadsWhatIsCutShort(Sound):
    @classmethod
    def load(cls, folder):
        try:
            return super().load(folder)
        except SchemaMismatch as error:
            if "as JSON" in error.message:
                return cls(Linear.fit(SAMPLES))
            raise


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (SaysNothingOfComposition, "composed: it must be a bool, got None"),
        (ForgetsItsOwn, "known: a kernel that it was fitted on"),
        (KnowsEverything, "known: it learns from samples, yet it knows"),
        (CountsKnown, r"predict: known must be bool \(\d+,\)"),
        (AnswersInSinglePrecision, "predict: cost must be float64 .* got .* of float32"),
        (AnswersOneNumber, r"predict: cost must be float64 \(\d+,\), got \(1,\)"),
        (AnswersTheUnasked, r"predict: cost must be float64 \(0,\), got \(1,\)"),
        (GivesZeros, "predict: costs must be above 0 and finite, got .*0"),
        (GivesNaN, "predict: costs must be above 0 and finite, got .*nan"),
        (Sorts, "predict: the answers are not in order"),
        (ListensToOthers, "predict: .* alone is .* among others"),
        (Gambles, "fit: the same samples give another model"),
        (LearnsFromNothing, "fit: no samples must be refused with InvalidTable"),
        (BelievesAnyTime, "fit: a time of 0.0 ms must be refused"),
        (BelievesInfinity, "fit: a time of inf ms must be refused"),
        (SavesNothing, "save: it must write its files into the folder"),
        (SavesElsewhere, "save: it must write its files into the folder"),
        (SavesOddFiles, "save: model.pkl is none of .json"),
        (SavesACard, "save: card.json is .* a name that a predictor's folder has already"),
        (SavesAPickle, "save: model.txt is a pickle"),
        (SavesWithoutSchema, "save: linear.json has no schema"),
        (LoadsAnother, "load: it predicts something else than what was saved"),
        (LoadsAnySchema, "load: where linear.json is of another schema"),
        (LoadsWhatIsMissing, "load: where linear.json is missing"),
        (LoadsWhatIsCutShort, "load: where linear.json is cut short"),
    ],
)
def test_the_kit_finds_broken_models(broken, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_kernel_model(broken)


def test_the_kit_passes_the_sound_one():
    testing.check_kernel_model(Sound)


# -- what cannot be learned from


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan, np.inf, -np.inf])
def test_times_that_are_no_times_are_refused(name, value):
    ms = SAMPLES.cost.copy()
    ms[7] = value
    with pytest.raises(InvalidTable) as caught:
        REGISTRY.get(name).fit(replace(SAMPLES, cost=ms))
    assert str(SAMPLES.operators[7]) in caught.value.message
    assert str(value) in caught.value.message and caught.value.hint


@pytest.mark.parametrize("name", LEARNING)
def test_a_model_that_learns_needs_samples(name):
    with pytest.raises(InvalidTable, match="measured kernel") as caught:
        REGISTRY.get(name).fit(SAMPLES.take([]))
    assert caught.value.hint


def test_trees_need_eight_kernels():
    make = REGISTRY.get("lightgbm")
    with pytest.raises(InvalidTable, match=r"at least 8 .* got 7"):
        make.fit(SAMPLES.take(range(7)))
    assert make.fit(SAMPLES.take(range(8))).predict(SAMPLES.operators[:2]).cost.shape == (2,)


# -- each model


def test_the_table_answers_what_it_was_told_and_guesses_the_rest_on_the_line():
    model = REGISTRY.get("lookup").fit(replace(SAMPLES, cost=SAMPLES.cost * np.linspace(0.8, 1.2, len(SAMPLES.cost))))
    line = REGISTRY.get("linear").fit(replace(SAMPLES, cost=SAMPLES.cost * np.linspace(0.8, 1.2, len(SAMPLES.cost))))
    unseen = convolution(24, 24, 12)
    found = model.predict([*SAMPLES.operators[:4], unseen])
    assert found.cost[:4].tolist() == (SAMPLES.cost * np.linspace(0.8, 1.2, len(SAMPLES.cost)))[:4].tolist()
    assert found.known.tolist() == [True] * 4 + [False]
    assert found.cost[4] == pytest.approx(line.predict([unseen]).cost[0])


@pytest.mark.parametrize("name", LEARNING)
def test_guesses_of_unseen_kernels_are_near_where_times_are_lines(name):
    unseen = [convolution(12, 12, 16), convolution(24, 24, 8), convolution(6, 12, 16, 1)]
    truth = 0.004 + np.array([1e3 * (2 * _macs(op) / 4e9 + _bytes(op) / 8e9) for op in unseen])
    found = REGISTRY.get(name).fit(SAMPLES).predict(unseen).cost
    assert found == pytest.approx(truth, rel=0.35)


def _macs(op):
    return np.prod(op.outputs[0].shape) * np.prod(op.inputs[1].shape[1:])


def _bytes(op):
    return 4 * sum(np.prod(tensor.shape) for tensor in (*op.inputs, *op.outputs))


@pytest.mark.parametrize(("name", "by_kernel"), [("lookup", True), ("linear", False), ("lightgbm", False)])
def test_models_know_kernels_or_kinds_of_kernels(name, by_kernel):
    model = REGISTRY.get(name).fit(SAMPLES)
    strange = Operator("com.example", "Strange", (), (Tensor((1, 3, 4, 4)),), (Tensor((1, 3, 4, 4)),))
    assert model.predict([convolution(12, 12, 12), strange]).known.tolist() == [not by_kernel, False]


def test_the_roofline_knows_any_kernel_and_looks_at_no_sample():
    strange = Operator("com.example", "Strange", (), (Tensor((1, 3, 4, 4)),), (Tensor((1, 3, 4, 4)),))
    model = REGISTRY.get("roofline").fit(SAMPLES.take([]))
    found = model.predict([strange, convolution(8, 8, 8)])
    assert found.known.all() and not model.composed
    assert found.cost[1] == roofline_ms(convolution(8, 8, 8), SAMPLES.device)


# -- trees


def larger(noise=0.0):
    """72 convolutions whose times are lines in operations and bytes, with noise."""
    pool = [convolution(4 * i, 4 * j, 8, window) for i in range(1, 7) for j in range(1, 7) for window in (1, 3)]
    truth = 0.004 + np.array([1e3 * (2 * _macs(op) / 4e9 + _bytes(op) / 8e9) for op in pool])
    cost = truth * np.random.default_rng(0).lognormal(0.0, noise, len(pool))
    return replace(SAMPLES, operators=tuple(pool), cost=cost, weights=np.ones(len(pool)))


def test_trees_keep_what_was_measured_and_believe_other_kernels_less():
    measured = larger(noise=0.3)
    model = REGISTRY.get("lightgbm").fit(measured)
    twin = replace(measured.operators[5], attributes=(*measured.operators[5].attributes, ("strange", 1)))
    found = model.predict([*measured.operators, twin])
    assert found.cost[:-1].tolist() == measured.cost.tolist() and found.known.all()
    assert found.cost[-1] != measured.cost[5], "it is looked up by the whole key"


def test_kinds_that_trees_have_not_seen_are_predicted_from_their_sizes():
    """As if they were of a kind that was seen, and said to be guesses."""
    model = REGISTRY.get("lightgbm").fit(SAMPLES)
    image = Tensor((1, 16, 16, 16))
    strange, add = (Operator("", kind, (), (image, image), (image,)) for kind in ("Strange", "Add"))
    found = model.predict([strange, add])
    assert found.known.tolist() == [False, True]
    assert found.cost[0] == pytest.approx(found.cost[1], rel=0.6)


def test_ways_of_doing_a_kind_are_told_apart(tmp_path):
    """The same sizes by two implementations, one of which takes five times as long."""

    def by(way, operators):
        return [replace(op, attributes=(*op.attributes, ("primitive", way))) for op in operators]

    plain, make = larger(), REGISTRY.get("lightgbm")
    pool = [*by("reference", plain.operators), *by("vectorised", plain.operators)]
    cost = np.tile(plain.cost, 2) * np.repeat([5.0, 1.0], 72)
    both = replace(plain, operators=tuple(pool), cost=cost, weights=np.ones(144))
    learned, asked = np.split(np.random.default_rng(0).permutation(144), [100])
    model = make.fit(both.take(learned.tolist()))
    left = [pool[i] for i in asked]
    found = model.predict(left).cost
    assert np.median(np.abs(found / cost[asked] - 1.0)) < 0.1
    model.save(tmp_path)
    assert make.load(tmp_path).predict(left).cost.tolist() == found.tolist()
    never = model.predict(by("neither", plain.operators))
    assert never.known.all() and np.isfinite(never.cost).all(), "of a way that was not seen the kind is told"


@pytest.mark.parametrize(("count", "tells"), [(59, False), (60, True), (72, True)])
def test_from_sixty_kernels_on_trees_tell_where_they_are_unsure(count, tells):
    rows = np.random.default_rng(0).permutation(72)[:count].tolist()
    found = (
        REGISTRY.get("lightgbm").fit(larger(noise=0.2).take(rows)).predict([*larger().operators, *SAMPLES.operators])
    )
    assert found.spread.shape == found.cost.shape and (found.spread > 0).all() and np.isfinite(found.spread).all()
    assert (np.ptp(found.spread) > 0) == tells


def test_trees_are_less_sure_where_costs_scatter():
    calm = larger()
    wild = np.array([op.attribute("kernel_shape") == (3, 3) for op in calm.operators])
    scatter = np.where(wild, np.random.default_rng(1).lognormal(0.0, 0.8, len(wild)), 1.0)
    spread = REGISTRY.get("lightgbm").fit(replace(calm, cost=calm.cost * scatter)).predict(calm.operators).spread
    assert np.median(spread[wild]) > 2 * np.median(spread[~wild])


@pytest.mark.parametrize("unit", [1e-3, 1e3])
@pytest.mark.parametrize("name", LEARNING)
def test_costs_may_be_in_any_unit(name, unit):
    asked = [*SAMPLES.operators, convolution(12, 12, 12), convolution(24, 12, 16, 1)]
    make = REGISTRY.get(name)
    one, other = (make.fit(replace(SAMPLES, cost=f * SAMPLES.cost)).predict(asked).cost for f in (1.0, unit))
    assert other == pytest.approx(unit * one, rel=0.02)


def test_a_damaged_text_of_trees_is_refused_before_it_is_read(tmp_path):
    make = REGISTRY.get("lightgbm")
    make.fit(SAMPLES).save(tmp_path)
    text = tmp_path / "lightgbm-kinds.txt"
    text.write_text(text.read_text().replace("leaf_value=", "leaf_value=9", 1))
    with pytest.raises(SchemaMismatch, match="damaged"):
        make.load(tmp_path)


def test_trees_of_other_features_are_refused(tmp_path):
    make = REGISTRY.get("lightgbm")
    make.fit(SAMPLES).save(tmp_path)
    path = tmp_path / "lightgbm.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "features": "hwnas.kernel-features/9"}))
    with pytest.raises(SchemaMismatch, match="kernel-features/9"):
        make.load(tmp_path)


def test_unknown_models_are_named():
    assert {"lightgbm", "linear", "lookup", "roofline"} <= set(REGISTRY.names())
    with pytest.raises(UnknownName) as caught:
        REGISTRY.get("lokup")
    assert "Did you mean 'lookup'" in caught.value.hint

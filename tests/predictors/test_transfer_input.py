"""Few-sample transfer: what it refuses, and its files."""

import json

import numpy as np
import pytest

from device_profiles.errors import InvalidData, InvalidTable, SchemaMismatch, UsageError
from predictors.transfer import TransferPredictor
from predictors.transfer.predictor import LEAST

CHOICES = [3, 1, 4, 2]
ARCHS = np.stack(np.unravel_index(np.arange(24), CHOICES), axis=1)
MS = 1.0 + ARCHS @ np.array([0.5, 0.0, 0.2, 0.3])


def squares(archs):
    return archs.astype(float) ** 2


def adapted(features=None, seed=0, n=10):
    transfer = TransferPredictor(CHOICES, features=features, seed=seed)
    transfer.fit_sources({"a": (ARCHS, MS), "b": (ARCHS[::2], MS[::2] ** 1.1)})
    rows = transfer.choose(ARCHS, n=n)
    return transfer.adapt(ARCHS[rows], 7.0 * MS[rows] ** 0.9)


def says(caught, *words):
    """An error says what it got, and what to do."""
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.hint


# -- spaces and architectures


@pytest.mark.parametrize("choices", [[], [5, 0], [5, -1], [2.5, 3], ["a"]])
def test_options_are_positive_integers(choices):
    with pytest.raises(UsageError) as caught:
        TransferPredictor(choices)
    says(caught, "choices")


@pytest.mark.parametrize(
    ("archs", "words"),
    [
        (ARCHS[:, :3], ("(24, 3)",)),
        (ARCHS[0], ("(4,)",)),
        (ARCHS.astype(float), ("float64",)),
        (ARCHS + np.array([0, 1, 0, 0]), ("row 0", "gene 1", "0..0")),
        (ARCHS - np.array([1, 0, 0, 0]), ("-1",)),
        ([["a"] * 4], ("<U1",)),
    ],
)
@pytest.mark.parametrize("where", ["sources", "choose", "adapt", "predict"])
def test_architectures_fit_the_space(archs, words, where):
    transfer = adapted()
    calls = {
        "sources": lambda: transfer.fit_sources({"a": (archs, np.ones(len(archs)))}),
        "choose": lambda: transfer.choose(archs, n=1),
        "adapt": lambda: transfer.adapt(archs, np.ones(len(archs))),
        "predict": lambda: transfer.predict(archs),
    }
    with pytest.raises(UsageError) as caught:
        calls[where]()
    says(caught, *words)


def test_features_are_a_function_of_finite_numbers():
    with pytest.raises(UsageError) as caught:
        TransferPredictor(CHOICES, features=np.ones((24, 2)))
    says(caught, "ndarray")
    for features in (lambda a: a[:, 0], lambda a: np.full((len(a), 2), np.nan), lambda a: np.ones((3, 2))):
        with pytest.raises(InvalidData) as refused:
            TransferPredictor(CHOICES, features=features).fit_sources({"a": (ARCHS, MS)})
        says(refused, "features")


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None, True])
def test_the_seed_is_an_integer(seed):
    with pytest.raises(UsageError) as caught:
        TransferPredictor(CHOICES, seed=seed)
    says(caught, "seed")


# -- latencies


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf])
def test_latencies_are_positive_and_finite(value):
    bad = MS.copy()
    bad[3] = value
    for call in (lambda t: t.fit_sources({"phone": (ARCHS, bad)}), lambda t: t.adapt(ARCHS, bad)):
        with pytest.raises(InvalidTable) as caught:
            call(adapted())
        says(caught, "row 3", repr(np.float64(value)))


@pytest.mark.parametrize("latency", [MS[:-1], MS[:, None], ["fast"] * 24, 3.0])
def test_there_is_one_latency_for_each_architecture(latency):
    for call in (lambda t: t.fit_sources({"phone": (ARCHS, latency)}), lambda t: t.adapt(ARCHS, latency)):
        with pytest.raises(InvalidTable) as caught:
            call(adapted())
        says(caught, "latencies")


@pytest.mark.parametrize(("archs", "ms"), [(ARCHS, np.full(24, 3.0)), (ARCHS[:1], MS[:1]), (ARCHS[:0], MS[:0])])
def test_constant_tables_say_nothing(archs, ms):
    with pytest.raises(InvalidTable) as caught:
        TransferPredictor(CHOICES).fit_sources({"phone": (archs, ms)})
    says(caught, "'phone'", "constant")


def test_a_table_may_not_contradict_itself():
    twice = np.concatenate([ARCHS, ARCHS[:1]])
    with pytest.raises(InvalidTable) as caught:
        TransferPredictor(CHOICES).fit_sources({"phone": (twice, np.append(MS, 2 * MS[0]))})
    says(caught, "'phone'", "[0, 0, 0, 0]", "1 ms", "2 ms")
    TransferPredictor(CHOICES).fit_sources({"phone": (twice, np.append(MS, 1.1 * MS[0]))})  # a repeat


def test_sources_are_a_mapping_of_pairs():
    for wrong in ([(ARCHS, MS)], {"a": MS}, {"a": (ARCHS, MS, MS)}):
        with pytest.raises(UsageError) as caught:
            TransferPredictor(CHOICES).fit_sources(wrong)
        says(caught)


def test_the_same_table_twice_counts_once():
    order = np.random.default_rng(0).permutation(24)
    with pytest.warns(UserWarning, match="'b' is the same table as 'a'"):
        twice = TransferPredictor(CHOICES).fit_sources({"a": (ARCHS, MS), "b": (ARCHS[order], MS[order])})
    once = TransferPredictor(CHOICES).fit_sources({"a": (ARCHS, MS)})
    assert twice.sources == once.sources == ("a",)
    for transfer in (once, twice):
        transfer.adapt(ARCHS[:6], MS[:6])
    assert (once.predict(ARCHS).value == twice.predict(ARCHS).value).all()


# -- the order of calls


def test_without_a_sample_the_speed_is_unknown():
    transfer = TransferPredictor(CHOICES).fit_sources({"a": (ARCHS, MS)})
    for call in (lambda: transfer.predict(ARCHS), transfer.suspects, lambda: transfer.adapt(ARCHS[:0], []).suspects()):
        with pytest.raises(InvalidData) as caught:
            call()
        says(caught, "nothing was measured")


def test_intervals_need_samples():
    transfer = TransferPredictor(CHOICES).fit_sources({"a": (ARCHS, MS)})
    for count in range(1, LEAST + 2):
        prediction = transfer.adapt(ARCHS[count : count + 1], MS[count : count + 1]).predict(ARCHS)
        assert (prediction.low is None) == (prediction.high is None) == (count < LEAST)
        assert (prediction.value > 0).all()


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", None])
def test_a_number_of_architectures_is_chosen(n):
    with pytest.raises(UsageError) as caught:
        adapted().choose(ARCHS, n=n)
    says(caught, "n must be")


def test_no_more_can_be_chosen_than_there_are():
    transfer = TransferPredictor(CHOICES)
    pool = np.concatenate([ARCHS[:5], ARCHS[:5], ARCHS[2:4]])
    with pytest.raises(UsageError) as caught:
        transfer.choose(pool, n=6)
    says(caught, "6", "12", "5 different")
    rows = transfer.choose(pool, n=5)
    assert len(np.unique(pool[rows], axis=0)) == 5
    with pytest.raises(UsageError):
        transfer.choose(pool[:0], n=1)


def test_new_sources_replace_old_ones_and_keep_the_samples():
    other = (ARCHS, MS[::-1].copy())
    changed = adapted().fit_sources({"c": other})
    rows = (
        TransferPredictor(CHOICES)
        .fit_sources({"a": (ARCHS, MS), "b": (ARCHS[::2], MS[::2] ** 1.1)})
        .choose(ARCHS, n=10)
    )
    fresh = TransferPredictor(CHOICES).fit_sources({"c": other}).adapt(ARCHS[rows], 7.0 * MS[rows] ** 0.9)
    assert changed.sources == ("c",)
    assert (changed.predict(ARCHS).value == fresh.predict(ARCHS).value).all()


def test_samples_before_sources_work_as_without_sources():
    late = TransferPredictor(CHOICES).adapt(ARCHS[:6], MS[:6])
    none = TransferPredictor(CHOICES).fit_sources({}).adapt(ARCHS[:6], MS[:6])
    assert (late.predict(ARCHS).value == none.predict(ARCHS).value).all()
    assert none.sources == ()


def test_a_refused_call_changes_nothing():
    transfer = adapted()
    before = transfer.predict(ARCHS).value
    for call in (
        lambda: transfer.adapt(ARCHS[:2], [1.0, np.nan]),
        lambda: transfer.fit_sources({"x": (ARCHS, np.full(24, 1.0))}),
    ):
        with pytest.raises(InvalidTable):
            call()
    assert (transfer.predict(ARCHS).value == before).all()


# -- files


@pytest.mark.parametrize("features", [None, squares])
def test_what_is_saved_comes_back(tmp_path, features):
    transfer = adapted(features, seed=3)
    transfer.save(tmp_path / "t")
    transfer.save(tmp_path / "t")  # over itself
    back = TransferPredictor.load(tmp_path / "t", features=features)
    one, other = transfer.predict(ARCHS), back.predict(ARCHS)
    assert (one.value == other.value).all() and (one.low == other.low).all() and (one.high == other.high).all()
    assert back.suspects() == transfer.suspects() and back.sources == transfer.sources
    assert (back.choose(ARCHS, n=5) == transfer.choose(ARCHS, n=5)).all()
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["transfer.json", "transfer.safetensors"]


def test_an_empty_predictor_comes_back(tmp_path):
    TransferPredictor(CHOICES).save(tmp_path / "t")
    back = TransferPredictor.load(tmp_path / "t")
    assert (back.choose(ARCHS, n=5) == TransferPredictor(CHOICES).choose(ARCHS, n=5)).all()


def test_features_must_be_those_it_was_made_with(tmp_path):
    adapted(squares).save(tmp_path / "with")
    adapted().save(tmp_path / "without")
    for folder, features in (("with", None), ("without", squares), ("with", lambda a: a.astype(float))):
        with pytest.raises(UsageError) as caught:
            TransferPredictor.load(tmp_path / folder, features=features)
        says(caught, folder)


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UsageError) as caught:
            adapted().save(place)
        says(caught, "is not a transfer predictor")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def damage_schema(folder):
    facts = json.loads((folder / "transfer.json").read_text())
    (folder / "transfer.json").write_text(json.dumps({**facts, "schema": "hwnas.transfer/9"}))


def damage_choices(folder):
    facts = json.loads((folder / "transfer.json").read_text())
    (folder / "transfer.json").write_text(json.dumps({**facts, "choices": [3, 1, 5, 2]}))


def damage_list(folder):
    (folder / "transfer.json").write_text("[1]")


def cut_json(folder):
    path = folder / "transfer.json"
    path.write_text(path.read_text()[:30])


def cut_numbers(folder):
    path = folder / "transfer.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def no_numbers(folder):
    (folder / "transfer.safetensors").unlink()


@pytest.mark.parametrize("damage", [damage_schema, damage_choices, damage_list, cut_json, cut_numbers, no_numbers])
def test_damaged_folders_are_refused(tmp_path, damage):
    adapted().save(tmp_path / "t")
    damage(tmp_path / "t")
    with pytest.raises(SchemaMismatch) as caught:
        TransferPredictor.load(tmp_path / "t")
    says(caught)


def test_no_folder_is_no_predictor(tmp_path):
    with pytest.raises(SchemaMismatch):
        TransferPredictor.load(tmp_path / "nothing")

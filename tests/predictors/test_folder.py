"""A predictor's folder: what is saved is loaded, and what is damaged or strange is refused."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import predictors
from device_profiles.errors import InvalidData, SchemaMismatch, UsageError
from predictors import registry
from profiler.store import Store


def names(place):
    return sorted(path.name for path in place.iterdir())


@pytest.fixture(scope="module")
def fits(measured):
    """Every predictor, fitted without a space on the first cost that it has."""
    with Store(measured.path, create=False) as store:
        return {
            name: predictors.fit(name, store, target=measured.target, cost=registry.get(name).costs[0])
            for name in predictors.names()
        }


# -- round trips


def test_predictions_are_the_same_after_loading(fitted, folder, corner):
    found, expected = predictors.load(folder).predict(corner.everything), fitted.predict(corner.everything)
    for field in ("value", "low", "high", "coverage"):
        assert getattr(found, field).tolist() == getattr(expected, field).tolist()
    assert predictors.load(str(folder)).card == fitted.card


@pytest.mark.parametrize("name", predictors.names())
def test_every_predictor_comes_back_and_predicts_the_same_graphs(fits, store, measured, tmp_path, name):
    conditions = store.require_conditions("fake")
    graphs = [store.fused(model, conditions) for model in measured.ids]
    fits[name].save(tmp_path / "p")
    back = predictors.load(tmp_path / "p")
    found, expected = back.predict(graphs), fits[name].predict(graphs)
    for field in ("value", "low", "high", "coverage"):
        wanted = getattr(expected, field)
        assert getattr(found, field) == (None if wanted is None else pytest.approx(wanted, rel=1e-12))
    assert back.card == fits[name].card and back.encoding is None
    assert not (tmp_path / "p" / "table.safetensors").exists()


@pytest.mark.parametrize("name", predictors.names())
def test_a_folder_holds_text_and_tensors_and_no_pickle(fits, fitted, tmp_path, name):
    with_table = replace(fits[name], encoding=fitted.encoding, card=replace(fits[name].card, choices=(5, 5, 5)))
    with_table.save(tmp_path / "p")
    assert {"card.json", "table.safetensors"} < set(names(tmp_path / "p"))
    for path in (tmp_path / "p").iterdir():
        content = path.read_bytes()
        assert path.suffix in (".json", ".txt", ".safetensors")
        assert not content.startswith((b"\x80", b"PK"))
        assert b"pickle" not in content and b"_reconstruct" not in content


def test_a_saved_predictor_may_be_moved(folder, fitted, corner, tmp_path):
    shutil.move(folder, tmp_path / "elsewhere")
    found = predictors.load(tmp_path / "elsewhere").predict(corner.everything)
    assert found.value.tolist() == fitted.predict(corner.everything).value.tolist()


def test_a_relative_folder_is_made_where_one_stands(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted.save("deep/p")
    assert names(tmp_path) == ["deep"] and names(tmp_path / "deep") == ["p"]
    assert predictors.load("deep/p").card == fitted.card


# -- replaced whole or not at all


def test_a_predictor_is_replaced_whole(fits, folder):
    fits["lightgbm"].save(folder)
    fits["lightgbm"].save(folder.parent / "fresh")
    assert names(folder) == names(folder.parent / "fresh")
    assert {"card.json", "lightgbm.json", "lightgbm-any.txt", "lightgbm-kinds.txt", "network.json"} <= set(
        names(folder)
    )
    assert not {"lookup.json", "table.safetensors"} & set(names(folder))
    shutil.rmtree(folder.parent / "fresh")
    assert predictors.load(folder).card.predictor == "lightgbm"
    assert names(folder.parent) == [folder.name]


class Full:
    """A kernel model on a full disk."""

    def save(self, folder):
        (folder / "lookup.json").write_text("half of")
        raise OSError("no space left on device")


def test_a_save_that_fails_leaves_what_was_there(fitted, fits, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = replace(fits["linear"], model=replace(fitted.model, kernels=Full()))
    with pytest.raises(UsageError, match="no space"):
        broken.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names(folder.parent) == [folder.name]
    with pytest.raises(UsageError, match="no space"):
        broken.save(folder.parent / "new")
    assert names(folder.parent) == [folder.name]


def test_a_save_that_is_stopped_between_old_and_new_leaves_one_of_them(fitted, fits, folder, monkeypatch):
    moves = []

    def stopped(*arguments, _move=shutil.move):
        moves.append(arguments)
        if len(moves) == 2:
            raise OSError("stopped")
        return _move(*arguments)

    monkeypatch.setattr(shutil, "move", stopped)
    try:
        fits["linear"].save(folder)
    except UsageError:
        assert predictors.load(folder).card == fitted.card
    else:
        assert predictors.load(folder).card == fits["linear"].card
    assert names(folder.parent) == [folder.name]


def test_a_folder_of_something_else_is_left_alone(fitted, tmp_path):
    place = tmp_path / "photos"
    place.mkdir()
    (place / "cat.txt").write_text("a cat")
    with pytest.raises(UsageError, match="not a predictor") as caught:
        fitted.save(place)
    assert "-o" in caught.value.hint
    assert names(place) == ["cat.txt"] and names(tmp_path) == ["photos"]


def test_an_empty_folder_is_filled(fitted, tmp_path):
    (tmp_path / "p").mkdir()
    fitted.save(tmp_path / "p")
    assert predictors.load(tmp_path / "p").card == fitted.card


def test_a_file_in_the_place_of_the_folder_is_left_alone(fitted, tmp_path):
    (tmp_path / "p").write_text("a file")
    with pytest.raises(UsageError):
        fitted.save(tmp_path / "p")
    assert (tmp_path / "p").read_text() == "a file" and names(tmp_path) == ["p"]


# -- what is no predictor, or a damaged one


def test_what_is_no_predictors_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("text")
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(SchemaMismatch) as caught:
            predictors.load(place)
        assert str(place) in caught.value.message and "hwnas fit" in caught.value.hint


@pytest.mark.parametrize("schema", ["hwnas.predictor/1", "hwnas.predictor/2", "hwnas.predictor/99", "hwnas.store/1"])
def test_a_card_of_another_schema_is_refused_with_who_wrote_it(folder, forge, schema):
    forge(folder, schema=schema)
    with pytest.raises(SchemaMismatch) as caught:
        predictors.load(folder)
    assert repr(schema) in caught.value.message and "hwnas.predictor/3" in caught.value.message
    old = schema in ("hwnas.predictor/1", "hwnas.predictor/2")
    assert ("2026-11" if old else "hwnas 0.") in caught.value.message
    assert ("predictors.sign" in caught.value.hint) == old


@pytest.mark.parametrize("schema", [None, 1, [], "x" * 10_000])
def test_a_card_with_a_schema_that_is_none_is_refused(folder, schema):
    data = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**data, "schema": schema}))
    with pytest.raises(SchemaMismatch) as caught:
        predictors.load(folder)
    assert "hwnas.predictor/3" in caught.value.message and len(caught.value.message) < 500


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", "null", "3", '"card"', '{"schema": "hwnas.predictor/3"}', "\0"]
)
def test_a_card_that_is_none_is_refused(folder, content):
    (folder / "card.json").write_text(content)
    with pytest.raises(SchemaMismatch, match="not a predictor's folder"):
        predictors.load(folder)


def test_a_card_that_is_not_text_is_refused(folder):
    (folder / "card.json").write_bytes(b"\xff\xfe\x00card")
    with pytest.raises(SchemaMismatch):
        predictors.load(folder)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_card_that_is_cut_short_is_refused(folder, share):
    content = (folder / "card.json").read_text()
    (folder / "card.json").write_text(content[: int(share * len(content))])
    with pytest.raises(SchemaMismatch):
        predictors.load(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"composition": [1.0, 0.0, 0.0]},
        {"predictor": 3},
        {"predictor": "linear"},
        {"predictor": "simulation"},
        {"cost": "speed"},
        {"cost": "energy"},
        {"cost": "memory", "unit": "bytes"},
        {"unit": "s"},
        {"target": "another"},
        {"space": None},
        {"space": 3},
        {"choices": 5},
        {"choices": []},
        {"choices": [5, 5]},
        {"choices": [5, 5, 5.0]},
        {"choices": [5, 5, 6]},
        {"choices": [5, 5, True]},
        {"choices": None},
        {"choices": None, "space": None},
        {"trained_on": 3},
        {"trained_on": [3]},
        {"trained_on": None},
        {"kernels": -1},
        {"kernels": 1.5},
        {"device_s": -1.0},
        {"device_s": "long"},
        {"conditions": {}},
        {"conditions": None},
        {"extra": "field"},
        {"half_width": "wide"},
        {"half_width": -0.1},
        {"half_width": 0.5},
        {"half_width": None},
        {"half_width": True},
    ],
    ids=lambda changed: ",".join(f"{name}={value}" for name, value in changed.items()),
)
def test_a_card_with_a_wrong_field_is_refused(folder, forge, changed):
    forge(folder, **changed)
    with pytest.raises(SchemaMismatch):
        predictors.load(folder)


@pytest.mark.parametrize("name", ["predictor", "cost", "unit", "profile", "half_width", "choices"])
def test_a_card_that_lacks_a_field_is_refused(folder, forge, name):
    data = json.loads((folder / "card.json").read_text())
    del data[name]
    (folder / "card.json").write_text(json.dumps(data))
    forge(folder)
    with pytest.raises(SchemaMismatch):
        predictors.load(folder)


def test_a_card_with_a_profile_that_is_none_is_refused(folder, forge):
    forge(folder, profile={"name": "fake"})
    with pytest.raises(InvalidData):
        predictors.load(folder)


def test_a_model_that_is_not_installed_is_named(folder, forge):
    forge(folder, predictor="of-someone-else")
    with pytest.raises(InvalidData, match="'of-someone-else'"):
        predictors.load(folder)


@pytest.mark.parametrize("content", [None, b"", b"no tensors", b"\x80\x04pickle", b"PK\x03\x04"])
def test_a_table_that_is_none_is_refused(folder, content):
    (folder / "table.safetensors").unlink()
    if content is not None:
        (folder / "table.safetensors").write_bytes(content)
    with pytest.raises(SchemaMismatch, match=r"table\.safetensors"):
        predictors.load(folder)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_table_that_is_cut_short_is_refused(folder, share):
    content = (folder / "table.safetensors").read_bytes()
    (folder / "table.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(SchemaMismatch, match=r"table\.safetensors"):
        predictors.load(folder)


GENES = {"genes": "[[0, 1, 2]]", "missing": "[]"}


def test_a_table_written_by_hand_is_read(folder, forge):
    """So that each of those below is refused for its own fault."""
    save_file({"cost0": np.full((5, 5, 5), 3.0), "coverage": np.ones((5, 5, 5))}, folder / "table.safetensors", GENES)
    forge(folder)
    found = predictors.load(folder).predict(np.array([[0, 1, 2]]))
    assert found.value.tolist() == [3.0] and found.low is None and found.high is None


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"cost0": (5, 5, 5), "coverage": (5, 5, 5)}, None),
        ({"cost0": (5, 5, 5), "coverage": (5, 5, 5)}, {"other": "[]"}),
        ({"cost0": (5, 5, 5), "coverage": (5, 5, 5)}, {"genes": GENES["genes"]}),
        ({"cost0": (5, 5, 5), "coverage": (5, 5, 5)}, {**GENES, "genes": "[["}),
        ({"coverage": (5, 5, 5)}, GENES),
        ({"cost0": (4, 4, 4), "coverage": (4, 4, 4)}, GENES),
        ({"cost0": (5, 5), "coverage": (5, 5)}, GENES),
        ({"cost0": (6, 6, 6), "coverage": (6, 6, 6)}, GENES),
        ({"cost0": (5, 5, 5), "coverage": (4, 5, 5)}, GENES),
        ({"cost0": (5, 5, 5), "low": (4, 5, 5), "high": (5, 5, 5)}, GENES),
        ({"cost0": (5, 5, 5), "low": (5, 5, 5), "high": (5, 5)}, GENES),
        ({"cost0": (5, 5, 5), "coverage": (5, 5, 5)}, {**GENES, "genes": "[[0, 1, 9]]"}),
        ({"cost0": (5, 5, 5)}, {**GENES, "genes": "[[0, 1, 1]]"}),
        ({"cost0": (5, 5, 5)}, {**GENES, "genes": "[[0, 1, 2.0]]"}),
        ({"coverage": (5, 5, 5)}, {**GENES, "genes": "[]"}),
        ({"cost0": (5, 5, 5), "cost1": (5, 5, 5)}, GENES),
        ({"cost0": (5, 5, 5)}, {**GENES, "missing": "[[3]]"}),
    ],
    ids=[
        "bare",
        "no-genes",
        "no-missing",
        "bad-genes",
        "no-cost",
        "smaller",
        "flatter",
        "larger",
        "other-coverage",
        "other-low",
        "other-high",
        "unknown-gene",
        "a-gene-twice",
        "no-whole-gene",
        "genes-of-nothing",
        "too-many-costs",
        "keys-that-are-none",
    ],
)
def test_a_table_that_does_not_fit_the_card_is_refused(folder, forge, tensors, metadata):
    save_file({name: np.ones(shape) for name, shape in tensors.items()}, folder / "table.safetensors", metadata)
    forge(folder)
    with pytest.raises(SchemaMismatch):
        predictors.load(folder)


ONES = {"cost0": np.full((5, 5, 5), 2.0), "low": np.ones((5, 5, 5)), "high": np.full((5, 5, 5), 3.0)}


def spot(name, value, dtype=np.float64):
    """The tensors, one entry of one changed."""
    tensor = {**ONES, "coverage": np.ones((5, 5, 5))}[name].astype(dtype)
    tensor[0, 1, 2] = value
    return {**ONES, name: tensor}


@pytest.mark.parametrize(
    "tensors",
    [
        spot("cost0", np.nan),
        spot("cost0", np.inf),
        spot("cost0", 0.0),
        spot("cost0", -2.0),
        spot("cost0", 4.0),
        spot("cost0", 0.5),
        spot("low", -1.0),
        spot("low", np.nan),
        spot("low", 2.5),
        spot("high", 1.5),
        spot("high", np.inf),
        spot("high", np.nan),
        spot("coverage", 5.0),
        spot("coverage", -0.1),
        spot("coverage", np.nan),
        spot("coverage", 1, np.int64),
        spot("cost0", 2, np.int32),
        spot("cost0", True, np.bool_),
        {**ONES, "lacking": np.zeros((5, 5, 5))},
        {**ONES, "lacking": np.full((5, 5, 5), 7, dtype=np.int32)},
        {"cost0": ONES["cost0"], "low": ONES["low"]},
    ],
    ids=lambda tensors: f"{[(name, str(tensor.dtype), float(tensor[0, 1, 2])) for name, tensor in tensors.items()]}",
)
def test_a_table_of_what_no_cost_can_be_is_refused(folder, forge, tensors):
    save_file(tensors, folder / "table.safetensors", GENES)
    forge(folder)
    with pytest.raises(SchemaMismatch, match=r"table\.safetensors"):
        predictors.load(folder)


# -- digests


def test_a_changed_card_is_refused_and_can_be_signed_again(folder, fitted):
    data = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**data, "device_s": 12.0}))
    with pytest.raises(SchemaMismatch, match="digest differs") as caught:
        predictors.load(folder)
    assert "hwnas fit" in caught.value.hint and f"predictors.sign(sys.argv[1])' {folder}" in caught.value.hint
    predictors.sign(folder)
    assert predictors.load(folder).card == replace(fitted.card, device_s=12.0)


def test_how_a_card_is_laid_out_does_not_matter(folder, fitted):
    data = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(dict(reversed(data.items()))))
    assert predictors.load(folder).card == fitted.card


def test_a_folder_from_before_there_were_digests_can_be_signed(folder, fitted, corner):
    data = json.loads((folder / "card.json").read_text())
    old = {name: value for name, value in data.items() if name not in ("files", "digest", "written_by")}
    (folder / "card.json").write_text(json.dumps({**old, "schema": "hwnas.predictor/2"}))
    with pytest.raises(SchemaMismatch, match="no digests"):
        predictors.load(folder)
    predictors.sign(folder)
    back = predictors.load(folder)
    assert back.predict(corner.everything).value.tolist() == fitted.predict(corner.everything).value.tolist()


def test_what_makes_no_predictor_is_not_signed(folder):
    save_file({"cost0": np.full((5, 5, 5), -1.0)}, folder / "table.safetensors", GENES)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SchemaMismatch):
        predictors.sign(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_that_was_not_written_with_it_is_refused_and_left_alone(folder, fitted):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SchemaMismatch, match=r"notes\.txt"):
        predictors.load(folder)
    with pytest.raises(UsageError, match="not a predictor"):
        fitted.save(folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    shutil.move(folder / "table.safetensors", tmp_path / "t")
    (folder / "table.safetensors").symlink_to(tmp_path / "t")
    with pytest.raises(SchemaMismatch, match="leaves the folder"):
        predictors.load(folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(SchemaMismatch, match="leaves the folder"):
        predictors.load(tmp_path / "link")


def test_a_link_to_a_folder_is_as_good_as_the_folder(folder, fitted, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert predictors.load(tmp_path / "link").card == fitted.card


@pytest.mark.parametrize("name", ["card.json", "table.safetensors", "network.json"])
def test_what_is_no_file_is_refused_at_once(folder, name):
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)):
        if (folder / name).is_dir():
            (folder / name).rmdir()
        else:
            (folder / name).unlink()
        make(folder / name)
        with pytest.raises(SchemaMismatch):
            predictors.load(folder)


# -- tensors


def test_the_table_lies_in_the_folder_as_tensors_of_the_space(folder, fitted):
    tensors = load_file(folder / "table.safetensors")
    assert {"cost0", "coverage", "low", "high"} <= set(tensors)
    assert {tensor.shape for tensor in tensors.values()} == {(5, 5, 5)}
    assert (tensors["cost0"] == fitted.encoding.table.costs[0]).all()
    assert (tensors["low"] == fitted.encoding.table.low).all() and (tensors["high"] == fitted.encoding.table.high).all()


def test_a_damaged_kernel_model_is_refused(folder, forge):
    (folder / "lookup.json").write_text('{"schema": "hwnas.lookup/9"}')
    forge(folder)
    with pytest.raises(SchemaMismatch, match=r"hwnas\.lookup/9"):
        predictors.load(folder)
    (folder / "lookup.json").unlink()
    with pytest.raises(SchemaMismatch, match=r"lookup\.json"):
        predictors.load(folder)


def test_the_folder_of_one_model_is_not_read_by_another(folder):
    for name in set(predictors.names()) - {"lookup"}:
        with pytest.raises(SchemaMismatch):
            registry.get(name).load(folder)


# -- what networks say


@pytest.fixture
def change(folder, forge):
    def make(**changed):
        path = folder / "network.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
        forge(folder)

    return make


@pytest.mark.parametrize("schema", ["hwnas.network/1", "hwnas.network/4", None])
def test_a_composition_of_another_schema_is_refused(folder, change, schema):
    predictors.load(folder)
    change(schema=schema)
    with pytest.raises(SchemaMismatch) as caught:
        predictors.load(folder)
    assert repr(schema) in caught.value.message and "network.json" in caught.value.message and caught.value.hint


def test_a_composition_of_before_weights_from_memory_were_told_is_read(folder, change):
    kept = predictors.load(folder).model
    path = folder / "network.json"
    path.write_text(
        json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "streaming"})
    )
    change(schema="hwnas.network/2")
    found = predictors.load(folder).model
    assert found.composition == kept.composition and found.extra == kept.extra and not found.streaming.ms_per_byte


@pytest.mark.parametrize("streaming", [[1e6], [1e6, -1.0], [float("nan"), 1.0], "fast"])
def test_impossible_weights_from_memory_are_refused(folder, change, streaming):
    change(streaming=streaming)
    with pytest.raises(SchemaMismatch, match=r"network\.json"):
        predictors.load(folder)


WIDTHS = {
    "kinds": ["Conv"], "same_kind": 0.2, "other_kind": 0.3, "other_less": 0.3, "shared": 1.0, "slowest": [0.1, 0.1],
    "largest": {"Conv": 9.0},
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"composition": None},
        {"composition": [1.0, 0.0]},
        {"composition": [1.0, 0.0, 0.0, 0.0]},
        {"composition": [1.0, 0.0, "nothing"]},
        {"composition": [1.0, 0.0, float("nan")]},
        {"half_width": "wide"},
        {"half_width": float("inf")},
        {"half_width": -1.0},
        {"unit": "s"},
        {"extra": None},
        {"extra": [0.1]},
        {"extra": {"kernel": "slow"}},
        {"doubt": None},
        {"doubt": {}},
        {"doubt": {**WIDTHS, "shared": None}},
        {"doubt": {**WIDTHS, "same_kind": "much"}},
        {"doubt": {**WIDTHS, "kinds": 5}},
        {"doubt": {**WIDTHS, "other_kind": -0.1}},
        {"doubt": {**WIDTHS, "shared": 1.5}},
        {"doubt": {**WIDTHS, "slowest": [0.1]}},
        {"doubt": {**WIDTHS, "largest": {"Conv": float("nan")}}},
    ],
    ids=str,
)
def test_a_composition_with_a_wrong_field_is_refused(folder, change, changed):
    change(doubt=WIDTHS)
    predictors.load(folder)
    change(**changed)
    with pytest.raises(SchemaMismatch, match=r"network\.json"):
        predictors.load(folder)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "3", "{"])
def test_a_composition_that_is_none_is_refused(folder, forge, content):
    (folder / "network.json").unlink()
    if content is not None:
        (folder / "network.json").write_text(content)
    forge(folder)
    with pytest.raises(SchemaMismatch, match=r"network\.json"):
        predictors.load(folder)

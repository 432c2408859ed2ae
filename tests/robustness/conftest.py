"""What the fuzzers of folders share: small folders of every kind, and ways to damage one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import predictors
from device_profiles.profile import load, to_plain
from predictors import registry
from predictors import tables as importing
from predictors.card import Card
from predictors.differentiable.conditioned import ConditionedCost
from predictors.differentiable.network import NetworkCost
from predictors.encoding import CostTable
from predictors.encodings import Tabulated
from predictors.prediction import UNITS
from predictors.predictor import Predictor
from predictors.sealed import Kind, write_head
from predictors.tables import Column, Source, Table
from predictors.testing import graphs
from predictors.transfer import TransferPredictor
from profiler.conditions import conditions_of

Answer = tuple[np.ndarray, ...]

CHOICES = (5,) * 6
ARCHS = np.random.default_rng(7).integers(0, 5, (40, 6))
GRAPHS = graphs.graphs(4, "fake", seed=3)


@dataclass(frozen=True)
class Folder:
    """A kind of folder: `write(place, seed)` makes one, `ask(place)` reads it and answers."""

    head: str
    write: Callable[[Path, int], None]
    ask: Callable[[Path], Answer]


def _table(seed: int) -> CostTable:
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.2, 3.0, CHOICES)
    lacking = (rng.random(CHOICES) < 0.1).astype(np.int32)
    coverage = np.where(lacking > 0, 0.9, 1.0)
    return CostTable(
        CHOICES, (tuple(range(6)),), (cost,), coverage, lacking, ((), ("Conv of somewhere",)), 0.9 * cost, 1.2 * cost
    )


def _predictor(name: str, *, tabulated: bool = False) -> Folder:
    def write(place: Path, seed: int) -> None:
        make, target = registry.get(name), load("fake")
        cost = make.costs[0]
        kernels, networks = graphs.learned(cost, "fake")
        rows = [i for i in range(len(networks.ids)) if i != seed]  # another seed is another predictor
        model = make.fit(kernels, networks.take(rows), sure=name != "graph-network")
        card = Card(
            predictor=name,
            cost=cost,
            unit=UNITS[cost],
            target="fake",
            profile=to_plain(target),
            conditions=conditions_of(target).to_plain(),
            space="nasbench201" if tabulated else None,
            choices=CHOICES if tabulated else None,
            trained_on=networks.take(rows).ids,
            kernels=len(kernels.operators),
            device_s=1.0 + seed,
            half_width=model.half_width,
        )
        Predictor(card, model, Tabulated(_table(seed), UNITS[cost]) if tabulated else None).save(place)

    def ask(place: Path) -> Answer:
        found = predictors.load(place)
        answers = [found.predict(list(GRAPHS))] + ([found.predict(ARCHS)] if tabulated else [])
        ends = [(one.value, one.low, one.high, one.coverage) for one in answers]
        return tuple(end for four in ends for end in four if end is not None)

    return Folder("card.json", write, ask)


def _network_cost(place: Path, seed: int) -> None:
    values = 1.0 + ARCHS @ np.arange(1.0, 7.0) + seed
    NetworkCost.fit(CHOICES, ARCHS, values, seed=seed, steps=20, hidden=4).save(place)


def _conditioned_cost(place: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = {f"d{i}": (ARCHS, 1.0 + ARCHS @ rng.uniform(0.5, 2.0, 6)) for i in range(4)}
    ConditionedCost.fit(CHOICES, tables, seed=seed).save(place)


def _device_cost(place: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = {f"d{i}": (ARCHS, 1.0 + ARCHS @ rng.uniform(0.5, 2.0, 6)) for i in range(4)}
    whole = ConditionedCost.fit(CHOICES, tables, seed=seed, steps=20, hidden=4)
    whole.for_device(1.0 + whole.references.sum(axis=1), target="a board", space="six").save(place)


def _loaded(place: Path) -> Answer:
    found = predictors.load(place)
    said = f"{found.card.target} {found.card.space}".encode()
    return found.predict(ARCHS).value, np.frombuffer(said, dtype=np.uint8).astype(np.float64)


def _ask_conditioned(place: Path) -> Answer:
    found = ConditionedCost.load(place)
    return (found.predict(ARCHS, 1.0 + found.references.sum(axis=1)).value,)


def _transfer(place: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = {f"d{i}": (ARCHS, 1.0 + ARCHS @ rng.uniform(0.5, 2.0, 6)) for i in range(3)}
    made = TransferPredictor(CHOICES).fit_sources(tables)
    made.adapt(ARCHS[:3], 1.0 + ARCHS[:3].sum(axis=1)).save(place)


def _imported(place: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, std = rng.uniform(1.0, 9.0, 12), rng.uniform(0.1, 0.2, 12)
    column = Column("latency_ms.a", "latency", "ms", values, device="a", std=std, count=np.full(12, 3.0))
    keys = tuple(f"kernel {i}" for i in range(12))
    Table("plain", keys, (column,), Source("f.csv", "0" * 64, 100), fields={"HW": np.arange(12.0)}).save(place)


def _ask_imported(place: Path) -> Answer:
    table = importing.load(place)
    column = table.columns[0]
    assert column.std is not None and column.count is not None
    return column.values, column.std, column.count, table.fields["HW"]


QUICK = {
    "lookup": _predictor("lookup", tabulated=True),
    "linear": _predictor("linear"),
    "roofline": _predictor("roofline"),
    "bayesian-linear": _predictor("bayesian-linear"),
    "simulation": _predictor("simulation"),
    "network-cost": Folder("cost.json", _network_cost, _loaded),
    "transfer": Folder("transfer.json", _transfer, _loaded),
    "table": Folder("table.json", _imported, _ask_imported),
}
SLOW = {
    "lightgbm": _predictor("lightgbm"),
    "graph-network": _predictor("graph-network"),
    "conditioned-cost": Folder("cost.json", _conditioned_cost, _ask_conditioned),
    "device-cost": Folder("cost.json", _device_cost, _loaded),
}


@pytest.fixture(scope="session")
def folders() -> dict[str, Folder]:
    """Every kind of folder that is read, by name."""
    return {**QUICK, **SLOW}


@pytest.fixture(scope="session")
def whole(folders: dict[str, Folder], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """Two folders of a kind that differ in their numbers: `whole(name)`."""
    made: dict[str, tuple[Path, Path]] = {}

    def make(name: str) -> tuple[Path, Path]:
        if name not in made:
            place = tmp_path_factory.mktemp(name)
            for seed in (0, 1):
                folders[name].write(place / str(seed), seed)
            made[name] = place / "0", place / "1"
        return made[name]

    return make


# -- damage


STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**30, 1e300, -0.5, "", "x", "../../x", "\0", [], {}, [[]], {"a": 1}, [1.0, "x"],
)  # fmt: skip


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += _leaves(inner, (*path, key))
    return found


def _edited(text: str, rng: np.random.Generator) -> str:
    """JSON with one value changed or taken away."""
    data = json.loads(text)
    places = _leaves(data)
    path = places[int(rng.integers(min(len(places), 10_000)))]
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[path[-1]]
    else:
        inner[path[-1]] = STRANGE[int(rng.integers(len(STRANGE)))]
    return json.dumps(data)


def _with_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Tensors with another header."""
    size = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + size].decode()
    header = _edited(text, rng).encode()
    length = rng.choice([len(header), len(header) - 1, 0, 2**40, 2**63])
    return int(length).to_bytes(8, "little") + header + content[8 + size :]


def _sign(folder: Path, head: str) -> None:
    """Digests of what is there now, so that it is judged by what it says."""
    facts = json.loads((folder / head).read_text())
    kept = {key: value for key, value in facts.items() if key not in ("schema", "files", "digest", "written_by")}
    write_head(folder, Kind(head, str(facts.get("schema")), "", ""), kept)


def _damage(folder: Path, other: Path, head: str, rng: np.random.Generator) -> str:
    """Damage a folder in one of many ways, and say how."""
    names = sorted(path.name for path in folder.iterdir())
    path = folder / names[int(rng.integers(len(names)))]
    content = path.read_bytes()
    at = int(rng.integers(max(len(content), 1)))
    ways: dict[str, Callable[[], object]] = {
        "flip": lambda: path.write_bytes(
            content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]
        ),
        "cut": lambda: path.write_bytes(content[:at]),
        "empty": lambda: path.write_bytes(b""),
        "append": lambda: path.write_bytes(content + b"\n \n" + rng.bytes(3)),
        "delete": path.unlink,
        "swap": lambda: shutil.copy(other / path.name, path),
        "add": lambda: (folder / f"more{at}").write_bytes(b"x"),
        "deep": lambda: path.write_text("[" * 200_000),
        "digits": lambda: path.write_text('{"schema": ' + "9" * 5000 + "}"),
        "huge": lambda: os.truncate(path, 1 << 36),
        "pipe": lambda: (path.unlink(), os.mkfifo(path)),
        "folder": lambda: (path.unlink(), path.mkdir()),
        "device": lambda: (path.unlink(), path.symlink_to("/dev/zero")),
        "outside": lambda: (path.unlink(), path.symlink_to(other / path.name)),
    }
    if path.suffix == ".json":
        ways["edit"] = lambda: path.write_text(_edited(content.decode(), rng))
        ways["edit, signed"] = lambda: (ways["edit"](), _sign(folder, head))
    if path.suffix == ".safetensors":
        ways["header"] = lambda: path.write_bytes(_with_header(content, rng))
        ways["header, signed"] = lambda: (ways["header"](), _sign(folder, head))
        ways["flip, signed"] = lambda: (ways["flip"](), _sign(folder, head))
    kinds = sorted(ways) + ["edit, signed", "header, signed"] * 2
    way = kinds[int(rng.integers(len(kinds)))]
    way = way if way in ways else "flip"
    with contextlib.suppress(KeyError, AttributeError, TypeError):  # what cannot be signed stays unsigned
        ways[way]()
    return f"{way} of {path.name} at {at}"


@pytest.fixture(scope="session")
def damage() -> Callable[[Path, Path, str, np.random.Generator], str]:
    """`damage(folder, other, head, rng)` damages the folder, says how; with `signed` the digests are right again."""
    return _damage

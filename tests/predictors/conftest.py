"""What the tests of predictors share: small graphs, stores made by hand, and one store of the simulated device."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings

import device_profiles
import nas
import predictors
import profiler
from nas.spaces.export import subject
from predictors.sealed import Kind, write_head
from predictors.testing import convolution
from profiler.agent.protocol import Block
from profiler.conditions import conditions_of
from profiler.operators import Node, OperatorGraph
from profiler.store import ModelRow, ProfileRow, Store

settings.register_profile("steady", deadline=None)  # a loaded machine fails no property
settings.load_profile("steady")

SENTINEL_NS = 400_000
STATE = {"event": "state", "gemm_ns": 300_000.0, "memory_ns": 2_000_000.0}


@pytest.fixture(scope="session")
def chain():
    """Makes a fused graph that runs operators one after another: `chain(operators, runtime="fake")`."""

    def make(operators, runtime="fake", names=None):
        names = names or [f"node{i}" for i in range(len(operators))]
        nodes = tuple(
            Node(op, tuple(f"v{i}" if j == 0 else f"w{i}{j}" for j in range(len(op.inputs))), (f"v{i + 1}",), name)
            for i, (op, name) in enumerate(zip(operators, names, strict=True))
        )
        return OperatorGraph(nodes, (("v0", operators[0].inputs[0]),), (f"v{len(nodes)}",), runtime)

    return make


@pytest.fixture(scope="session")
def conditions():
    """Those of the simulated device, here and now."""
    return conditions_of(device_profiles.load("fake"))


@pytest.fixture
def hand_made(chain, conditions):
    """Makes a store in memory, of networks `n000`, `n001` ... whose times are given.

    `hand_made(networks, latency_ns, kernel_ns)`: kernels of each network, `(n, processes)`, and ns of a kernel.
    """
    opened = []

    def make(networks, latency_ns, kernel_ns, *, target="fake", under=conditions, sentinel_ns=SENTINEL_NS, blocks=2):
        store = Store("sqlite://")
        opened.append(store)
        store.bind(target, "{}", under)
        ids = [f"n{i:03}" for i in range(len(networks))]
        for name, operators in zip(ids, networks, strict=True):
            graph = chain(operators)
            store.add_model(ModelRow(name, name, None, None), graph)
            store.add_fused(name, under, graph)
        for number, column in enumerate(np.asarray(latency_ns, dtype=float).T):
            process = store.start_process(under, "one", seed=number)
            for name, operators, ns in zip(ids, networks, column, strict=True):
                for index in range(blocks):
                    store.add_block(process, Block(name, index, 10, round(10 * ns), SENTINEL_NS, SENTINEL_NS))
                if number == 0:
                    rows = [[f"node{i}", op.op_type, kernel_ns(op), 20] for i, op in enumerate(operators)]
                    store.add_profile(process, ProfileRow(name, rows, None, sentinel_ns))
            store.end_process(process, state="finished", device_s=1.5, facts=[STATE])
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture(scope="session")
def kernel_pool():
    """Convolutions of many sizes, all distinct."""
    return [convolution(4 * i, 4 * j, 8, kernel) for i in range(1, 7) for j in range(1, 7) for kernel in (1, 3)]


# -- the simulated device


@dataclass(frozen=True)
class Corner:
    """The 125 cells of NAS-Bench-201 in which only the edges 0, 3 and 4 may hold an operator."""

    base: nas.spaces.Space
    spec = "corner"
    choices = (5, 5, 5)
    size = 125

    def cells(self, archs):
        """The cells in the space that this is a corner of."""
        found = np.zeros((len(archs), 6), dtype=np.int64)
        found[:, [0, 3, 4]] = archs
        return found

    @property
    def everything(self):
        return np.stack(np.unravel_index(np.arange(125), self.choices), axis=1)

    def canonical(self, archs):
        seen = self.base.canonical(self.cells(self.everything))
        _, first, inverse = np.unique(seen, axis=0, return_index=True, return_inverse=True)
        return self.everything[first[inverse.reshape(-1)]][np.asarray(archs) @ [25, 5, 1]]

    def is_valid(self, archs):
        return self.base.is_valid(self.cells(archs))

    def assembly(self, arch):
        return self.base.assembly(self.cells([arch])[0])


@pytest.fixture(scope="session")
def corner():
    return Corner(nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8"))


@pytest.fixture(scope="session")
def measured(tmp_path_factory, corner, cache):
    """A store of 20 networks on the simulated device: `.path`, `.target`, `.ids`, in the order of the store."""
    path = tmp_path_factory.mktemp("measured") / "a.db"
    target = device_profiles.load("fake")
    archs = corner.base.sample(20, np.random.default_rng(0))
    with Store(path) as store:
        outcome = profiler.measure(
            [subject(corner.base, arch) for arch in archs],
            target=target,
            store=store,
            budget=profiler.Budget(rounds=5, memory=False),
        )
    assert len(outcome.measurements) == 20 and not outcome.failures
    return SimpleNamespace(path=path, target=target, ids=sorted(row.model for row in outcome.measurements))


@pytest.fixture
def store(measured):
    with Store(measured.path, create=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def fitted(measured, corner):
    """The table of kernels, fitted on all networks and the corner."""
    with Store(measured.path, create=False) as opened:
        return predictors.fit("lookup", opened, target=measured.target, space=corner)


@pytest.fixture(scope="session")
def forge():
    """Signs a folder again that was changed: `forge(folder, head="card.json", **changed)`.

    So that each change is refused for what it says, and not for the digests.
    """

    def make(folder, head="card.json", **changed):
        facts = json.loads((folder / head).read_text())
        schema = changed.pop("schema", facts["schema"])
        kept = {name: value for name, value in facts.items() if name not in ("schema", "files", "digest", "written_by")}
        write_head(folder, Kind(head, schema, "", ""), {**kept, **changed})

    return make


@pytest.fixture
def folder(fitted, tmp_path) -> Path:
    """The folder of a saved predictor."""
    fitted.save(tmp_path / "p")
    return tmp_path / "p"

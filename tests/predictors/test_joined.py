"""Networks put together from blocks of compiled ones: their graphs and their memory are what compiling them gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import device_profiles
import nas
from device_profiles.errors import UsageError
from predictors import encodings
from predictors.blocks import building, contexts, joining
from predictors.blocks.contexts import UNSEEN
from predictors.blocks.places import NotLocal
from predictors.blocks.table import GUESSED
from predictors.differentiable import network as learned_cost
from predictors.encodings import Distilled, Joined, distilled, joined, load
from predictors.graphs.simulation import Simulation
from predictors.testing import check_encoding
from profiler.catalogue import compile_all
from profiler.stretches import Stretch
from profiler.stretches import joined as graph_of

TARGET = device_profiles.load("local-onnxruntime")
SPACES = {
    "chain": nas.spaces.load("chain:layers=1,width=25,resolution=32"),
    "mobilenetv3": nas.spaces.load("mobilenetv3:stages=1,resolution=32,smallest=32"),
}
CHAIN = SPACES["chain"]
MODEL = Simulation(half_width=0.02)


def fit(space, monkeypatch):
    monkeypatch.setattr("predictors.encodings.TABLE_LIMIT", 10)
    monkeypatch.setattr(joined, "TAUGHT", 400)
    monkeypatch.setattr(joined, "STEPS", 300)
    return encodings.choose(MODEL, space, TARGET, "bytes", progress=lambda done, total: None)


@pytest.fixture(scope="module")
def fitted():
    with pytest.MonkeyPatch.context() as monkeypatch:
        return fit(CHAIN, monkeypatch)


def others(space, count=60):
    """Genomes, and what their networks were compiled to one by one."""
    archs = space.sample(count, np.random.default_rng(77))
    return archs, compile_all([space.assembly(arch) for arch in archs], TARGET)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chain", pytest.param("mobilenetv3", marks=pytest.mark.slow)])
def test_graphs_and_memory_are_those_of_compiling_network_by_network(name, fitted, monkeypatch):
    space = SPACES[name]
    encoding, fidelity = fitted if space is CHAIN else fit(space, monkeypatch)
    assert isinstance(encoding, Joined) and encoding.error == 0.0
    assert fidelity.kind == "joined" and fidelity.held == building.HELD and fidelity.worst == 0.0
    archs, alone = others(space)
    entries = encoding.joining.entries(archs)
    graphs = [encoding.joining.graph(row) for row in entries]
    assert [graph.digest for graph in graphs] == [graph.digest for graph in alone.graphs(range(len(archs)))]
    told, compiled = encoding.predict(archs), MODEL.predict_catalogue(alone)
    for end in ("value", "low", "high", "coverage"):
        assert (getattr(told, end) == getattr(compiled, end)).all(), end
    check_encoding(encoding, archs[:12], MODEL, "bytes")


def test_without_measured_networks_there_is_no_interval(fitted):
    encoding, _ = fitted
    archs, _ = others(CHAIN, 4)
    bare = replace(encoding, model=Simulation(), _kept={})
    assert bare.predict(archs).low is None and (bare.predict(archs).value == encoding.predict(archs).value).all()


def test_a_network_with_a_context_that_was_never_seen_is_what_was_learned_and_nothing_of_it_is_known(fitted):
    encoding, _ = fitted
    archs, _ = others(CHAIN)
    table = encoding.joining.table
    entries = table.contexts.entries.copy()
    rows = encoding.joining.entries(archs)
    dropped = rows[0][rows[0] >= 0][1]
    entries[entries == dropped] = UNSEEN
    poor_table = replace(table, contexts=replace(table.contexts, entries=entries))
    poor = replace(encoding, joining=replace(encoding.joining, table=poor_table), _kept={})
    hit = (rows == dropped).any(axis=1)
    assert hit.any() and not hit.all()
    told, before = poor.predict(archs), encoding.predict(archs)
    assert (told.value[~hit] == before.value[~hit]).all()
    assert [keys == (GUESSED,) for keys in told.missing] == hit.tolist() == (told.coverage == 0).tolist()
    assert told.value[hit] == pytest.approx(encoding.learned.predict(archs[hit]).value)
    assert ((told.high / told.value)[hit] > (before.high / before.value)[hit]).all()


def test_between_architectures_the_cost_is_the_learned_one_and_smooth(fitted):
    encoding, _ = fitted
    cost = encoding.differentiable()
    rng = np.random.default_rng(3)
    even = [torch.full((options,), 1.0 / options, dtype=torch.double) for options in cost.choices]
    assert cost(even) == encoding.learned(even)
    archs, _ = others(CHAIN, 1)
    near = [
        torch.nn.functional.one_hot(torch.as_tensor(gene), n).double()
        for gene, n in zip(archs[0], cost.choices, strict=True)
    ]
    near = [0.9 * p + 0.1 * torch.from_numpy(rng.dirichlet(np.ones(len(p)))) for p in near]
    assert torch.autograd.gradcheck(lambda *given: cost(given), [p.requires_grad_() for p in near])
    exact, learned = encoding.predict(archs).value[0], encoding.learned.predict(archs).value[0]
    assert exact != learned
    ratio = float((cost(near) / encoding.learned(near)).detach())
    assert min(1.0, exact / learned) < ratio < max(1.0, exact / learned)


def test_a_space_whose_blocks_do_not_tell_is_learned_from_compiled_networks(monkeypatch):
    def refuse(*args, **kwargs):
        raise NotLocal("it is so")

    monkeypatch.setattr("predictors.encodings.TABLE_LIMIT", 10)
    monkeypatch.setattr(contexts, "learn", refuse)
    monkeypatch.setattr(distilled, "TAUGHT", 40)
    monkeypatch.setattr(distilled, "HELD", 12)
    monkeypatch.setattr(learned_cost, "LEAST_ROWS", 10)
    encoding, fidelity = encodings.choose(MODEL, CHAIN, TARGET, "bytes", progress=lambda done, total: None)
    assert isinstance(encoding, Distilled) and fidelity.why == "it is so"


# -- stretches


def test_stretches_that_do_not_fit_together_are_refused(fitted):
    encoding, _ = fitted
    of = encoding.joining
    first = of.stretches[0]
    beyond = replace(first, reads=(tuple(-9 if value <= -3 else value for value in first.reads[0]), *first.reads[1:]))
    with pytest.raises(ValueError, match="more than crosses"):
        replace(of, stretches=(beyond, *of.stretches[1:]))
    with pytest.raises(ValueError, match="entries have"):
        replace(of, stretches=of.stretches[1:])
    for broken in (
        replace(first, kernels=(10**6, *first.kernels[1:])),
        replace(first, reads=((10**6, *first.reads[0][1:]), *first.reads[1:])),
        replace(first, gives=(99,)),
    ):
        with pytest.raises(ValueError, match=r"kernel|gives"):
            replace(of, stretches=(broken, *of.stretches[1:]))


def test_a_stretch_that_reads_what_does_not_cross_makes_no_graph(fitted):
    encoding, _ = fitted
    kernels = encoding.joining.kernels
    number = next(i for i, kernel in enumerate(kernels) if len(kernel.inputs) == 1)
    with pytest.raises(LookupError):
        graph_of([Stretch((number,), ((-4,),), (0,))], kernels, "onnxruntime")


# -- files


def test_stretches_are_read_as_they_were_written(fitted):
    encoding, _ = fitted
    tensors, facts = joining.to_arrays(encoding.joining)
    back = joining.of_arrays(tensors, facts, CHAIN.choices)
    assert back.stretches == encoding.joining.stretches and back.kernels == encoding.joining.kernels


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows", lambda array: array[:-1]),
        ("rows", lambda array: array + 1),
        ("rows", lambda array: array.astype(np.float32)),
        ("lengths", lambda array: array[:-1]),
        ("lengths", lambda array: np.where(np.arange(len(array)) < 2, array + [1, -1] * (len(array) // 2), array)),
        ("entries", lambda array: array + 1_000),
        ("learned.effects", lambda array: array * np.nan),
    ],
)
def test_a_damaged_file_is_refused(fitted, tmp_path, name, change):
    encoding, _ = fitted
    encoding.save(tmp_path)
    path = tmp_path / Joined.file
    with safe_open(path, framework="numpy") as file:
        facts = file.metadata()
    tensors = load_file(path)
    save_file({**tensors, name: np.ascontiguousarray(change(tensors[name]))}, path, metadata=facts)
    with pytest.raises((ValueError, LookupError)):
        load("joined", tmp_path, CHAIN.choices, MODEL, "bytes")


def test_what_was_learned_in_another_unit_or_space_is_refused(fitted, tmp_path):
    encoding, _ = fitted
    encoding.save(tmp_path)
    for choices, unit in ((CHAIN.choices, "ms"), (CHAIN.choices[:-1], "bytes")):
        with pytest.raises(ValueError, match="the card says"):
            load("joined", tmp_path, choices, MODEL, unit)


def test_genomes_of_another_space_are_refused(fitted):
    encoding, _ = fitted
    with pytest.raises(UsageError, match="outside of the space"):
        encoding.predict(np.full((1, len(CHAIN.choices)), 99))

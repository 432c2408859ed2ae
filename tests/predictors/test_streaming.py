"""Weights that no cache keeps: two paces where there are two, and predictions of large networks from small ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from predictors import network
from predictors.models.lookup import Lookup
from predictors.models.protocol import DeviceFacts, KernelSamples
from predictors.samples import NetworkSamples
from predictors.streaming import Streaming, shows_pace, weights_of
from profiler.operators import Node, Operator, OperatorGraph, Tensor

MB = 1e6


def product(rows: int, into: int, out: int) -> Operator:
    tensors = Tensor((rows, into), "float32"), Tensor((into, out), "float32", constant=True)
    return Operator("", "MatMul", (), tensors, (Tensor((rows, out), "float32"),))


def test_two_paces_and_what_is_between_them_are_found():
    weights = np.array([60.0, 5.0, 40.0, 6.0, 90.0, 7.0]) * MB
    read = np.array([8.0, 4.0, 30.0, 2.0, 80.0, 5.0]) * MB
    pace = np.where(weights > 20 * MB, 6e-8, 2e-8)  # ms a byte: 17 and 50 GB/s
    found = Streaming.fit(weights, read, pace * read)
    assert 7 * MB < found.kept_bytes < 40 * MB and found.ms_per_byte == pytest.approx(6e-8)
    assert found.ms(np.array([6.0, 60.0]) * MB).tolist() == pytest.approx([0.0, 3.6])


@pytest.mark.parametrize("slow", [2e-8, 2.5e-8, 1e-8])
def test_paces_that_do_not_differ_or_the_other_way_round_are_one(slow):
    weights = np.array([5.0, 6.0, 7.0, 40.0, 60.0, 90.0]) * MB
    found = Streaming.fit(weights, weights / 2, np.where(weights > 20 * MB, slow, 2e-8) * weights / 2)
    assert found == Streaming() and math.isinf(found.kept_bytes) and not found.ms(weights).any()


@pytest.mark.parametrize("count", range(4))
def test_of_a_few_kernels_nothing_is_said(count):
    some = np.arange(1.0, count + 1.0) * 30 * MB
    assert Streaming.fit(some, some, some**2) == Streaming()


def test_what_shows_a_pace_reads_many_weights_once():
    assert shows_pace(product(1, 1024, 1024)) and weights_of(product(1, 1024, 1024)) == 4 * 1024**2
    assert not shows_pace(product(2, 1024, 1024)), "they are used twice"
    assert not shows_pace(product(1, 64, 64)), "something else takes the time"
    relu = Operator("", "Relu", (), (Tensor((9,), "float32"),), (Tensor((9,), "float32"),))
    assert not shows_pace(relu) and weights_of(relu) == 0.0


def test_kept_costs_are_never_nothing():
    found = Streaming(10 * MB, 5e-8)
    left = found.without(np.array([4.0, 4.0, 0.1]), np.array([1.0, 1.0, 9.0]) * MB, np.array([5.0, 50.0, 50.0]) * MB)
    assert left.tolist() == pytest.approx([4.0, 3.95, 0.01])


def graph(*operators: Operator) -> OperatorGraph:
    nodes = tuple(Node(op, ("x", f"w{i}"), (f"y{i}",), f"n{i}") for i, op in enumerate(operators))
    return OperatorGraph(nodes, (("x", operators[0].inputs[0]),), ())


def test_large_networks_are_predicted_from_the_kernels_of_small_ones(tmp_path):
    """Products of many rows take .01 ms a million multiply-accumulates; beyond 20 MB, weights come at 20 GB/s."""
    pool = [product(32, 256, 64 * (i + 1)) for i in range(12)]
    own = np.array([op.inputs[0].elements * op.outputs[0].shape[1] / MB * 0.01 for op in pool])
    device = Streaming(20 * MB, 5e-8)
    kernels = KernelSamples(tuple(pool), own, np.ones(12), DeviceFacts(1e11, 1e10), kept=own, streaming=device)
    repeats = [1, 3, 9, 40, 80, 120]
    graphs = tuple(graph(*(pool[(i + j) % 12] for j in range(count))) for i, count in enumerate(repeats))
    catalogue, counts = network.kernel_counts(graphs)
    weights = counts @ np.array([weights_of(op) for op in catalogue])
    cost = counts @ np.array([own[pool.index(op)] for op in catalogue]) + device.ms(weights)
    assert (weights > 20 * MB).sum() == 2
    measured = NetworkSamples(tuple("abcdef"), (None,) * 6, (None,) * 6, graphs, cost, np.zeros(6))
    model = network.fit(Lookup, kernels, measured)
    assert model.predict(graphs).value == pytest.approx(cost, rel=0.02)
    model.save(tmp_path)
    assert network.load(tmp_path, Lookup).predict(graphs).value.tolist() == model.predict(graphs).value.tolist()
    without = network.fit(Lookup, kernels, measured, streams=False)
    assert without.streaming == Streaming()
    assert np.abs(without.predict(graphs).value / cost - 1.0).max() > 0.02, "sums of kernels do not say it"


def test_networks_of_a_space_are_sums_over_kernels():
    pool = [product(32, 256, 64 * (i + 1)) for i in range(12)]
    kernels = KernelSamples(
        tuple(pool), np.ones(12), np.ones(12), DeviceFacts(1e11, 1e10), kept=np.ones(12), streaming=Streaming(1.0, 1.0)
    )
    graphs = tuple(graph(op) for op in pool[:5])
    measured = NetworkSamples(tuple("abcde"), ("chain",) * 5, ("0",) * 5, graphs, np.ones(5), np.zeros(5))
    model = network.fit(Lookup, kernels, measured)
    assert model.streaming == Streaming() and model.predict(graphs).value == pytest.approx(np.ones(5), rel=0.01)


def test_a_pace_that_networks_outrun_is_none_of_the_memorys():
    """A library that lays the weights of products with one row out anew; convolutions do not wait for it."""
    told = Streaming(1 * MB, 1e-6)
    assert told.holds(np.array([9.0, 0.1]), np.array([9.0, 0.5]) * MB)
    assert not told.holds(np.array([9.0, 3.0]), np.array([9.0, 9.0]) * MB)
    pool = [product(32, 256, 64 * (i + 1)) for i in range(12)]
    own, told = np.linspace(0.1, 1.2, 12), Streaming(1 * MB, 4e-6)
    kernels = KernelSamples(tuple(pool), own, np.ones(12), DeviceFacts(1e11, 1e10), kept=own / 10, streaming=told)
    graphs = tuple(graph(*(pool[(i + j) % 12] for j in range(6 * i + 6))) for i in range(6))
    catalogue, counts = network.kernel_counts(graphs)
    cost = counts @ np.array([own[pool.index(op)] for op in catalogue])
    measured = NetworkSamples(tuple("abcdef"), (None,) * 6, (None,) * 6, graphs, cost, np.zeros(6))
    model = network.fit(Lookup, kernels, measured)
    assert model.streaming == Streaming() and model.predict(graphs).value == pytest.approx(cost, rel=0.02)

"""Every registered space is told at search speed, and as nearly as it says."""

from __future__ import annotations

import numpy as np
import pytest

import device_profiles
import nas
from benchmarks.spaces import drawn_model
from predictors import encodings
from predictors.graphs.simulation import Simulation
from predictors.testing import check_encoding
from profiler.catalogue import compile_all

pytestmark = pytest.mark.slow

#: Small options, so that exports and compilations are those of a small network.
SMALL = {
    "chain": "chain:layers=2,width=25,resolution=32",
    "gpt": "gpt:length=16",
    "hybrid": "hybrid:resolution=32",
    "mobilenetv3": "mobilenetv3:stages=2,resolution=64,smallest=56,step=8",
    "resnet": "resnet:stages=2,resolution=48,smallest=32,width=25",
}
#: Largest deviations from compiling network by network: of the median, and of the worst network.
EXACT, NEAR = (1e-9, 1e-9), (0.015, 0.08)


@pytest.mark.parametrize("name", nas.spaces.names())
def test_a_space_is_told_as_nearly_as_it_should(name):
    space, target = nas.spaces.load(SMALL.get(name, name)), device_profiles.load("local-onnxruntime")
    model = drawn_model()
    encoding, fidelity = encodings.choose(model, space, target, "ms", progress=lambda done, total: None)
    archs = space.sample(20, np.random.default_rng(5))
    alone = model.predict_catalogue(compile_all([space.assembly(arch) for arch in archs], target)).value
    deviation = np.abs(encoding.predict(archs).value / alone - 1.0)
    median, worst = EXACT if name in SMALL or name == "nasbench201" else NEAR
    assert np.median(deviation) <= median and deviation.max() <= worst, fidelity
    check_encoding(encoding, archs, model, "ms")


@pytest.mark.parametrize("name", SMALL)
def test_memory_is_that_of_compiling_network_by_network_where_blocks_tell_kernels(name):
    space, target, model = nas.spaces.load(SMALL[name]), device_profiles.load("local-onnxruntime"), Simulation()
    encoding, fidelity = encodings.choose(model, space, target, "bytes", progress=lambda done, total: None)
    archs = space.sample(60, np.random.default_rng(5))
    alone = model.predict_catalogue(compile_all([space.assembly(arch) for arch in archs], target)).value
    assert (encoding.predict(archs).value == alone).all(), fidelity
    check_encoding(encoding, archs[:20], model, "bytes")

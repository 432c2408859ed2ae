"""What the tests of searching share: a small space, the simulated device, and a predictor of its latency."""

import numpy as np
import pytest

import nas
import predictors
import profiler
from device_profiles.profile import load
from nas.spaces.export import subject

SMALL = "nasbench201:cells=1,channels=4,resolution=8"


@pytest.fixture(scope="module")
def one_thread():
    """Sums are in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small():
    """A space whose networks are measured and trained in no time."""
    return nas.spaces.load(SMALL)


@pytest.fixture(scope="session")
def fake():
    """The simulated device."""
    return load("fake")


@pytest.fixture(scope="session")
def latency(tmp_path_factory, cache, small, fake):
    """The folder of a predictor that was fitted on 12 measured networks."""
    place = tmp_path_factory.mktemp("latency")
    archs = small.sample(12, np.random.default_rng(0))
    budget = profiler.Budget(max_processes=3, rounds=5, profile_runs=2, memory=False, spread=1.0)
    with profiler.Store(place / "measured.db") as store:
        profiler.measure([subject(small, arch) for arch in archs], target=fake, store=store, budget=budget)
        predictors.fit("linear", store, target=fake, space=small).save(place / "predictor")
    return place / "predictor"

"""What the tests of searching share: a small space, the simulated device, and a predictor of its latency."""

import numpy as np
import pytest

import nas
import predictors
import profiler
from device_profiles.profile import load, to_plain
from nas.spaces.export import subject
from predictors import registry
from predictors.card import Card
from predictors.encoding import CostTable
from predictors.encodings import Tabulated
from predictors.genes import numbered
from predictors.predictor import Predictor
from predictors.testing import graphs
from profiler.conditions import conditions_of

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


def fitted(place, space, target, *, networks, rounds):
    """The folder of a predictor that was fitted on measured networks of a space."""
    archs = space.sample(networks, np.random.default_rng(0))
    budget = profiler.Budget(max_processes=3, rounds=rounds, profile_runs=2, memory=False, spread=1.0)
    with profiler.Store(place / "measured.db") as store:
        profiler.measure([subject(space, arch) for arch in archs], target=target, store=store, budget=budget)
        predictors.fit("linear", store, target=target, space=space).save(place / "predictor")
    return place / "predictor"


@pytest.fixture(scope="session")
def latency(tmp_path_factory, cache, small, fake):
    """The folder of a predictor that was fitted on 12 measured networks."""
    return fitted(tmp_path_factory.mktemp("latency"), small, fake, networks=12, rounds=5)


@pytest.fixture(scope="session")
def mobile():
    """A hierarchy with an order in all its genes, of 324 networks."""
    return nas.spaces.load("mobilenetv3:stages=1,layers=2,width=25,resolution=16,smallest=8,step=8,classes=10")


@pytest.fixture(scope="session")
def mobile_latency(tmp_path_factory, mobile, fake):
    """The folder of a predictor of its networks: a table of a nanosecond for each multiply-accumulate, not measured."""
    archs = numbered(np.arange(mobile.size), mobile.choices)
    costs = np.exp(mobile.features(archs)[:, -1]).reshape(mobile.choices) / 1e6
    table = CostTable(mobile.choices, (tuple(range(len(mobile.choices))),), (costs,), low=0.9 * costs, high=1.1 * costs)
    kernels, networks = graphs.learned("latency", "fake")
    model = registry.get("linear").fit(kernels, networks)
    card = Card(
        predictor="linear",
        cost="latency",
        unit="ms",
        target="fake",
        profile=to_plain(fake),
        conditions=conditions_of(fake).to_plain(),
        space=mobile.spec,
        choices=mobile.choices,
        trained_on=networks.ids,
        kernels=len(kernels.operators),
        device_s=1.0,
        half_width=model.half_width,
    )
    folder = tmp_path_factory.mktemp("mobile-latency") / "predictor"
    Predictor(card, model, Tabulated(table, "ms")).save(folder)
    return folder


@pytest.fixture(scope="session")
def module_space():
    """The space of a torch module with six networks."""
    from torch import nn

    from nas.nn import Choice, Option

    def network():
        width = Option("width", (2, 4, 8))
        act = Choice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name="act")
        return nn.Sequential(nn.Conv2d(1, width, 3), act, nn.Flatten(), nn.Linear(36 * width, 10))

    return nas.spaces.from_module(network, (1, 1, 8, 8))


@pytest.fixture(scope="session")
def module_latency(tmp_path_factory, cache, module_space, fake):
    """The folder of a predictor of its networks, which were all measured."""
    return fitted(tmp_path_factory.mktemp("module-latency"), module_space, fake, networks=6, rounds=3)


@pytest.fixture
def bounded(small, fake, latency, tmp_path):
    """Makes a search on digits whose latency is bounded by what 3 of 10 networks take: the result, and the bound."""

    def make(strategy, evaluations, settings):
        known = nas.search(
            small,
            objectives=[f"latency:{latency}", "params"],
            strategy="random",
            evaluations=40,
            folder=tmp_path / "all",
        )
        bound = float(np.quantile([trial.value("latency") for trial in known.study.trials()], 0.3))
        result = nas.search(
            small,
            objectives=["accuracy", f"latency:{latency}"],
            strategy=strategy,
            evaluations=evaluations,
            constraints=[f"latency <= {bound} ms"],
            data="digits",
            target=fake,
            settings=settings,
            folder=tmp_path / "run",
        )
        return result, bound

    return make

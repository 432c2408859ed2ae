"""The three jobs in a row, on every space: a device is profiled, learned and searched with, and finds are measured."""

import numpy as np
import onnxruntime
import pytest

import nas
import predictors
import profiler
from benchmarks.matrix import SMALL
from device_profiles.errors import UsageError
from nas.spaces.export import subject
from nas.weights import supernets

pytestmark = pytest.mark.usefixtures("one_thread")

#: Options of spaces whose networks tell more classes apart than there are digits.
TEN = dict.fromkeys(("chain", "hybrid", "mobilenetv3", "resnet"), ",classes=10")
#: Spaces whose networks read no images, what they read, and how many tokens there are.
SEQUENCES = {
    "gpt": ("text", "gpt:layers=3,length=16,vocabulary=32,width=13"),
    "hat": ("pairs", "hat:encoder_layers=3,decoder_layers=1,length=8,vocabulary=32,width=5"),
}
#: These are tried each time, and are smaller still.
QUICK = {
    "chain": "chain:layers=1,width=25,resolution=16,classes=10"
    + "".join(f"@layer{layer}=k3e1+k5e1+skip" for layer in range(1, 8)),
    "mobilenetv3": "mobilenetv3:stages=1,layers=2,width=25,resolution=16,smallest=8,step=8,classes=10",
}
EVALUATIONS = 10


def mixes(space):
    try:
        supernets.require_mixed(space)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in nas.spaces.names()]
)
def test_a_space_goes_from_a_device_to_a_measured_front(name, fake, tmp_path):
    data, spec = SEQUENCES.get(name, ("digits", QUICK.get(name) or SMALL.get(name, name) + TEN.get(name, "")))
    space = nas.spaces.load(spec)
    budget = profiler.Budget(max_processes=3, rounds=3, profile_runs=2, memory=False, spread=1.0)
    with profiler.Store(tmp_path / "measured.db") as store:
        subjects = [subject(space, arch) for arch in space.sample(12, np.random.default_rng(0))]
        profiler.measure(subjects, target=fake, store=store, budget=budget)
        predictors.fit("linear", store, target=fake, space=space).save(tmp_path / "latency")
    judge = "perplexity" if name in SEQUENCES else "accuracy"
    strategies = ["auto", *(["gdas"] if mixes(space) else [])]
    settings = {"train_steps": 10, "images": 150}
    settings |= {"gdas.steps": 3, "gdas.batch": 16} if "gdas" in strategies else {}
    result = nas.search(
        space,
        objectives=[judge, f"latency:{tmp_path / 'latency'}"],
        strategy=strategies,
        evaluations=EVALUATIONS,
        data=data,
        target=fake,
        settings=settings,
        finalists=2,
        folder=tmp_path / "run",
    )
    assert {trial.strategy for trial in result.study.trials()} == set(strategies)
    assert result.evaluations >= EVALUATIONS and not result.failures and result.front
    finalists = result.study.finalists()
    assert 1 <= len(finalists) <= 2
    for facts in finalists.values():
        assert facts["measured"]["latency_ms"]["value"] > 0
        session = onnxruntime.InferenceSession(result.folder / facts["onnx"], providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        kind = np.int64 if given.type == "tensor(int64)" else np.float32
        assert np.isfinite(session.run(None, {given.name: np.zeros(given.shape, dtype=kind)})[0]).all()
    page = result.report(tmp_path / "front.html").read_text()
    assert "latency" in page and space.format(np.array(next(iter(finalists)))) in page

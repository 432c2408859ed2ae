"""Few-sample transfer: what it reaches, on made-up families of devices and on public tables."""

import csv
import gzip
import inspect
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.stats import spearmanr

import nas
from benchmarks import transfer as benchmark
from predictors.transfer import Suspect, TransferPredictor

LAYERS, OPTIONS = 22, 9
CHANNELS = np.array([16, *[24] * 4, *[32] * 4, *[64] * 4, *[112] * 4, *[184] * 4, 352])
PIXELS = np.array([112, 112, *[56] * 4, *[28] * 4, *[14] * 8, *[7] * 4]) ** 2
#: Kernel size and expansion of each option; the last is a skip.
BLOCKS = [(k, e) for k in (3, 5) for e in (1.0, 1.5, 3.0, 6.0)]
SPEEDS = {"gpu": (7e9, 3e8, 0.06), "cpu": (5e7, 3e7, 0.02), "mobile": (6e6, 5e6, 0.1)}


def device(kind, seed):
    """Times `(22, 9)` in ms of the blocks of a made-up device: operations, bytes and launches."""
    rng = np.random.default_rng([seed, *kind.encode()])
    flops, bandwidth, launch = np.array(SPEEDS[kind]) * rng.lognormal(0.0, 0.3, 3)
    times = np.zeros((LAYERS, OPTIONS))
    for option, (kernel, expansion) in enumerate(BLOCKS):
        hidden = CHANNELS * expansion
        moved = 2 * PIXELS * hidden / bandwidth
        dense = np.maximum(2 * PIXELS * CHANNELS * hidden / flops, moved)
        deep = np.maximum(4 * PIXELS * hidden * kernel**2 / flops, moved)
        times[:, option] = dense + deep + 3 * launch
    return times * rng.lognormal(0.0, 0.06, times.shape)


def latency(times, archs, seed=None):
    total = times[np.arange(times.shape[0]), archs].sum(axis=1) + 0.1 * times.mean(axis=1).sum()
    return total if seed is None else total * np.random.default_rng(seed).normal(1.0, 0.015, len(archs))


def chains(count, seed):
    return np.random.default_rng(seed).integers(0, OPTIONS, (count, LAYERS))


def family(kinds, count=400, each=3, first=1):
    """Sources of some kinds, each with architectures of its own."""
    found = {}
    for i, kind in enumerate(kinds):
        for seed in range(first, first + each):
            archs = chains(count, 1000 * i + seed)
            found[f"{kind}{seed}"] = archs, latency(device(kind, seed), archs, seed)
    return found


def rank(sources, kind, n=10, seed=0, transfer=None):
    """Rank correlation on architectures that were never measured."""
    transfer = transfer or TransferPredictor([OPTIONS] * LAYERS, seed=seed)
    transfer.fit_sources(sources)
    pool, unseen, times = chains(1000, 7), chains(2000, 8), device(kind, 0)
    rows = transfer.choose(pool, n=n)
    transfer.adapt(pool[rows], latency(times, pool[rows], 5))
    return float(spearmanr(transfer.predict(unseen).value, latency(times, unseen)).statistic)


# -- long chains of many options


@pytest.mark.parametrize("kind", SPEEDS)
def test_a_device_like_the_sources_is_found(kind):
    assert rank(family(SPEEDS), kind) > 0.92


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPEEDS)
def test_sources_of_other_kinds_do_not_hurt(kind):
    """On the mean over seeds: which ten are measured is luck."""
    others = family([other for other in SPEEDS if other != kind], count=200)
    alone, helped = (np.mean([rank(sources, kind, seed=seed) for seed in range(4)]) for sources in ({}, others))
    assert alone > 0.5
    assert helped > alone - 0.05


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow if n else ()) for n, k in enumerate(SPEEDS)])
def test_tables_that_mean_nothing_do_not_hurt(kind):
    rng = np.random.default_rng(0)
    shuffled = {name: (archs, rng.permutation(ms)) for name, (archs, ms) in family(SPEEDS).items()}
    assert rank(shuffled, kind) > rank({}, kind) - 0.05


@pytest.mark.slow
def test_partial_tables_help_as_well():
    whole, part = (rank(family(["cpu", "mobile"], count=count), "cpu") for count in (400, 60))
    assert part > 0.88 and whole > 0.95


def test_more_samples_are_better():
    few, many = (rank({}, "cpu", n=n) for n in (5, 60))
    assert many > few + 0.05


def test_the_speed_of_the_new_device_does_not_matter():
    pool, times = chains(400, 7), device("mobile", 0)
    transfer = TransferPredictor([OPTIONS] * LAYERS).fit_sources(family(["cpu", "mobile"], count=200, each=2))
    other = TransferPredictor([OPTIONS] * LAYERS).fit_sources(
        {k: (a, ms * 1e3) for k, (a, ms) in family(["cpu", "mobile"], count=200, each=2).items()}
    )
    rows = transfer.choose(pool)
    assert (other.choose(pool) == rows).all()
    slow, fast = (
        t.adapt(pool[rows], latency(times, pool[rows]) * unit).predict(pool)
        for t, unit in ((transfer, 1.0), (other, 1e-3))
    )
    assert slow.value == pytest.approx(1e3 * fast.value, rel=1e-6)
    assert slow.high == pytest.approx(1e3 * fast.high, rel=1e-6)


def test_predictions_are_positive_and_inside_of_their_intervals():
    pool = chains(500, 7)
    transfer = TransferPredictor([OPTIONS] * LAYERS).fit_sources(family(["gpu"], count=100, each=2))
    rng = np.random.default_rng(0)
    found = transfer.adapt(pool[:10], rng.lognormal(0.0, 2.0, 10)).predict(pool)
    assert (found.low > 0).all() and (found.low <= found.value).all() and (found.value <= found.high).all()
    assert np.isfinite(found.high).all()
    assert found.unit == "ms" and (found.coverage == 1).all() and found.missing == ((),) * 500


def test_more_can_be_chosen_after_some_were_measured():
    pool, times = chains(300, 7), device("cpu", 0)
    transfer = TransferPredictor([OPTIONS] * LAYERS)
    first = transfer.choose(pool, n=6)
    transfer.adapt(pool[first], latency(times, pool[first]))
    second = transfer.choose(pool, n=6)
    assert not set(first) & set(second)
    # In two parts, or at once.
    transfer.adapt(pool[second], latency(times, pool[second]))
    rows = np.concatenate([first, second])
    at_once = TransferPredictor([OPTIONS] * LAYERS).adapt(pool[rows], latency(times, pool[rows]))
    assert (transfer.predict(pool).value == at_once.predict(pool).value).all()


# -- small and odd spaces


@pytest.mark.parametrize("choices", [[2], [1], [1, 1], [7, 1, 2], [2, 3, 4, 5], [1, 30]])
@pytest.mark.parametrize("sourced", [True, False])
def test_genes_of_any_number_of_options(choices, sourced):
    archs = np.stack(np.unravel_index(np.arange(np.prod(choices)), choices), axis=1)
    ms = 10.0 + archs.sum(axis=1)
    transfer = TransferPredictor(choices)
    if sourced and len(archs) > 1:
        transfer.fit_sources({"a": (archs, ms)})
    count = min(len(archs), 8)
    rows = transfer.choose(archs, n=count)
    found = transfer.adapt(archs[rows], 3.0 * ms[rows]).predict(archs)
    assert np.isfinite(found.value).all() and (found.value > 0).all()
    if sourced and len(archs) > 1:
        assert found.value == pytest.approx(3.0 * ms, rel=0.1)


def test_features_tell_what_genes_alone_cannot():
    """Latency counts the layers before the first skip: dead branches, as far as genes can see."""
    choices = [3] * 8

    def alive(archs):
        return np.cumprod(archs > 0, axis=1).sum(axis=1, keepdims=True).astype(float)

    def ms(archs, seed):
        return 5.0 + seed + alive(archs)[:, 0] * (1.0 + 0.1 * seed)

    pool = np.random.default_rng(0).integers(0, 3, (1500, 8))
    error = {}
    for label, features in (("with", alive), ("without", None)):
        transfer = TransferPredictor(choices, features=features)
        transfer.fit_sources({f"d{i}": (pool, ms(pool, i)) for i in range(3)})
        rows = transfer.choose(pool)
        found = transfer.adapt(pool[rows], 4.0 * ms(pool[rows], 5)).predict(pool)
        error[label] = np.abs(found.value / (4.0 * ms(pool, 5)) - 1.0).mean()
    assert error["with"] < 0.03
    assert error["with"] < 0.5 * error["without"]


# -- determinism, cost, and imports


def test_the_seed_decides():
    def run(seed):
        transfer = TransferPredictor([OPTIONS] * LAYERS, seed=seed).fit_sources(family(["cpu"], count=100, each=2))
        pool = chains(3000, 7)
        rows = transfer.choose(pool)
        return rows, transfer.adapt(pool[rows], latency(device("gpu", 0), pool[rows])).predict(pool).value

    one, again, other = run(0), run(0), run(1)
    assert (one[0] == again[0]).all() and (one[1] == again[1]).all()
    assert (one[0] != other[0]).any()


def test_prediction_is_cheap_beside_learning():
    """No loop over draws and hypotheses is left in a prediction."""
    archs = chains(15625, 3)
    transfer = TransferPredictor([OPTIONS] * LAYERS).fit_sources(family(["cpu"], count=100, each=2))

    def seconds(call):
        begun = time.perf_counter()
        call()
        return time.perf_counter() - begun

    rows = transfer.choose(archs)
    learning = seconds(lambda: transfer.adapt(archs[rows], latency(device("cpu", 0), archs[rows])))
    assert min(seconds(lambda: transfer.predict(archs)) for _ in range(3)) < 20 * learning


def test_importing_it_imports_nothing_heavy():
    heavy = ("torch", "scipy", "sklearn", "safetensors")
    code = f"import sys, predictors.transfer; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_it_is_called_as_it_was_agreed():
    arguments = inspect.signature(TransferPredictor).parameters
    assert list(arguments)[:2] == ["choices", "features"] and arguments["features"].default is None
    assert inspect.signature(TransferPredictor.choose).parameters["n"].default == 10


# -- public tables

TARGETS = ("1080ti_1", "2080ti_256", "gold_6240", "silver_4210r", "pixel3", "samsung_a50")


@pytest.fixture(scope="module")
def cells(data):
    """All cells, and the latencies of all devices."""
    path = data / "nasbench201.csv.gz"
    if not path.is_file():
        pytest.skip(f"no table at {path}")
    return benchmark.tables(data)


@pytest.fixture(scope="module")
def adapted(cells):
    """Predictors of some devices from those of other kinds, each with its samples."""
    archs, devices = cells
    found = {}
    for target in TARGETS:
        far = {s: (archs, t) for s, t in devices.items() if benchmark.kind(s) != benchmark.kind(target)}
        transfer = TransferPredictor([5] * 6).fit_sources(far)
        rows = transfer.choose(archs)
        found[target] = far, rows, transfer.adapt(archs[rows], devices[target][rows])
    return found


@pytest.mark.slow
def test_far_sources_of_cells(cells, adapted):
    archs, devices = cells
    ranks, errors, covered = [], [], []
    for target, (_, _, transfer) in adapted.items():
        found, truth = transfer.predict(archs), devices[target]
        scores = benchmark.judge(found.value, truth)
        ranks.append(scores["spearman"])
        errors.append(scores["mape"])
        covered.append(((found.low <= truth) & (truth <= found.high)).mean())
    assert np.mean(ranks) > 0.96 and min(ranks) > 0.88
    assert np.mean(errors) < 0.075
    assert 0.85 < np.mean(covered) < 0.98 and min(covered) > 0.60


@pytest.mark.slow
def test_it_beats_what_is_simple(cells, adapted):
    archs, devices = cells
    for target, (far, rows, transfer) in adapted.items():
        truth = devices[target]
        others = benchmark.baselines(archs, {s: t for s, (_, t) in far.items()}, rows, truth[rows])
        ours = benchmark.spearman(transfer.predict(archs).value, truth)
        assert ours > max(benchmark.spearman(value, truth) for value in others.values()) - 0.01, target


@pytest.mark.slow
def test_one_wrong_sample_is_suspected(cells, adapted):
    archs, devices = cells
    named, ranks = 0, []
    for number, (target, (far, rows, _)) in enumerate(adapted.items()):
        ms = devices[target][rows].copy()
        wrong = number % len(rows)
        ms[wrong] *= 2.0 if number % 2 else 0.5
        transfer = TransferPredictor([5] * 6).fit_sources(far).adapt(archs[rows], ms)
        suspects = transfer.suspects()
        assert all(isinstance(s, Suspect) and 0 <= s.probability <= 1 for s in suspects)
        assert sorted(s.index for s in suspects) == list(range(10))
        assert [s.probability for s in suspects] == sorted((s.probability for s in suspects), reverse=True)
        named += wrong in [s.index for s in suspects[:2]]
        ranks.append(benchmark.spearman(transfer.predict(archs).value, devices[target]))
    assert named >= 5
    assert np.mean(ranks) > 0.93


@pytest.mark.slow
def test_the_benchmark_prints_what_it_found(data, capsys):
    benchmark.main(["--data", str(data), "--device", "titan_rtx_32", "--protocol", "FAR", "--seeds", "1"])
    out = capsys.readouterr().out
    assert "titan_rtx_32" in out and '"floors"' in out and "most alike source" in out


def test_kinds_of_devices(data):
    with gzip.open(data / "nasbench201.csv.gz", "rt", newline="") as file:
        names = [n.removeprefix("latency_ms.") for n in next(csv.reader(file)) if n.startswith("latency_ms.")]
    kinds = [benchmark.kind(name) for name in names]
    assert [kinds.count(kind) for kind in ("gpu", "cpu", "mobile")] == [14, 3, 4]
    assert benchmark.kind("edgegpu") == "gpu" and benchmark.kind("raspi4") == "mobile"
    assert nas.spaces.load("nasbench201").choices == (5,) * 6

"""Plug-ins that misbehave: evaluators cost their architecture, strategies and spaces are named, nothing stays."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import nas
from benchmarks import misbehaving, robustness_plugins
from device_profiles import plugins
from device_profiles.errors import InvalidData, PluginError, UsageError
from device_profiles.registry import Registry
from nas import evaluators, spaces, strategies
from nas.evaluators.protocol import OwnsNetworks, OwnsWeights
from nas.isolation import apart, checking, space_parts
from nas.isolation.apart_strategy import ApartStrategy
from nas.loop import guard
from nas.objectives import Objective, Values
from nas.study.study import open_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for registry in (evaluators.REGISTRY, spaces.REGISTRY, strategies.REGISTRY):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(plugins, "_KNOWN", dict(plugins._KNOWN))
    misbehaving.register()


def children():
    return psutil.Process().children(recursive=True)


def test_whatever_an_evaluator_does_costs_its_architecture_alone(tmp_path):
    before = children()
    found = robustness_plugins.evaluators(tmp_path)
    assert set(found["deeds"]) == {name for name, _, _ in misbehaving.ACTS}
    assert {name: one["reason"] for name, one in found["deeds"].items() if not one["as agreed"]} == {}
    assert children() == before


@pytest.mark.slow
def test_so_it_does_where_values_are_said_to_be_free_and_in_a_replay(tmp_path):
    found = robustness_plugins.evaluators(tmp_path / "free", "acts:free")
    assert {name: one["reason"] for name, one in found["deeds"].items() if not one["as agreed"]} == {}
    assert robustness_plugins.resumed(tmp_path)


@pytest.mark.parametrize("table", ["kinds", "strategies", "spaces"])
def test_what_a_search_cannot_go_on_without_is_named(table, tmp_path):
    before = children()
    found = getattr(robustness_plugins, table)(tmp_path)
    assert {name: one["error"] for name, one in found.items() if not one["as agreed"]} == {}
    assert {one["code"] for one in found.values()} == {3}
    assert children() == before


def test_what_was_judged_before_a_strategy_failed_is_kept(tmp_path, monkeypatch):
    def ask(choices, n):
        rows = np.arange(n)[:, None] * np.ones((1, len(choices)), dtype=np.int64) % np.array(choices)
        state["asked"] += 1
        return rows if state["asked"] < 3 else rows + 0.5

    state = {"asked": 0}
    strategies.REGISTRY.register("fails-late", misbehaving.asks(ask))
    evaluators.REGISTRY.register("sums", Sums("sums"))
    with pytest.raises(PluginError, match="fails-late"):
        nas.search("nasbench201", objectives=["sums"], strategy="fails-late", folder=tmp_path, evaluations=40)
    study = open_study(tmp_path)
    assert len(study.trials()) == 20 and all(trial.result is not None for trial in study.trials())


# ---- what behaves is treated as it always was ----


class Relayed:
    """A strategy of the toolkit as others would bring it."""

    def __init__(self, problem, *, seed, of="nsga2"):
        self.inner = strategies.REGISTRY.get(of)(problem, seed=seed)

    def ask(self, n):
        return self.inner.ask(n)

    def tell(self, archs, costs, violations=None):
        self.inner.tell(archs, costs, violations)


@pytest.mark.parametrize("of", ["nsga2", "scalarisation"])
def test_a_strategy_of_others_asks_for_the_same_in_its_own_process(of, tmp_path):
    strategies.REGISTRY.register("relayed", Relayed)
    options = {
        "objectives": ["cells", "depth"],
        "constraints": ["cells <= 8"],
        "evaluations": 40,
    }
    evaluators.REGISTRY.register("cells", Sums("cells", free=True))
    evaluators.REGISTRY.register("depth", Sums("depth"))
    own = nas.search("nasbench201", strategy=of, folder=tmp_path / "own", **options)
    theirs = nas.search(
        "nasbench201", strategy="relayed", settings={"relayed.of": of}, folder=tmp_path / "theirs", **options
    )
    assert robustness_plugins.archive(own.study) == robustness_plugins.archive(theirs.study)
    assert len(own.study.trials()) == 40
    with pytest.raises(UsageError, match="unknown setting of relayed"):
        nas.search("nasbench201", strategy="relayed", settings={"relayed.no": 1}, folder=tmp_path / "no", **options)


class RelayedWithPending(Relayed):
    """One that takes what is out itself."""

    def ask(self, n, *, pending=None):
        return self.inner.ask(n, pending)


@pytest.mark.parametrize("made", [Relayed, RelayedWithPending])
def test_a_strategy_of_others_is_told_what_is_out_in_its_own_process(made):
    strategies.REGISTRY.register("relayed", made)
    space, parts = space_parts.load("nasbench201", 60.0)
    options = {"objectives": 2, "canonical": space.canonical, "valid": space.is_valid}
    here = strategies.create("relayed", choices=space.choices, **options)
    there = ApartStrategy("relayed", space, parts, {}, 0, 60.0)
    there.start()
    try:
        there.open(2, {}, tabular=False)
        first = there.ask(5)
        rows = there.ask(5, pending=first)
        np.testing.assert_array_equal(rows, here.ask(5, pending=first))
        both = space.canonical(np.concatenate([first, rows]))
        assert len({row.tobytes() for row in both}) == 10
        np.testing.assert_array_equal(there.ask(5), first)
    finally:
        there.close()


@dataclass
class Sum:
    """A value whose bits matter."""

    objective: Objective
    free: bool
    identity: str = "of these weights"
    process: int = 0

    def evaluate(self, archs):
        weights = np.sqrt(np.arange(2.0, 2 + archs.shape[1]) + len(self.objective.name))
        value = (archs * weights).sum(axis=1) / 7
        return Values(value, value - 0.1, value + 0.1)


@dataclass
class Sums:
    spec: str
    free: bool = False
    in_process: bool = False
    forms: str = "a word"
    settings: tuple = ()

    def claims(self, spec):
        return spec == self.spec

    def default_name(self, spec):
        return spec

    def open(self, name, spec, context):
        context.progress("reading", 1, 2)
        return Sum(Objective(name, "", False, "counted", spec), self.free)


def test_values_are_the_same_to_the_bit_in_a_process_of_their_own(tmp_path):
    said, found = [], []
    for here in (False, True):
        evaluators.REGISTRY.register("sums", Sums("sums", in_process=here))
        result = nas.search(
            "nasbench201",
            objectives=["sums"],
            strategy="random",
            evaluations=20,
            folder=tmp_path / str(here),
            progress=lambda what, done, total: said.append(what),
        )
        assert isinstance(result.evaluators[0], apart.Apart) != here
        found.append((robustness_plugins.archive(result.study), result.study.fact("sources"), result.hypervolume))
    assert found[0] == found[1]
    assert said.count("reading") >= 2  # what a worker tells of its progress is shown


def test_networks_of_a_space_of_others_are_counted_where_they_harm_nobody(tmp_path):
    result = nas.search("acts", objectives=["params"], strategy="random", evaluations=8, folder=tmp_path)
    words = ("OSError: cannot be built", "code 9")
    for arch, reason in result.failures.items():
        assert words[arch[0] % 2] in reason
    assert len(result.failures) == 8


class Weighed(Sum, OwnsWeights):
    """Weights are asked for in the process of the search."""

    images = supernet = None

    def network(self, arch):
        return os.getpid()

    def tested(self, arch):
        return {"test_accuracy": 0.5}


def test_weights_of_others_are_in_the_process_of_the_search(tmp_path, monkeypatch):
    kind = Sums("sums")
    monkeypatch.setattr(
        Sums, "open", lambda self, name, spec, context: Weighed(Objective(name, "", False, "trained", spec), False)
    )
    evaluators.REGISTRY.register("sums", kind)
    result = nas.search("nasbench201", objectives=["sums"], strategy="random", evaluations=3, folder=tmp_path)
    owner = result.evaluators[0]
    assert isinstance(owner, apart.Apart) and isinstance(owner, OwnsWeights)
    assert owner.network(None) == os.getpid() and owner.tested(None) == {"test_accuracy": 0.5}


class Schooled(Sum, OwnsNetworks):
    """Networks of its own, asked for in the process of the search."""

    examples = (1, 2)

    def network(self, arch):
        return os.getpid()

    def tested(self, arch):
        return {"test_perplexity": 3}


def test_networks_of_others_are_in_the_process_of_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Sums, "open", lambda self, name, spec, context: Schooled(Objective(name, "", False, "trained", spec), False)
    )
    evaluators.REGISTRY.register("sums", Sums("sums"))
    result = nas.search("nasbench201", objectives=["sums"], strategy="random", evaluations=3, folder=tmp_path)
    owner = result.evaluators[0]
    assert isinstance(owner, apart.Apart) and isinstance(owner, OwnsNetworks) and not isinstance(owner, OwnsWeights)
    assert (owner.network(None), owner.examples, owner.tested(None)) == (os.getpid(), (1, 2), {"test_perplexity": 3.0})


def test_an_evaluator_that_cannot_be_loaded_costs_its_own_objectives(tmp_path, monkeypatch):
    class Claims(Sums):
        def claims(self, spec):
            raise RuntimeError("cannot read")

    evaluators.REGISTRY.register("aaa", Claims("aaa"))
    evaluators.REGISTRY.register("sums", Sums("sums"))
    nas.search("nasbench201", objectives=["sums"], strategy="random", evaluations=2, folder=tmp_path)
    with pytest.raises(PluginError, match=r"'aaa' cannot say whether it takes 'nothing'.*cannot read"):
        nas.search("nasbench201", objectives=["nothing"], strategy="random", evaluations=2, folder=tmp_path / "no")


def test_a_distribution_that_cannot_be_imported_is_named(monkeypatch):
    class Entry:
        name, value = "gone", "gone.gone:EVALUATOR"

        def load(self):
            sys.exit(3)

    monkeypatch.setattr("device_profiles.registry.entry_points", lambda group: [Entry()])
    with pytest.raises(PluginError, match=r"thing 'gone'.*cannot be loaded: SystemExit: 3"):
        Registry("thing", "nas.spaces", attribute="SPACE").get("gone")


# ---- parts ----


def test_a_deadline_ends_what_catches_everything_where_the_guard_is_used_alone():
    before, reasons = children(), {}
    archs = np.zeros((2, 1), dtype=np.int64)
    values = guard.evaluate(misbehaving.stubborn, archs, seconds=0.1, failed=reasons.__setitem__)
    assert np.isnan(values.value).all() and set(reasons) == {0, 1}
    assert all("EvaluationTimeout: no value after 0.1 s" in reason for reason in reasons.values())
    assert children() == before


def test_an_interrupt_in_the_process_of_the_search_is_the_users():
    with pytest.raises(KeyboardInterrupt):
        guard.evaluate(misbehaving.raising(KeyboardInterrupt()), np.zeros((1, 1)), failed=lambda row, reason: None)
    reasons = {}
    guard.evaluate(misbehaving.raising(SystemExit(2)), np.zeros((1, 1)), failed=reasons.__setitem__)
    assert reasons == {0: "SystemExit: 2"}


def test_errors_of_the_toolkit_keep_their_type_on_the_way_from_a_worker(tmp_path):
    class Ends(Sums):
        def open(self, name, spec, context):
            raise InvalidData("the table is gone", hint="look for it")

    evaluators.REGISTRY.register("sums", Ends("sums"))
    with pytest.raises(InvalidData, match="the table is gone") as caught:
        nas.search("nasbench201", objectives=["sums"], strategy="random", evaluations=2, folder=tmp_path)
    assert caught.value.hint == "look for it" and caught.value.exit_code == 4


def test_rows_with_a_wrong_interval_leave_the_others():
    value = np.array([1.0, 2.0, np.nan, 4.0])
    low, high = value - np.array([0, 1, 0, -1]), value + np.array([0, 1, 0, 2])
    found, wrong = checking.values(Values(value, low, high), 4)
    assert set(wrong) == {3}
    np.testing.assert_array_equal(found.value, [1, 2, np.nan, np.nan])
    assert value[3] == 4  # what came is not written to


ANYTHING = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.integers(),
    st.floats(),
    st.lists(st.one_of(st.none(), st.integers(), st.floats(), st.lists(st.integers(), max_size=2)), max_size=4),
    arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_, np.complex64, "U2", object]),
        array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
)


@given(value=ANYTHING, low=ANYTHING, high=ANYTHING, count=st.integers(1, 3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_are_numbers_in_their_intervals_or_broken(value, low, high, count):
    try:
        found, wrong = checking.values(Values(value, low, high), count)
    except (checking.Broken, ValueError, OverflowError):  # numpy's own, of ragged lists and of large integers
        return
    assert found.value.dtype == np.float64 and found.value.shape == (count,)
    assert all(np.isnan(found.value[row]) for row in wrong)
    if found.low is not None:
        rows = np.isfinite(found.value) & np.isfinite(found.low)
        room = 1e-9 * np.abs(found.value[rows]) + 1e-300
        assert (found.low[rows] <= found.value[rows] + room).all()
        assert (found.value[rows] <= found.high[rows] + room).all()


@given(asked=ANYTHING, choices=st.lists(st.integers(1, 3), min_size=1, max_size=3), count=st.integers(1, 3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_genomes_or_broken(asked, choices, count):
    try:
        rows = checking.rows(asked, choices, count)
    except (checking.Broken, ValueError, OverflowError):
        return
    assert rows.dtype == np.int64 and rows.shape[1:] == (len(choices),) and len(rows) <= count
    assert ((rows >= 0) & (rows < np.array(choices))).all()


@pytest.mark.parametrize(
    ("setting", "value"),
    [(key, value) for key in ("evaluation_seconds", "plugin_seconds") for value in ("abc", -1, 0, float("nan"), True)],
)
def test_limits_are_numbers_above_zero(setting, value, tmp_path):
    with pytest.raises(UsageError, match=setting):
        nas.search("nasbench201", objectives=["params"], settings={setting: value}, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_errors_are_blamed_on_the_plug_in_whose_code_raised_them():
    def ours():
        raise ValueError("of the toolkit")

    with pytest.raises(ValueError, match="of the toolkit"), plugins.blamed():
        sys.modules["nas.pareto.dominance"].ranks.__globals__["np"].asarray(ours())
    with pytest.raises(PluginError, match="failed in endless: RecursionError"), plugins.blamed():
        misbehaving.endless(None)
    with pytest.raises(KeyboardInterrupt), plugins.blamed():
        raise KeyboardInterrupt


# ---- the command ----

COMMAND = """
from hwnas_cli.start import main
from benchmarks import misbehaving
misbehaving.register()
main()
"""


def command(*arguments):
    return [sys.executable, "-c", COMMAND, "search", *map(str, arguments), "--json"]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def asked(path):
    """Whether a search has asked for architectures; its database is being made, or is not there, at first."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return database.execute("select count(*) from trials").fetchone()[0] > 0
    except sqlite3.Error:
        return False


def test_standard_output_holds_one_object_whatever_is_printed(tmp_path):
    """A space that prints and closes standard output in the process of the search, and noise of evaluators."""
    loud = "misbehaving.SPACES['loud'] = (misbehaving.loud(), '')\nmisbehaving.register()"
    script = COMMAND.replace("misbehaving.register()", loud)
    arguments = ["search", "--space", "loud", "--objective", "acts", "--strategy", "random"]
    arguments += ["--evaluations", "3", "-o", str(tmp_path / "run"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evaluations"] == 3
    assert "noise" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_or_a_kill_leaves_no_process(number, tmp_path):
    """While an evaluation hangs that catches everything, without a deadline."""
    process = subprocess.Popen(
        command("--space", "acts", "--objective", "acts:stubborn", "--strategy", "random", "-o", tmp_path / "run"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until, started = time.monotonic() + 100, []
    while len(started) < 2 and time.monotonic() < until:
        time.sleep(0.1)
        started = psutil.Process(process.pid).children(recursive=True)
        started = started if asked(tmp_path / "run" / "run.db") else []
    assert len(started) == 2  # the keeper and the worker
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
    if number == signal.SIGINT:
        assert process.returncode == 130 and json.loads(out)["error"]["type"] == "Interrupted", err

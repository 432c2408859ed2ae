"""Asked, predicted, measured: what the intervals say of a bound."""

import numpy as np
import pytest

import nas
from hwnas_cli.commands import search as command
from nas.loop.finalists import choose
from nas.objectives import Constraint
from nas.study import checked_bounds

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("upper", "known", "wanted"),
    [
        (True, (1.5, 1.4, 1.6), "met"),
        (True, (1.9, 1.7, 2.1), "met within the interval"),
        (True, (2.1, 1.9, 2.3), "broken within the interval"),
        (True, (2.5, 2.4, 2.6), "broken"),
        (False, (2.5, 2.4, 2.6), "met"),
        (False, (2.1, 1.9, 2.3), "met within the interval"),
        (False, (1.5, 1.4, 1.6), "broken"),
        (True, (2.0, None, None), "met"),
        (True, (2.5, None, None), "broken"),
    ],
)
def test_a_verdict_is_what_the_interval_says(upper, known, wanted):
    assert checked_bounds.verdict(Constraint("latency", 2.0, upper), known) == wanted


def test_finalists_say_what_was_asked_predicted_and_measured(small, latency, fake, tmp_path):
    plain = nas.search(
        small, objectives=[f"latency:{latency}", "params"], strategy="random", evaluations=30, folder=tmp_path / "a"
    )
    bound = float(np.median([trial.value("latency") for trial in plain.study.trials()]))
    asked = {
        "objectives": [f"latency:{latency}", "params"],
        "constraints": [f"latency <= {bound} ms"],
        "strategy": "random",
        "evaluations": 30,
        "target": fake,
        "finalists": 2,
        "folder": tmp_path / "b",
    }
    result = nas.search(small, **asked)
    found = checked_bounds.checked(result.study)
    assert {one.arch for one in found} == set(result.study.finalists())
    for one in found:
        facts = result.study.finalists()[one.arch]["measured"]["latency_ms"]
        assert one.measured[0] == facts["value"] and facts["low"] <= one.measured[1] <= one.measured[2] <= facts["high"]
        assert one.met == (one.measured[0] <= bound)
    fields = command.fields(result)
    lines = command.text(result, fields).splitlines()
    assert len(fields["bounds"]) == len(found) == sum("asked latency <=" in line for line in lines)
    page = result.report(tmp_path / "page.html").read_text()
    assert "<h2>Bounds</h2>" in page and found[0].verdict in page


def test_those_that_surely_keep_the_bound_come_first(small, latency, fake, tmp_path):
    def size(arch):
        return float((arch == 3).sum() + 0.1 * (arch == 2).sum())

    result = nas.search(
        small,
        objectives=[f"latency:{latency}", nas.objective("size", size, maximise=True, unit="")],
        strategy="random",
        evaluations=40,
        target=fake,
        folder=tmp_path,
    )
    front = result.study.front()
    study = result.study
    middle = float(np.median([point.result["latency"][2] for point in front]))
    bounds = (Constraint("latency", middle, True),)
    study.constraints = lambda: bounds
    within = [point for point in front if checked_bounds.surely_met(bounds, point)]
    assert 0 < len(within) < len(front)
    chosen = choose(study, front, len(within))
    assert {point.arch for point in chosen} == {point.arch for point in within}

"""The page of a run, in a real browser."""

import re
import shutil
import subprocess

import numpy as np
import pytest

import nas
from hwnas_cli.commands import search
from nas.certainty import of_study
from nas.report import front
from nas.study import groups

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A search with two strategies, and a finalist that was measured."""
    folder = tmp_path_factory.mktemp("report")
    space = nas.spaces.load("nasbench201")
    archs = space.sample(3000, np.random.default_rng(0))
    threes = (archs == 3).sum(axis=1)
    lines = ["arch,error,latency_ms"]
    for arch, count in zip(archs, threes, strict=True):
        lines.append(f"{space.format(arch)},{30 - 4 * count + arch.sum() / 50:.3f},{1 + count + arch.sum() / 80:.3f}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    found = nas.search(
        "nasbench201",
        objectives=[f"table:{folder}/t.csv:error", f"latency=table:{folder}/t.csv:latency_ms"],
        strategy=["nsga2", "random"],
        evaluations=150,
        folder=folder / "run",
    )
    latency = {"value": 3.21, "low": 3.1, "high": 3.3, "state": "stable"}
    found.study.set_finalist(found.front[0].arch, {"measured": {"latency_ms": latency}, "test_accuracy": 0.875})
    return found


def test_the_page_holds_the_front_and_is_self_contained(result, tmp_path):
    path = front.write(result.study, tmp_path / "deep" / "front.html")
    page = path.read_text()
    for point in result.front:
        assert result.context.space.format(np.array(point.arch)) in page
    assert "3.21 (3.1 to 3.3)" in page
    assert "0.8750" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page), "nothing is loaded from elsewhere"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_draws_every_point(result, tmp_path):
    path = front.write(result.study, tmp_path / "front.html")
    shown = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    first = shown[: shown.index("Hypervolume over evaluations")]
    points = len(re.findall(r'class="point"', first))
    judged = [t for t in result.study.trials() if np.isfinite(t.value("error"))]
    shown_once = groups.of_equals(result.front, result.study.objectives(), result.study.finalists())
    assert points == len(judged) + len(shown_once) + 1, "tried, front, and the one that was measured"
    assert "measured on the device" in first
    assert "tried by nsga2" in first and "tried by random" in first
    after = shown[shown.index("Hypervolume over evaluations") :]
    assert len(re.findall(r'class="trace scatter', after)) == 2, "a curve for each strategy"


class Noisy:
    """An evaluator whose values come with intervals of a stated width, or without."""

    def __init__(self, objective, of, half):
        self.objective, self.of, self.half, self.free, self.identity = objective, of, half, False, ""

    def evaluate(self, archs):
        value = self.of(np.asarray(archs)).astype(float)
        if self.half is None:
            return nas.objectives.Values(value)
        return nas.objectives.Values(value, value - self.half, value + self.half)


@pytest.fixture
def noisy(tmp_path, monkeypatch):
    """A search whose objectives have intervals: `noisy(half widths)`."""

    def search(*halves, evaluations=60):
        functions = [
            lambda archs: (archs != 3).sum(axis=1) + archs[:, 0] / 10,
            lambda archs: (archs == 3).sum(axis=1) + archs[:, 1] / 10,
            lambda archs: 2.0 * (archs == 3).sum(axis=1) + archs[:, 1] / 5,
        ]
        kinds = {
            f"noisy{i}": Noisy(nas.objectives.Objective(f"noisy{i}", "", False, "counted", f"noisy{i}"), of, half)
            for i, (of, half) in enumerate(zip(functions, halves, strict=False))
        }
        monkeypatch.setattr("nas.loop.loop.open_objective", lambda spec, context: kinds[spec])
        return nas.search(
            "nasbench201", strategy="nsga2", objectives=list(kinds), evaluations=evaluations, folder=tmp_path / "noisy"
        )

    return search


def brute_membership(result, halves, count=800):
    """By draws over all trials, the definition word for word."""
    rng = np.random.default_rng(99)
    costs = np.array([[t.value(f"noisy{i}") for i in range(len(halves))] for t in result.study.trials()])
    place = {tuple(t.arch): i for i, t in enumerate(result.study.trials())}
    shares = np.zeros(len(result.front))
    for _ in range(count):
        drawn = costs + np.array(halves) / 1.6449 * rng.standard_normal(costs.shape)
        on = nas.indicators.nondominated(drawn)
        shares += [on[place[point.arch]] for point in result.front]
    return shares / count


@pytest.mark.slow
def test_membership_is_that_of_draws_over_everything_judged(noisy):
    result = noisy(0.5, 0.2)
    found = of_study.of_study(result.study, result.front)
    # Networks that were tried as several genomes are drawn once there, and each by itself here.
    assert found.membership == pytest.approx(brute_membership(result, (0.5, 0.2)), abs=0.08)
    assert 0.1 < min(found.membership) < 0.95
    assert len(found.neighbours) == len(result.front) - 1
    assert [pair.first for pair in found.neighbours] == list(range(len(result.front) - 1))
    for pair in found.neighbours:
        one, two = result.front[pair.first].result, result.front[pair.second].result
        gaps = [abs(two[name][0] - one[name][0]) for name in ("noisy0", "noisy1")]
        assert pair.resolved.tolist() == [gaps[0] > 0.5 * np.sqrt(2), gaps[1] > 0.2 * np.sqrt(2)]


def test_certainty_is_the_same_each_time_and_none_without_intervals(noisy):
    result = noisy(0.5, None)
    first, second = (of_study.of_study(result.study, result.front, recommended=3) for _ in range(2))
    assert first.membership == second.membership and first.next == second.next
    assert first.next and {one.arch for one in first.next} <= {trial.arch for trial in result.study.trials()}


def test_a_run_without_intervals_says_so(result, tmp_path):
    found = of_study.of_study(result.study, result.front)
    assert (found.membership, found.neighbours, found.next) == ((), (), ())
    assert found.effective_dimension == pytest.approx(1.0)
    page = front.write(result.study, tmp_path / "front.html").read_text()
    assert "How sure is the front" in page and "No objective has intervals" in page


def test_the_page_says_how_sure_the_front_is(noisy, tmp_path):
    result = noisy(0.6, 0.2, 0.4)
    found = of_study.of_study(result.study, result.front, recommended=3)
    page = front.write(result.study, tmp_path / "front.html").read_text()
    section = page[page.index("How sure is the front") : page.index("Hypervolume over evaluations")]
    space = result.context.space
    shares = dict(zip([point.arch for point in result.front], found.membership, strict=True))
    rows = groups.of_equals(result.front, result.study.objectives())
    assert max(map(len, rows)) > 1 and min(map(len, rows)) == 1, "some points have the values of others"
    for points in rows:
        names = [space.format(np.array(point.arch)) for point in points]
        low, high = (f"{end(shares[point.arch] for point in points):.2f}" for end in (min, max))
        several = f"<details><summary>{len(names)} architectures</summary>{'<br>'.join(names)}</details>"
        share = low if low == high else f"{low} to {high}"
        assert f"<td>{names[0]}{several if len(names) > 1 else ''}</td><td>{share}</td>" in section
    assert "not in noisy" in section
    assert "noisy1 and noisy2 rank architectures alike (Spearman 1.00)" in section
    assert "effective dimension of 1." in section
    for one in found.next:
        assert f"<code>{space.format(np.array(one.arch))}</code>" in section
    told = sum(bool(pair.resolved.all()) for pair in found.neighbours)
    assert f"{told} of {len(found.neighbours)} neighbours" in section


def test_the_command_says_how_sure_the_front_is(noisy):
    result = noisy(0.6, 0.2, 0.4)
    data = search.fields(result)
    assert [point["membership"] for point in data["front"]] == list(
        of_study.of_study(result.study, result.front).membership
    )
    for number, pair in enumerate(data["resolved"]):
        assert (pair["first"], pair["second"]) == (number, number + 1)
        assert pair["verdict"] == ("not resolved" if pair["unresolved"] else "resolved")
    assert data["effective_dimension"] == pytest.approx(1.0)
    assert data["alike"] == [{"first": "noisy1", "second": "noisy2", "spearman": pytest.approx(1.0)}]
    shown = search.text(result, data).splitlines()
    sure = sum(point["membership"] >= 0.9 for point in data["front"])
    assert sum(line.startswith(f"{sure} of {len(data['front'])} are on the front") for line in shown) == 1
    assert sum("rank architectures alike" in line for line in shown) == 1


def test_the_command_says_nothing_of_certainty_without_intervals(result):
    data = search.fields(result)
    assert {point["membership"] for point in data["front"]} == {None}
    assert data["resolved"] == [] and data["effective_dimension"] == pytest.approx(1.0)
    assert "on the front with" not in search.text(result, data)

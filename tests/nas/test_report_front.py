"""The page shows the whole front and says how far it can be trusted; measured finalists are judged again."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

import nas
from device_profiles.errors import SchemaMismatch
from hwnas_cli.commands import search
from nas.certainty import of_study
from nas.loop import guard
from nas.loop.finalists import choose
from nas.objectives import Objective, Values
from nas.pareto.indicators import hypervolume
from nas.report import front
from nas.report.pages import COLOURS
from nas.study import as_measured, groups
from nas.study.study import open_study
from nas.study.tables import TRIALS

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
#: A page in a frame of some width, since no window of a browser is as narrow as a telephone; it tells its parent.
OUTER = """<body style="margin:0"><iframe src="inner.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>onmessage = e => {{ const o = document.createElement("pre"); o.id = "told"; o.textContent = e.data;
document.body.append(o) }}</script></body>"""
INNER = """<script>onload = () => setTimeout(() => { const g = document.querySelector(".js-plotly-plot");
parent.postMessage(JSON.stringify({inner: innerWidth, scroll: document.documentElement.scrollWidth,
wide: [...document.querySelectorAll("body *")].filter(e => !e.ownerSVGElement && !e.closest(".scroll") &&
e.getBoundingClientRect().right > innerWidth + 1).length,
x: g._fullLayout.xaxis.range, y: g._fullLayout.yaxis.range,
data: g.data.map(t => ({name: t.name, x: [...t.x], y: [...t.y], text: t.text, mode: t.mode})),
errors: g.data.map(t => [t.error_x, t.error_y].map(e => e ? e.array : null)),
colours: g.data.map(t => t.marker ? (t.marker.line && t.marker.line.color || t.marker.color) : null)}), "*")}, 800)
</script></body>"""


class Stated:
    """An objective of stated values, half widths of intervals and coverages, each a function of `(n, d)` rows."""

    free, identity = False, ""

    def __init__(self, objective, of, half=None, coverage=None):
        self.objective, self.of, self.half, self.coverage = objective, of, half, coverage

    def evaluate(self, archs):
        archs = np.asarray(archs)
        value = self.of(archs).astype(float)
        half = None if self.half is None else np.full(len(archs), self.half)
        ends = (None, None) if half is None else (value - half, value + half)
        return Values(value, *ends, None if self.coverage is None else self.coverage(archs))


def threes(archs):
    return (archs == 3).sum(axis=1)


def error_of(archs):
    return 50.0 * 0.5 ** threes(archs) + (archs == 0).sum(axis=1) / 100


def latency_of(archs):
    return 1.0 + threes(archs) + (archs == 1).sum(axis=1) / 50


def share_of(archs):
    return np.where(threes(archs) > 2, 0.42, 0.95)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A search of stated objectives: `run(half widths of error, of latency)`, in a folder of its own."""

    def make(error=0.3, latency=0.2, folder="run", constraints=()):
        kinds = {
            "error": Stated(Objective("error", "%", False, "shared", "error"), error_of, error),
            "latency": Stated(
                Objective("latency", "ms", False, "predicted", "latency:gone"), latency_of, latency, share_of
            ),
        }
        monkeypatch.setattr("nas.loop.loop.open_objective", lambda spec, context: kinds[spec])
        options = {"strategy": ["random", "nsga2"], "evaluations": 80, "constraints": constraints}
        return nas.search("nasbench201", objectives=list(kinds), folder=tmp_path / folder, **options)

    return make


def unequal(result):
    """Points of the front, of equal ones the first."""
    return [points[0] for points in groups.of_equals(result.front, result.study.objectives())]


def measure(result, point, value):
    latency = {"value": value, "low": value - 0.01, "high": value + 0.01, "state": "stable"}
    result.study.set_finalist(point.arch, {"measured": {"latency_ms": latency}})


# -- coverage goes with the value


def test_coverage_goes_from_the_evaluator_to_the_point_and_is_read_again(run, tmp_path):
    result = run()
    for judged in [*result.study.trials(), *result.study.points(), *open_study(tmp_path / "run").front()]:
        assert judged.coverage == {"latency": share_of(np.array([judged.arch]))[0]}
    told = [point["objectives"] for point in search.fields(result)["front"]]
    assert {one["latency"]["coverage"] for one in told} == {0.42, 0.95}
    assert {one["error"]["coverage"] for one in told} == {None}


def test_a_real_predictor_says_its_coverage(latency, small, tmp_path):
    import predictors

    objectives = ["params", f"latency:{latency}"]
    result = nas.search(small, objectives=objectives, strategy="random", evaluations=6, folder=tmp_path)
    trials = result.study.trials()
    expected = predictors.load(latency).predict(np.array([trial.arch for trial in trials])).coverage
    assert [trial.coverage for trial in trials] == [{"latency": pytest.approx(share)} for share in expected]


def test_a_run_of_before_has_no_coverage_and_is_read(run, tmp_path):
    result = run()
    with result.study.store.transaction() as connection:
        for trial in result.study.trials():
            text = json.dumps({name: list(triple) for name, triple in trial.result.items()})
            result.study.store.rewrite(connection, TRIALS, TRIALS.c.id == trial.id, result=text)
    study = open_study(tmp_path / "run")
    assert [trial.result for trial in study.trials()] == [trial.result for trial in result.study.trials()]
    assert {len(point.coverage) for point in study.front()} == {0}
    assert "class='warning'" not in front.write(study, tmp_path / "front.html").read_text()


def test_values_without_coverage_are_stored_as_before_and_a_wrong_coverage_is_refused(run):
    study = run().study
    with study.store.reading() as connection:
        text = connection.scalar(sa.select(TRIALS.c.result).limit(1))
    assert {name: len(parts) for name, parts in json.loads(text).items()} == {"error": 3, "latency": 4}
    with study.store.transaction() as connection:
        study.store.rewrite(
            connection, TRIALS, TRIALS.c.id == 1, result=text.replace(text[text.rindex(", ") :], ", 1.5]}")
        )
    with pytest.raises(SchemaMismatch):
        study.trials()


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_coverage_of_code_of_others_is_carried_and_checked(seconds):
    objective = Objective("latency", "ms", False, "predicted", "latency:gone")
    archs, failed = np.array([[3, 3, 3], [0, 1, 2]]), {}
    for half in (None, 0.5):
        judge = Stated(objective, latency_of, half, share_of).evaluate
        found = guard.evaluate(judge, archs, seconds=seconds, failed=failed.__setitem__)
        assert found.coverage.tolist() == [0.42, 0.95] and not failed
        assert (found.low is None) == (half is None)
    wrong = Stated(objective, latency_of, 0.5, lambda archs: np.full(len(archs), 42.0)).evaluate
    found = guard.evaluate(wrong, archs, seconds=seconds, failed=failed.__setitem__)
    assert np.isnan(found.value).all() and "0..1" in failed[0]


def test_low_coverage_is_said_in_text_and_page(run, tmp_path):
    result = run(error=None, latency=None)
    low = sum(point.coverage["latency"] < 0.8 for point in result.front)
    assert 0 < low < len(result.front)
    data = search.fields(result)
    (line,) = [line for line in search.text(result, data).splitlines() if line.startswith("warning:")]
    assert f"latency of {low} of {len(result.front)}" in line and "42%" in line and "fit again" in line
    page = front.write(result.study, tmp_path / "front.html").read_text()
    assert f"<p class='warning'>{data['warnings'][0]}</p>" in page
    assert "every value counts as exact" not in page and "nobody knows how wrong" in page


# -- judged again


def test_finalists_are_judged_again_with_what_was_measured(run, tmp_path):
    result = run()
    before = result.front
    good, bad = unequal(result)[:2]
    assert as_measured.judge_again(result.study) is None
    measure(result, good, good.result["latency"][0] - 0.1)
    worse = max(trial.value("latency") for trial in result.study.trials()) + 1
    measure(result, bad, worse)
    again = as_measured.judge_again(result.study)
    assert ([p.arch for p in again.stay], [p.arch for p in again.leave]) == ([good.arch], [bad.arch])
    told = {point.arch: point.result["latency"][0] for point in again.front}
    assert told[good.arch] == pytest.approx(good.result["latency"][0] - 0.1) and bad.arch not in told
    assert result.front == before, "what the search found stays"
    costs = {p.arch: (p.result["error"][0], p.result["latency"][0]) for p in result.study.points()}
    costs |= {good.arch: (costs[good.arch][0], told[good.arch]), bad.arch: (costs[bad.arch][0], worse)}
    best = nas.indicators.nondominated(np.array(list(costs.values())))
    assert set(told) == {arch for arch, on in zip(costs, best, strict=True) if on}
    data = search.fields(result)
    of = {tuple(point["arch"]): point for point in data["front"]}
    assert [of[one.arch]["stays"] for one in (good, bad)] == [True, False]
    assert sum(point["stays"] is None for point in data["front"]) == len(before) - 2
    names = [of[one.arch]["text"] for one in (good, bad)]
    assert [of[one.arch]["difference"]["verdict"] for one in (good, bad)] == ["inside", "outside"]
    assert (data["as_measured"]["stay"], data["as_measured"]["leave"]) == ([names[0]], [names[1]])
    page = front.write(result.study, tmp_path / "front.html").read_text()
    sentence = f"udged again as measured: 1 of 2 measured finalists stay on the front; {names[1]} leaves it"
    assert sentence in page and sentence in search.text(result, data)
    table = page[page.index("<table>") : page.index("How sure is the front")]
    assert "measured - predicted" in table
    assert re.search(r"<td>-0\.1 \(-\d+\.\d%\), inside</td>", table) and ", outside</td>" in table


def test_a_finalist_that_breaks_a_constraint_as_measured_leaves(run):
    result = run(latency=None, constraints=["latency <= 4.5 ms"])
    slowest = max(result.front, key=lambda point: point.result["latency"][0])
    measure(result, slowest, 4.6)
    again = as_measured.judge_again(result.study)
    assert [point.arch for point in again.leave] == [slowest.arch]
    assert (
        as_measured.difference(
            slowest, as_measured.timed(result.study.objectives()), result.study.finalists()[slowest.arch]
        ).verdict
        == "no interval"
    )


@pytest.mark.parametrize("error", [0.05, 3.0, 60.0])
def test_what_a_finalist_adds_counts_by_how_far_it_is_told_apart_from_the_others(run, error):
    study = run(error=error).study
    points, objectives = study.front(), study.objectives()
    separation = of_study.separation(points, objectives)
    apart = separation > 1
    assert (apart == apart.T).all() and apart.diagonal().sum() == 0
    for i, one in enumerate(points):
        for j, other in enumerate(points):
            gaps = [abs(one.result[o][0] - other.result[o][0]) for o in ("error", "latency")]
            assert apart[i, j] == (gaps[0] > 2**0.5 * error and gaps[1] > 2**0.5 * 0.2)
    before, reference = [], np.array(study.fact("reference"))
    costs = np.array([[one.result[o][0] for o in ("error", "latency")] for one in points])
    for count in range(1, len(points) + 1):
        now = [points.index(point) for point in choose(study, study.front(), count)]
        (new,) = set(now) - set(before)
        worth = {}
        for i in set(range(len(points))) - set(before):
            gain = hypervolume(costs[[*before, i]], reference) - hypervolume(costs[before], reference)
            worth[i] = gain * separation[i, before].min(initial=1.0)
        assert worth[new] == pytest.approx(max(worth.values()))
        before = now


def test_of_measured_finalists_that_stay_it_is_said_how_many_are_told_apart(run):
    result = run()
    study, space = result.study, result.context.space
    levels = [p for p in unequal(result) if p.result["error"][0] > 3][:3]
    for point, share in zip(levels, (0.9, 0.97, 0.999), strict=True):
        measure(result, point, point.result["latency"][0] * share)
    said = of_study.sentence(as_measured.judge_again(study), space, study.objectives(), study.finalists())
    assert said.endswith("; 2 of 2 neighbours among these are told apart")
    assert search.fields(result)["as_measured"]["text"] == said


def test_a_device_that_is_slower_than_when_it_was_profiled_is_so_for_all(run, monkeypatch):
    result = run()
    points = unequal(result)  # an equal network that was not measured would be better or worse by chance
    monkeypatch.setattr(type(result.study), "points", lambda self: points)
    before = {point.arch: point.result["latency"][0] for point in points}
    for point, factor in zip(points[1:5], (1.3, 1.31, 1.3, 1.29), strict=True):
        measure(result, point, before[point.arch] * factor)
    again = as_measured.judge_again(result.study)
    assert [point.arch for point in again.front] == list(before) and not again.leave and len(again.stay) == 4
    assert again.factor.value == pytest.approx(1.3, rel=1e-3)
    for point in again.front:
        value, low, high = point.result["latency"]
        if point.arch not in {finalist.arch for finalist in again.stay}:
            assert value == pytest.approx(1.3 * before[point.arch], rel=1e-3)
            assert low <= 1.3 * (before[point.arch] - 0.2) and high >= 1.299 * (before[point.arch] + 0.2)
    told = search.fields(result)["as_measured"]
    assert told["factor"]["count"] == 4 and "finalists take 1.3 times what was predicted (1.29 to 1.31)" in told["text"]


def test_a_bound_is_judged_with_what_finalists_say_of_the_others(run):
    result = run(constraints=["latency <= 6 ms"])
    for point in unequal(result)[:3]:
        measure(result, point, point.result["latency"][0] * 1.4)
    again = as_measured.judge_again(result.study)
    assert again.factor is None or max(point.result["latency"][0] for point in again.front) <= 6


def test_only_the_device_that_finalists_ran_on_is_judged_again(run, monkeypatch):
    result = run()
    other = Objective("latency2", "ms", False, "predicted", "latency:other")
    objectives = [*result.study.objectives(), other]
    points = [replace(p, result={**p.result, "latency2": (7.0, 6.0, 8.0)}) for p in result.study.points()]
    monkeypatch.setattr(type(result.study), "objectives", lambda self: tuple(objectives))
    monkeypatch.setattr(type(result.study), "points", lambda self: points)
    measure(result, unequal(result)[0], 1.0)
    assert {point.result["latency2"] for point in as_measured.judge_again(result.study).front} == {(7.0, 6.0, 8.0)}


def test_where_no_measured_finalist_stays_no_neighbours_are_spoken_of(run, tmp_path):
    result = run()
    slow = unequal(result)[0]
    measure(result, slow, max(trial.value("latency") for trial in result.study.trials()) + 1)
    said = search.fields(result)["as_measured"]["text"]
    assert (
        said.startswith("judged again as measured: 0 of 1 measured finalists stay on the front") and "apart" not in said
    )
    assert said[1:] in front.write(result.study, tmp_path / "front.html").read_text()


# -- the page in a browser


def shown(page, place, width):
    """What the page is like in a window of this width."""
    (place / "inner.html").write_text(page.read_text().replace("</body>", INNER))
    (place / "outer.html").write_text(OUTER.format(width=width))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place / 'profile'}"]
    flags += ["--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom"]
    address = (place / "outer.html").as_uri()
    found = subprocess.run([str(BROWSER), *flags, address], capture_output=True, text=True, timeout=120, check=True)
    told = re.search(r'<pre id="told">(.*?)</pre>', found.stdout, re.DOTALL).group(1)
    return json.loads(told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_a_browser_shows_the_whole_front_and_no_more_than_its_width(run, tmp_path, width):
    result = run()
    for point in unequal(result)[:3:2]:
        measure(result, point, point.result["latency"][0] * 1.2)
    page = front.write(result.study, tmp_path / "front.html")
    seen = shown(page, tmp_path, width)
    assert seen["inner"] == width and seen["scroll"] <= width and seen["wide"] == 0
    traces = {trace.get("name"): trace for trace in seen["data"]}
    ring, diamond = traces["front, predicted"], traces["measured on the device"]
    rows = groups.of_equals(result.front, result.study.objectives(), result.study.finalists())
    assert len(ring["x"]) == len(rows)
    for trace in (ring, diamond):
        assert all(seen["x"][0] < x < seen["x"][1] for x in trace["x"])
        assert all(seen["y"][0] < y < seen["y"][1] for y in trace["y"])
    tried = [traces[f"tried by {name}"] for name in ("random", "nsga2")]
    hidden = sum(
        not (seen["x"][0] <= x <= seen["x"][1] and seen["y"][0] <= y <= seen["y"][1])
        for trace in tried
        for x, y in zip(trace["x"], trace["y"], strict=True)
    )
    assert f"{hidden} point{'' if hidden == 1 else 's'} outside" in page.read_text()
    for trace in (ring, diamond, *tried):
        assert all(
            re.search(r"latency: [\d.]+ \([-\d.]+ to [\d.]+\) ms, predicted, coverage", t) for t in trace["text"]
        )
        assert all(re.search(r"error: [\d.]+ \([-\d.]+ to [\d.]+\) %", text) for text in trace["text"])
    joins = [trace for trace in seen["data"] if trace["mode"] == "lines"]
    ends = {(x, y) for trace in joins for x, y in zip(trace["x"], trace["y"], strict=True) if x is not None}
    assert set(zip(diamond["x"], diamond["y"], strict=True)) <= ends and len(ends) == 4
    place = [trace.get("name") for trace in seen["data"]].index("front, predicted")
    assert all(seen["errors"][place]), "both values have their intervals drawn"
    assert seen["colours"][place] not in COLOURS, "no strategy has the colour of the front"

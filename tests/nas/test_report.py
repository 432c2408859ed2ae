"""The page of a run, in a real browser."""

import re
import shutil
import subprocess

import numpy as np
import pytest

import nas
from nas import report

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
    path = report.write(result.study, tmp_path / "deep" / "front.html")
    page = path.read_text()
    for point in result.front:
        assert result.context.space.format(np.array(point.arch)) in page
    assert "3.21 (3.1 to 3.3)" in page
    assert "0.8750" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", page), "nothing is loaded from elsewhere"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_draws_every_point(result, tmp_path):
    path = report.write(result.study, tmp_path / "front.html")
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
    assert points == len(judged) + len(result.front) + 1, "tried, front, and the one that was measured"
    assert "measured on the device" in first
    assert "tried by nsga2" in first and "tried by random" in first
    after = shown[shown.index("Hypervolume over evaluations") :]
    assert len(re.findall(r'class="trace scatter', after)) == 2, "a curve for each strategy"

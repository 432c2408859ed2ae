"""Folders of predictors, costs and tables that were tampered with: a named error at once, or the right answer."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from device_profiles.errors import HwnasError
from hwnas_cli.app import main

#: Kinds that are made in a moment.
QUICK = ("lookup", "linear", "roofline", "bayesian-linear", "simulation", "transfer", "table")
SLOW = ("network-cost", "lightgbm", "graph-network", "conditioned-cost")

Make = Callable[..., Any]


def hold(name: str, seeds: range, folders: dict[str, Any], whole: Make, damage: Make, place: Path) -> dict[str, int]:
    """Damage a folder once for each seed; how many were refused, and how many answered as before."""
    kind, (good, other) = folders[name], whole(name)
    expected = kind.ask(good)
    counts = {"refused": 0, "as before": 0, "signed and sane": 0}
    for seed in seeds:
        folder = place / f"{name}-{seed}"
        shutil.copytree(good, folder)
        how = f"{name}, seed {seed}: {damage(folder, other, kind.head, np.random.default_rng([seed, len(name)]))}"
        start = time.process_time()
        try:
            found = kind.ask(folder)
        except HwnasError as error:
            assert error.exit_code == 4, f"{how}: {error!r}"
            assert error.message and error.hint and len(error.message) < 2000, how
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{how}: {error!r}") from error
        else:
            same = len(found) == len(expected) and all(map(np.array_equal, found, expected))
            assert same or "signed" in how, f"{how}: another answer, and nothing says so"
            assert all(np.isfinite(part).all() for part in found), how
            counts["as before" if same else "signed and sane"] += 1
        assert time.process_time() - start < 2.0, f"{how}: not at once"
        shutil.rmtree(folder)
    return counts


@pytest.mark.parametrize("name", QUICK)
def test_a_tampered_folder_is_refused_or_answers_as_before(
    name: str, folders: dict[str, Any], whole: Make, damage: Make, tmp_path: Path
) -> None:
    counts = hold(name, range(25), folders, whole, damage, tmp_path)
    assert counts["refused"] >= 15, counts


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK + SLOW)
def test_many_tampered_folders(name: str, folders: dict[str, Any], whole: Make, damage: Make, tmp_path: Path) -> None:
    counts = hold(name, range(1000, 1300), folders, whole, damage, tmp_path)
    assert counts["refused"] >= 200, counts


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of a command."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


def through_commands(
    seeds: range, folders: dict[str, Any], whole: Make, damage: Make, place: Path, capsys: Any
) -> None:
    good, other = whole("lookup")
    archs = ["--arch", "0,1,2,3,4,0", "4,4,4,4,4,4"]
    asked = run(capsys, "predict", str(good), *archs)
    assert asked[0] == 0
    store = place / "none.db"
    for seed in seeds:
        folder = place / f"p{seed}"
        shutil.copytree(good, folder)
        how = damage(folder, other, "card.json", np.random.default_rng([seed, 99]))
        code, answer = run(capsys, "predict", str(folder), *archs)
        if code == 0:
            assert "signed" in how or answer["predictions"] == asked[1]["predictions"], how
        else:
            assert code == 4 and answer["error"]["message"], how
            code, answer = run(capsys, "evaluate", str(folder), "--store", str(store))
            assert code == 4 and answer["error"]["message"], how
            words = ["search", "--space", "nasbench201", "--objective", f"latency:{folder}", "--strategy", "random"]
            code, answer = run(capsys, *words, "--evaluations", "5", "-o", str(place / "run"))
            assert code == 4 and answer["error"]["message"], how
        assert not store.exists(), f"{how}: something was written"
        shutil.rmtree(folder)


def test_commands_refuse_tampered_folders(
    folders: dict[str, Any], whole: Make, damage: Make, tmp_path: Path, capsys: Any
) -> None:
    through_commands(range(10), folders, whole, damage, tmp_path, capsys)


@pytest.mark.slow
def test_commands_refuse_many_tampered_folders(
    folders: dict[str, Any], whole: Make, damage: Make, tmp_path: Path, capsys: Any
) -> None:
    through_commands(range(100, 200), folders, whole, damage, tmp_path, capsys)

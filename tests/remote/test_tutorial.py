"""The tutorial "A table for my device", on a board behind a real sshd, from plugging it in to a measured front."""

import json
import subprocess
import sys

import pytest

SPACE = "chain:layers=2,resolution=16"


def told(*words):
    done = subprocess.run(
        [sys.executable, "-m", "hwnas", *words, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_from_a_board_to_a_measured_front(deployed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told("devices", "add", "pi", "--ssh", "board")
    told("devices", "deploy", "pi.toml")
    sampled = ("--space", SPACE, "--samples", "12", "--budget", "12s")
    measured = told("profile", "pi.toml", *sampled, "--store", "runs/pi.db")
    assert len(measured["measurements"]) == 12 and not measured["failed"]
    fitted = told("fit", "pi.toml", "--space", SPACE, "--predictor", "lookup", "--store", "runs/pi.db", "-o", "latency")
    assert fitted["target"] == "pi" and fitted["unit"] == "ms"
    found = told(
        "search", "--space", SPACE, "--objective", "params", "--objective", "latency:latency", "--strategy", "random",
        "--evaluations", "30", "--target", "pi.toml", "--finalists", "2", "-o", "runs/search",
    )  # fmt: skip
    ends = [one for one in found["front"] if one["measured"]]
    assert ends and all(one["measured"]["latency_ms"]["value"] > 0 for one in ends)

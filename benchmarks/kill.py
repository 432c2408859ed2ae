"""Kill campaigns and searches with `kill -9` at random moments, start them again, and count what was lost.

A campaign commits every block as it is taken, a search every trial as it is judged; so at most the one in flight may be
lost, and a search that was killed must end on the same front as one that was not. Run: `python -m benchmarks.kill`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa

from benchmarks.machine import machine


def rows(path: Path, table: str, where: str = "1 = 1") -> int:
    """Committed rows of a table; 0 if it is not there yet."""
    if not path.exists():
        return 0
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return int(connection.scalar(sa.text(f"select count(*) from {table} where {where}")) or 0)
    except sa.exc.OperationalError:
        return 0
    finally:
        engine.dispose()


def killed(command: list[str], after_s: float) -> bool:
    """Start a command and kill it; False if it ended before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    base = [sys.executable, "-m", "hwnas"]
    outcome = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store = folder / "store.db"
        profile = [*base, "profile", "local-onnxruntime", "--space", "nasbench201:cells=1", "--samples", "12"]
        profile += ["--budget", "25s", "--spread", "0.5%", "--store", str(store), "--json"]
        kills, kept = 0, []
        for _ in range(arguments.kills):
            before = rows(store, "blocks")
            kills += killed(profile, 2.0 + 8.0 * moments.random())
            kept.append(rows(store, "blocks") - before)
        ended = json.loads(subprocess.run(profile, capture_output=True, text=True, check=True).stdout)
        outcome["campaign"] = {
            "kills": kills,
            "blocks_kept_after_each": kept,
            "blocks_at_the_end": rows(store, "blocks"),
            "measured": len(ended["measurements"]),
        }

        def search(run: str) -> list[str]:
            command = [*base, "search", "--space", "nasbench201:cells=1,channels=8", "--objective", "accuracy"]
            command += ["--objective", "macs", "--data", "digits", "--set", "train_steps=60", "--set", "images=200"]
            return [*command, "--evaluations", "30", "-o", str(folder / run), "--json"]

        kills, trials = 0, []
        for _ in range(arguments.kills):
            kills += killed(search("killed"), 3.0 + 6.0 * moments.random())
            trials.append(rows(folder / "killed" / "run.db", "trials", "result is not null"))
        fronts = [
            json.loads(subprocess.run(search(run), capture_output=True, text=True, check=True).stdout)["front"]
            for run in ("killed", "whole")
        ]
        outcome["search"] = {"kills": kills, "trials_after_each": trials, "same_front": fronts[0] == fronts[1]}
    print(json.dumps({"benchmark": "kill", **outcome, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()

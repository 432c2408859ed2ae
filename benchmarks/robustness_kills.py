"""Kill campaigns and searches with `kill -9`, and fill the disk under them: afterwards they go on, and nothing is lost.

Moments are drawn from the start of the process on, and from the first 50 ms after its database appeared, where a store
is made. What is committed must stay, a killed search must end on the archive of one that was not, bit by bit, and
nothing may be there twice. Run: `python -m benchmarks.robustness_kills --kills 100 --full 20`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: After this a command hangs.
LONG_S = 600.0
#: The first moments of a database, in which it is made.
FIRST_S = 0.05
EVALUATIONS = 40
#: Small disks in KiB: from one that not even an empty store fits on to one that all fits on but the last rows.
SMALLEST_KIB, LARGEST_KIB = 8, 400
Rows = list[tuple[Any, ...]]

#: A search that takes milliseconds and commits batch by batch; `hwnas search` itself takes seconds to start.
_TABLE_ROWS = 15_625


def kills(count: int = 100, *, seed: int = 0) -> dict[str, Any]:
    """Kill a campaign `count` / 2 times and a search as often; half of the moments lie in the making of the database.

    Every second kill begins anew, so that the making of a database is hit again and again.
    """
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands = _commands(folder)
        found = {name: _killed(name, commands, folder, count // 2, moments) for name in commands}
    return {"kills": sum(one["kills"] for one in found.values()), **found, "passed": _passed(found)}


def full_disks(count: int = 20, *, seed: int = 0) -> dict[str, Any]:
    """Run both on disks that are too small, `count` / 2 times each, then on the same files with room.

    The disks are file systems in memory of a few KiB where this user may mount (root); else files may not grow beyond
    as much (`RLIMIT_FSIZE`), where writing fails with EFBIG and not with ENOSPC.
    """
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands = _commands(folder)
        real = can_mount(folder)
        found = {name: _filled(name, commands, folder, count // 2, moments, real=real) for name in commands}
    return {"disks": count, "real_file_systems": real, **found, "passed": _passed(found)}


def _passed(found: dict[str, dict[str, Any]]) -> bool:
    return all(not one["faults"] for one in found.values())


def _commands(folder: Path) -> dict[str, list[str]]:
    """What is killed, by name; `OUT` stands for where it writes."""
    import numpy as np
    from onnx import helper, numpy_helper

    base, models = [sys.executable, "-m", "hwnas"], []
    for channels in range(3, 9):
        node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
        shapes = {"x": [1, 3, 8, 8], "y": [1, channels, 6, 6]}
        x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items())
        weight = numpy_helper.from_array(np.ones((channels, 3, 3, 3), np.float32), "w")
        graph = helper.make_graph([node], "g", [x], [y], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        path = folder / f"{channels}.onnx"
        path.write_bytes(model.SerializeToString())
        models += ["--model", str(path)]
    rng = np.random.default_rng(0)
    table = folder / "table.csv"
    if not table.exists():
        genes = np.stack(np.unravel_index(np.arange(_TABLE_ROWS), (5,) * 6), axis=1)
        values = rng.random((len(genes), 2)) + 0.5
        rows = zip(genes, values, strict=True)
        lines = [f'"{",".join(map(str, arch))}",{error:.6f},{ms:.6f}' for arch, (error, ms) in rows]
        table.write_text("\n".join(["arch,error,ms", *lines]))
    search = [*base, "search", "--space", "nasbench201", "--strategy", "nsga2", "--evaluations", str(EVALUATIONS)]
    search += ["--objective", f"error=table:{table}:error", "--objective", f"ms=table:{table}:ms"]
    return {
        "profile": [*base, "profile", "fake", *models, "--json", "--store", "OUT/a.db"],
        "search": [*search, "--json", "-o", "OUT/run"],
    }


def database_of(name: str, out: Path) -> Path:
    """Where a command commits."""
    return out / "a.db" if name == "profile" else out / "run" / "run.db"


def _started(command: Sequence[str], out: Path, **more: Any) -> subprocess.Popen[str]:
    words = [word.replace("OUT", str(out)) for word in command]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HWNAS_CACHE": str(out.parent / "cache"),
        "HWNAS_LOCKS": str(out.parent / "locks"),
    }
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, process_group=0, **more
    )


def _finished(command: Sequence[str], out: Path, **more: Any) -> tuple[int, str, str]:
    process = _started(command, out, **more)
    try:
        shown, said = process.communicate(timeout=LONG_S)
    finally:
        _kill(process)
    return process.returncode, shown, said


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def committed(name: str, out: Path) -> Rows:
    """Blocks of a campaign, or judged trials of a search, in order; none if they are not there yet."""
    path = database_of(name, out)
    sql = "select id, process, model, round, retry, calls, ns from blocks order by id"
    if name == "search":
        sql = "select id, batch, arch, result from trials where result is not null order by id"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(sql).fetchall()
    except sqlite3.DatabaseError:
        return []


def _killed(
    name: str, commands: dict[str, list[str]], folder: Path, count: int, moments: random.Random
) -> dict[str, Any]:
    """Kill one command over and over; what was wrong afterwards."""
    command, faults, done, early = commands[name], [], 0, 0
    whole = folder / f"{name}-whole"
    whole.mkdir()
    began = time.monotonic()
    code, shown, said = _finished(command, whole)
    long_s = time.monotonic() - began
    if code:
        raise RuntimeError(f"{name} does not even run: {said}")
    out = folder / f"{name}-0"
    out.mkdir()
    for number in range(count):
        if number % 4 == 0:
            if number and (fault := _ends_whole(name, command, out, whole, shown)):
                faults.append(f"{number}: {fault}")
            out = folder / f"{name}-{number}-new"
            out.mkdir()
        before = committed(name, out)
        process = _started(command, out)
        at_making = number % 2 == 0
        if at_making:
            deadline = time.monotonic() + LONG_S
            while not database_of(name, out).exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.0005)
            delay = FIRST_S * moments.random()
        else:
            delay = FIRST_S * moments.random() if number % 8 == 1 else long_s * moments.random()
        early += delay <= FIRST_S
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        done += process.poll() is None
        _kill(process)
        if committed(name, out)[: len(before)] != before:
            faults.append(f"{number}: what was committed did not stay")
    if fault := _ends_whole(name, command, out, whole, shown):
        faults.append(f"the last: {fault}")
    return {"kills": done, "in_the_first_50_ms": early, "faults": faults}


def _ends_whole(name: str, command: Sequence[str], out: Path, whole: Path, shown: str) -> str:
    """What is wrong when a command goes on after all; empty if nothing is."""
    before = committed(name, out)
    code, answer, said = _finished(command, out)
    if code:
        return f"it ended with {code}: {said.strip()[-300:]}"
    now = committed(name, out)
    if now[: len(before)] != before:
        return "what was committed did not stay"
    if len({row[1:] for row in now}) != len(now):
        return "rows are there twice"
    with contextlib.closing(sqlite3.connect(database_of(name, out))) as database:
        if database.execute("pragma integrity_check").fetchall() != [("ok",)]:
            return "the database is damaged"
        if database.execute("pragma foreign_key_check").fetchall():
            return "rows belong to nothing"
    if name == "search":
        if now != committed(name, whole):
            return "the archive is another one"
        fields = [{**json.loads(text), "path": ""} for text in (answer, shown)]
        return "" if fields[0] == fields[1] else "the answer is another one"
    fields = [sorted(row["model"] for row in json.loads(text)["measurements"]) for text in (answer, shown)]
    return "" if fields[0] == fields[1] else f"{len(fields[0])} of {len(fields[1])} models were measured"


# -- full disks


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a file system in memory."""
    probe = folder / "probe"
    probe.mkdir(exist_ok=True)
    try:
        with small_disk(probe, 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def small_disk(place: Path, kib: int) -> Iterator[None]:
    """A file system of so many KiB at `place`, gone at the end with what is on it."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)


def _filled(
    name: str, commands: dict[str, list[str]], folder: Path, count: int, moments: random.Random, *, real: bool
) -> dict[str, Any]:
    command, faults, refused = commands[name], [], 0
    whole = folder / f"{name}-roomy"
    whole.mkdir()
    _, shown, _ = _finished(command, whole)
    for number in range(count):
        kib = moments.randint(SMALLEST_KIB, LARGEST_KIB)
        out = folder / f"{name}-full-{number}"
        out.mkdir()
        disk = small_disk(out, kib) if real else contextlib.nullcontext()
        with disk:
            more = {} if real else {"preexec_fn": lambda kib=kib: _limit(kib << 10)}
            code, answer, said = _finished(command, out, **more)
            refused += code != 0
            if code not in (0, 3, 4) or "Traceback" in said:
                faults.append(f"{kib} KiB: it ended with {code}: {said.strip()[-300:]}")
            elif "error" in json.loads(answer) and code == 0:
                faults.append(f"{kib} KiB: an error that ended with 0")
            if real:
                subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True, capture_output=True)
            if fault := _ends_whole(name, command, out, whole, shown):
                faults.append(f"{kib} KiB: with room again, {fault}")
    return {"disks": count, "refused": refused, "faults": faults}


def _limit(most: int) -> None:
    """Files of this process may not grow beyond `most`; instead of the signal there is an error."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--full", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcome = {
        "kills": kills(arguments.kills, seed=arguments.seed),
        "full_disks": full_disks(arguments.full, seed=arguments.seed),
    }
    print(json.dumps({"benchmark": "robustness_kills", **outcome}, indent=1))


if __name__ == "__main__":
    main()

"""Random command lines, drawn from the options that are registered, against what every command promises.

    python -m benchmarks.robustness_lines --count 2000 --seed 0

Each line runs in a process forked from one that has loaded the packages, in a folder with a store, a predictor, a table
and files that are none of these. Checked: no traceback and no fault of the toolkit itself, a documented exit code, 1
only where an answer can be no, one JSON object whenever `--json` is given, no file changed on 2 and 4, an end within
10 s. Prints a JSON object; ends with 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 10.0
#: For what the lines need, on a machine that does other things as well.
PATIENCE_S = 300.0
CODES = frozenset({0, 1, 2, 3, 4, 130})
#: Commands whose answer can be no.
CAN_SAY_NO = frozenset({"check", "compare", "lint", "search", "profile"})

SPACE = "nasbench201:cells=1,channels=4,resolution=8"
ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"
#: What is wrong in a way of its own, for any option that takes a text or a path.
HOSTILE = (
    "", " ", "-", "--", "nothing", "a" * 300, "a/" * 2000, "x\ny", "\x1b[31mred", "\u202egnp", "ü", "\udcff\udcfe",
    ".", "..", "/", "a.db", "p", "p/card.json", "folder", "notes.txt", "notes.txt/inside", "empty", "fifo", "loop",
    "/dev/full", "/dev/null", "/dev/zero", "/proc/self/mem", "nowhere://x/y", "sqlite://", "sqlite:///", "http://[",
    "://", "a?b.db", ":memory:", "%41", "~", "$HOME", "*", "--json", "-1", "nan", "1e999", "9" * 5000, "{}", "[" * 3000,
    "'; --", "x\0y",
)  # fmt: skip
NUMBERS = (
    "-1", "0", "1", "2", "3", "1.5", "nan", "inf", "-inf", "", " 2", "1_0", "0x10", "1e3", "٣", "9" * 30, "9" * 5000,
    str(2**63 - 1), str(2**63), str(-(2**63)), str(10**12), "two", "--json",
)  # fmt: skip
AMOUNTS = ("1s", "5%", "0", "-1s", "nan", "inf", "1e300s", "1e999%", "60", "2%", "1ms", "5 parsecs", "", "9" * 400)
#: What is right, by the name of a parameter; what is not here has only what is wrong.
RIGHT: dict[str, tuple[str, ...]] = {
    "target": ("fake", "fakee", "me.toml", "bad.toml"),
    "model": ("m.onnx", "bad.onnx", "m.onnx"),
    "space": (SPACE, "nasbench201", f"{SPACE}@edge01=none", "nasbench201:cells=-1", f"nasbench201:cells={10**30}",
              "nasbench201:channels=nan", "nasbench20", "nasbench201:"),
    "arch": (ARCH, "1,2,3,0,4,1", "9,9", "1,2,3,0,4,-1", f"{10**30},0,0,0,0,0"),
    "store": ("a.db", "new.db", "deep/er/new.db", "notes.txt"),
    "store_a": ("a.db",), "store_b": ("a.db", "b.db"),
    "fail_on": ("slower:5%", "slower", "faster:1e9", "slower:nan", "equal"),
    "profile.space": ("nasbench20", "nasbench201:cells=0", "nasbench201:cells=-1", f"nasbench201:cells={10**30}"),
    "profile.arch": ("9,9", "1,2,3,0,4,-1", f"{10**30},0,0,0,0,0", "0,0,0,0,0,0"),
    "fit.space": ("nasbench20", "nasbench201:cells=-1"),
    "objective": ("table:t.csv:cost", "latency:p", "table:t.csv:cost", "x=table:t.csv:cost:max", "table:t.csv",
                  "table:::", "latency:measured", "accuracy", "latency:folder", "a=b=c"),
    "constraint": ("macs <= 2", "cost <= 1 ms", "cost <= nan", "cost < ", "cost >= -1", "nobody <= 1"),
    "strategy": ("nsga2", "random", "auto", "nsga22"),
    "settings": ("nsga2.seed=5", "nsga2.population=4", "evaluation_seconds=abc", "evaluation_seconds=-1",
                 "replicates=0", "evaluation_seconds=nan", "evaluation_seconds=0", "train_steps=-5",
                 "nsga2.population=1e400", "=", "a",
                 "nsga2.mutation=x", "nsga2.population=" + "9" * 5000, "nobody.x=1", "replicates=2"),
    "predictor": ("lookup", "roofline", "linear", "lokup"),
    "cost": ("latency", "energy", "memory", "money"),
    "folder": ("p", "folder", "empty"),
    "file": ("t.csv", "bad.toml", "notes.txt", "p"),
    "kind": ("plain", "nasbench201", "ofa", "plane"),
    "run": ("r", "folder", "p"),
    "output": ("out", "out/deep", "p", "folder", "a.db", "r/run.db", "notes.txt", "me.toml", "out.html", "empty"),
    "page": ("out.html", "a.db", "folder"),
    "compare": ("linear,roofline", "lokup", ",,"),
    "data": ("nowhere", "folder"),
    "budget": AMOUNTS, "spread": AMOUNTS, "until": AMOUNTS,
}  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """A line that broke a promise, and which."""

    line: list[str]
    promise: str
    said: str


def lines(count: int, seed: int) -> list[list[str]]:
    """Command lines of every registered command, each as likely as any other."""
    from hwnas_cli.app import command

    rng = random.Random(seed)
    leaves: list[tuple[tuple[str, ...], Any]] = []
    for name, one in command().commands.items():
        inner = getattr(one, "commands", None)
        leaves += [((name,), one)] if inner is None else [((name, sub), leaf) for sub, leaf in inner.items()]
    return [_line(rng, *rng.choice(leaves)) for _ in range(count)]


def _line(rng: random.Random, words: tuple[str, ...], leaf: Any) -> list[str]:
    line = [word if rng.random() > 0.02 else rng.choice(HOSTILE) for word in words]
    parts: list[list[str]] = []
    for parameter in leaf.params:
        if parameter.param_type_name == "argument":
            if rng.random() > 0.05:
                parts.append([_value(rng, words[0], parameter)])
            continue
        if parameter.name in ("help", "as_json") or rng.random() > (0.9 if parameter.required else 0.25):
            continue
        name = rng.choice(parameter.opts)
        if parameter.is_flag:
            parts.append([name] if rng.random() > 0.1 else [f"{name}=1"])
            continue
        values = [_value(rng, words[0], parameter) for _ in range(rng.choice((1, 1, 2)) if parameter.multiple else 1)]
        parts += [[name, *values]] if rng.random() > 0.1 else [[f"{name}={value}"] for value in values]
    if rng.random() < 0.05:
        parts.append([rng.choice(("--nothing", "--seed", "-o", "extra", "--help", "--version", "-h", "--"))])
    if rng.random() < 0.5:
        rng.shuffle(parts)
    line += [word for part in parts for word in part]
    if rng.random() < 0.7:
        line.insert(rng.randint(0, len(line)), "--json")
    return line


def _value(rng: random.Random, command: str, parameter: Any) -> str:
    """Mostly what is right, so that a line gets far; else what is wrong."""
    right = RIGHT.get(f"{command}.{parameter.name}") or RIGHT.get(parameter.name, ())
    annotation = str(parameter.type_descriptor.annotation) if hasattr(parameter, "type_descriptor") else ""
    if not right and ("int" in annotation or "float" in annotation):
        return rng.choice(("2", "3")) if rng.random() < 0.5 else rng.choice(NUMBERS)
    return rng.choice(right) if right and rng.random() < 0.75 else rng.choice(HOSTILE)


def furnish(place: Path) -> None:
    """A folder with what the lines speak of."""
    from profiler.testing import convolution

    os.chdir(place)
    for name in ("folder", "empty"):
        (place / name).mkdir()
    texts = {
        "folder/mine.txt": "mine",
        "folder/card.json": '{"title": "a card of mine"}',
        "notes.txt": "notes without an end",
        "bad.onnx": "no model",
        "me.toml": 'extends = "fake"\n',
        "bad.toml": "name = ",
        "t.csv": f"arch,cost\n{ARCH},3.5\n{ARCH.replace('3x3', '1x1')},1.5\n"
        f"{ARCH.replace('none~1', 'nor_conv_3x3~1')},2\n",
    }
    for name, text in texts.items():
        (place / name).write_text(text)
    (place / "m.onnx").write_bytes(convolution())
    os.mkfifo(place / "fifo")
    (place / "loop").symlink_to("loop")
    for line in (
        ["profile", "fake", "--probes", "9", "--store", "a.db"],
        ["fit", "fake", "--predictor", "roofline", "--store", "a.db", "-o", "p"],
        [
            "search",
            "--space",
            SPACE,
            "--objective",
            "table:t.csv:cost",
            "--strategy",
            "random",
            "--evaluations",
            "4",
            "-o",
            "r",
        ],
    ):
        code, _, said = forked(line, place, PATIENCE_S)
        if code != 0:
            raise SystemExit(f"cannot make the folder: {line} ended with {code}: {said}")


def forked(line: list[str], place: Path, limit_s: float) -> tuple[int | None, str, str]:
    """Exit code (None if it did not end), standard output and standard error of a line."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            try:
                os.setpgid(0, 0)
                os.chdir(place)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.argv[1:] = line
                from hwnas_cli import start

                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as a new process has them
                sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
                start.main()
            except SystemExit as ended:
                _flush()
                os._exit(ended.code if isinstance(ended.code, int) else 1)
            except BaseException:
                import traceback

                traceback.print_exc()
                _flush()
                os._exit(1)
            os._exit(0)
        code = _waited(child, limit_s)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return code, texts[0], texts[1]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue


def _waited(child: int, limit_s: float) -> int | None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    for target in (-child, child):
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:
            continue
    os.waitpid(child, 0)
    return None


def contents(place: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its content, and every folder."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        regular = path.is_file() and not path.is_symlink()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if regular else "-"
    return found


def promise_broken(line: list[str], code: int | None, out: str, err: str, changed: list[str]) -> str:
    """Which promise a line broke; empty if none."""
    if code is None:
        return "it did not end in time"
    if "Traceback" in err or "Traceback" in out:
        return "a traceback"
    if "a fault of hwnas" in err:
        return "a fault of the toolkit"
    if code not in CODES:
        return f"exit code {code}"
    if code == 1 and not CAN_SAY_NO & set(line):
        return "exit code 1 of a command whose answer cannot be no"
    if code not in (0, 1, 130) and "error:" not in err and "hint:" not in err:
        return f"exit code {code} without an error"
    if any(word.partition("=")[0] == "--json" for word in line):
        try:
            answer = json.loads(out)
        except ValueError:
            return "standard output is not one JSON object"
        if not isinstance(answer, dict) or not str(answer.get("schema")).startswith("hwnas."):
            return "standard output is not one object with a schema"
        if code in (2, 4) and "error" not in answer:
            return f"exit code {code} without an error in the object"
    elif code == 2 and out:
        return "something on standard output with exit code 2"
    if code in (2, 4) and changed:
        return f"exit code {code}, and it wrote {', '.join(changed[:4])}"
    return ""


def fuzz(count: int, seed: int, limit_s: float) -> dict[str, Any]:
    """Run lines; what came of them."""
    codes: dict[str, int] = {}
    broken: list[Broken] = []
    with tempfile.TemporaryDirectory(prefix="hwnas-lines-") as root:
        # Lines may name the folder above theirs: what they are compared with lies elsewhere.
        pristine, place = Path(root) / "kept" / "pristine", Path(root) / "here" / "place"
        pristine.mkdir(parents=True)
        place.parent.mkdir()
        furnish(pristine)
        expected = contents(pristine)
        shutil.copytree(pristine, place, symlinks=True, copy_function=_copied)
        longest = 0.0
        for line in lines(count, seed):
            began = time.monotonic()
            # A NUL cannot be among the arguments of a process.
            code, out, err = forked([word for word in line if "\0" not in word], place, limit_s)
            longest = max(longest, time.monotonic() - began)
            found = contents(place)
            changed = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            promise = promise_broken(line, code, out, err, changed)
            if promise:
                broken.append(Broken([word[:80] for word in line], promise, err[-600:]))
            codes[str(code)] = codes.get(str(code), 0) + 1
            if changed:
                shutil.rmtree(place)
                shutil.copytree(pristine, place, symlinks=True, copy_function=_copied)
        os.chdir("/")
    return {
        "lines": count,
        "seed": seed,
        "codes": dict(sorted(codes.items())),
        "longest_s": round(longest, 2),
        "broken": [asdict(one) for one in broken],
    }


def _copied(source: str, target: str) -> str:
    """A pipe is made anew: reading it would wait for ever."""
    if Path(source).is_fifo():
        os.mkfifo(target)
        return target
    return shutil.copy2(source, target)


def main() -> int:
    """Fuzz, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds that a line may take")
    chosen = parser.parse_args()
    import numpy  # noqa: F401 - what every line needs is loaded once
    import onnx  # noqa: F401
    import sqlalchemy  # noqa: F401

    import profiler.campaign  # noqa: F401

    found = fuzz(chosen.count, chosen.seed, chosen.limit)
    print(json.dumps(found, indent=1))
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())

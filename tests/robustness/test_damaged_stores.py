"""A fuzzer of stores and runs: cut, flipped, overwritten, edited with SQL. An answer is right, or an error by name.

What holds for each: no traceback, a documented exit code, one JSON object, nothing written where it is refused. Damage
of the file never leads to another answer; an edit with SQL that stays within types and ranges may, since it means it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from hwnas_cli.app import main
from nas import spaces

#: Damages of each kind in the short form; the long form makes 500 in all.
SHORT, LONG = 3, 32
SPACE = "nasbench201"
STORE, RUN = "a.db", "run"


def convolution(channels):
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
    shapes = {"x": [1, 3, 8, 8], "y": [1, channels, 6, 6]}
    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items())
    weight = numpy_helper.from_array(np.ones((channels, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def ask(*arguments):
    """A command with `--json` in this process: its exit code, its one object, what it said."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--json"])
    assert "Traceback" not in said.getvalue()
    lines = out.getvalue().strip().splitlines()
    assert len(lines) == 1, "one object"
    return int(ended.value.code or 0), json.loads(lines[0])


@dataclass(frozen=True)
class Whole:
    """A store and a run that nothing is wrong with, and what commands answer of them."""

    folder: Path
    models: tuple[str, ...]

    def commands(self, folder):
        """Commands that read a copy in `folder`, by what they read."""
        search = ["search", "--space", SPACE, "--strategy", "random", "--evaluations", "20", "-o", folder / RUN]
        search += ["--objective", f"error=table:{self.folder / 'table.csv'}:error"]
        search += ["--objective", f"ms=table:{self.folder / 'table.csv'}:ms"]
        profile = ["profile", "fake", "--store", folder / STORE, "--model", *self.models]
        return {
            STORE: [["compare", self.folder / STORE, folder / STORE], profile],
            RUN: [["report", folder / RUN, "-o", folder / "page.html"], search],
        }

    def file(self, folder, what):
        return folder / STORE if what == STORE else folder / RUN / "run.db"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    space = spaces.load(SPACE)
    archs = np.stack(np.unravel_index(np.arange(space.size), space.choices), axis=1)
    values = rng.random((len(archs), 2)) + 0.5
    rows = zip(archs, values, strict=True)
    lines = ["arch,error,ms", *(f"{space.format(arch)},{error:.4f},{ms:.4f}" for arch, (error, ms) in rows)]
    (folder / "table.csv").write_text("\n".join(lines))
    models = []
    for channels in (3, 5):
        path = folder / f"{channels}.onnx"
        path.write_bytes(convolution(channels))
        models += [str(path)]
    # `--model` takes one file each time it is given.
    made = Whole(folder, tuple(part for path in models for part in ("--model", path))[1:])
    for command in (made.commands(folder)[STORE][1], made.commands(folder)[RUN][1]):
        code, answer = ask(*command)
        assert code == 0, answer
    return made


def plain(answer, folder):
    """An answer without the place."""
    return json.loads(json.dumps(answer).replace(str(folder), "FOLDER"))


@pytest.fixture(scope="module")
def answers(whole, tmp_path_factory):
    """What the commands answer of a whole copy."""
    folder = copied(whole, tmp_path_factory.mktemp("copy") / "x")
    found = {what: [ask(*command) for command in commands] for what, commands in whole.commands(folder).items()}
    assert all(code == 0 for pairs in found.values() for code, _ in pairs), found
    return {what: [plain(answer, folder) for _, answer in pairs] for what, pairs in found.items()}


def copied(whole, folder):
    folder.mkdir()
    shutil.copy(whole.folder / STORE, folder)
    shutil.copytree(whole.folder / RUN, folder / RUN)
    return folder


# -- damages: of a file, in place


def cut(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))])


def flip(path, rng):
    content = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 4)):
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def flip_text(path, rng):
    """A flip where rows are, not in what is left free."""
    content = bytearray(path.read_bytes())
    used = np.flatnonzero(np.frombuffer(bytes(content), np.uint8))
    content[rng.choice(used)] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def overwrite(path, rng):
    content = bytearray(path.read_bytes())
    size = int(rng.choice([8, 64, 512, 4096]))
    start = int(rng.integers(max(len(content) - size, 1)))
    content[start : start + size] = rng.bytes(size) if rng.integers(2) else bytes(size)
    path.write_bytes(content)


def swap(path, rng):
    """Two pages, one for the other."""
    content = path.read_bytes()
    pages = [content[i : i + 4096] for i in range(0, len(content), 4096)]
    one, other = rng.integers(1, len(pages), 2)
    pages[one], pages[other] = pages[other], pages[one]
    path.write_bytes(b"".join(pages))


def tables(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [row[1:3] for row in database.execute(f"PRAGMA table_info({name})")] for name in names}


def edited(path, statement, values=()):
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA ignore_check_constraints = 1")
        with contextlib.suppress(sqlite3.IntegrityError):  # a key that is there already, NULL where there must be one
            database.execute(statement, values)


def a_column(path, rng):
    known = tables(path)
    filled = [name for name in known if contents(path, name)]
    table = str(rng.choice(filled))
    column, kind = known[table][rng.integers(len(known[table]))]
    return table, column, kind


def contents(path, table):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


#: What no column of ours may hold, and what hostile hands put there.
STRANGE = [
    -1, 0, 2**62, "", "x", "NaN", 1e308, float("inf"), b"\xff\xfe", "{", "[]", "{}", "null", "[" * 5000, "9" * 5000,
    '{"a": 1, "a": 2}', "\x1b[31m", "=1+1", "0,1", "1e400", '{"error": [1, 2]}', "../../x", "\x00", None,
]  # fmt: skip


def tamper(path, rng):
    table, column, _ = a_column(path, rng)
    value = STRANGE[rng.integers(len(STRANGE))]
    where = "" if rng.integers(2) else f"WHERE rowid = (SELECT min(rowid) FROM {table})"
    edited(path, f"UPDATE {table} SET {column} = ? {where}", [value])


def remove(path, rng):
    table, _, _ = a_column(path, rng)
    share = int(rng.integers(1, 4))
    edited(path, f"DELETE FROM {table} WHERE rowid % {share} = 0")


def drop(path, rng):
    table, column, _ = a_column(path, rng)
    altered = f"ALTER TABLE {table}"
    statement = [f"DROP TABLE {table}", f"{altered} RENAME TO other", f"{altered} DROP COLUMN {column}"]
    statement.append(f"{altered} RENAME COLUMN {column} TO other")
    with contextlib.suppress(sqlite3.OperationalError):  # of a key
        edited(path, statement[rng.integers(len(statement))])


#: Damage that nobody meant: it never changes an answer.
OF_THE_FILE = (cut, flip, flip_text, overwrite, swap)
MEANT = (tamper, remove, drop)


def files(folder):
    """All files but those that SQLite has beside an open one, and takes away with this process."""
    return sorted(path for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm")))


def held(whole, answers, folder, what, damage, seed):
    """Damage a copy and ask; the command, the exit code, and whether the answer is the right one."""
    copied(whole, folder)
    path = whole.file(folder, what)
    damage(path, np.random.default_rng(seed))
    for number, command in enumerate(whole.commands(folder)[what]):
        before, others = path.read_bytes(), files(folder)
        code, answer = ask(*command)
        where = f"{damage.__name__} {seed} of {what}: {command[0]}"
        assert code in (0, 1, 3, 4), f"{where} ended with {code}: {answer}"
        if code == 4:
            assert answer["error"]["message"], where
            assert path.read_bytes() == before, f"{where} was refused, and changed the file"
            assert files(folder) == others, f"{where} was refused, and wrote"
        right = plain(answer, folder) == answers[what][number]
        yield where, code, right, answer


def check(whole, answers, folder, seeds):
    for what in (STORE, RUN):
        for damage in (*OF_THE_FILE, *MEANT):
            for seed in seeds:
                place = folder / f"{what}-{damage.__name__}-{seed}"
                for where, code, right, answer in held(whole, answers, place, what, damage, seed):
                    if damage in OF_THE_FILE:
                        assert code == 4 or (code == 0 and right), f"{where} answered otherwise: {answer}"
                shutil.rmtree(place)


def test_damage_is_named_or_changes_nothing(whole, answers, tmp_path):
    check(whole, answers, tmp_path, range(SHORT))


@pytest.mark.slow
def test_much_damage_is_named_or_changes_nothing(whole, answers, tmp_path):
    first = int(os.environ.get("HWNAS_FUZZ_SEED", "1000"))
    check(whole, answers, tmp_path, range(first, first + LONG))

"""What all tests share: a cache of their own, kept for the session."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from device_profiles.cache import cache_folder

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so shells start what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Exports and catalogues of the tests; `HWNAS_TEST_CACHE` keeps them between runs."""
    folder = Path(os.environ.get("HWNAS_TEST_CACHE") or tmp_path_factory.mktemp("cache"))
    # Locks of their own as well: two runs of the tests side by side measure nothing that counts.
    mine = {
        "HWNAS_CACHE": str(folder),
        "HWNAS_LOCKS": str(tmp_path_factory.mktemp("locks")),
        "HWNAS_CONVERTERS": os.environ.get("HWNAS_CONVERTERS") or str(cache_folder() / "converters"),  # those installed
    }
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    yield folder
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def data():
    """The folder of public tables, or a skip with the reason."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}")
    return folder


#: What version 3 of the store and of the study brought, and before that version 2.
_LATER = {
    3: ["blocks.cpu_ns", "blocks.switches", "profiles.run_ns", "models.graph_seal", "trials.completed",
        "trials.budgets", "*.seal"],
    2: ["energy", "trial_failures", "trial_replicates"],
}  # fmt: skip


@pytest.fixture
def older():
    """Writes a run's database as version 1, 2 or 3 of the store and of the study did: `older(3, path)`.

    `tests/older/run-3.sql` is what the code of version 3 wrote: two models, 12 blocks of two processes, and a study of
    six trials.
    """

    def write(version, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.executescript((Path(__file__).parent / "older" / "run-3.sql").read_text())
            query = "SELECT name FROM sqlite_master WHERE type = ?"
            if version < 3:
                for (trigger,) in database.execute(query, ["trigger"]).fetchall():
                    database.execute(f"DROP TRIGGER {trigger}")
            for number in range(3, version, -1):
                tables = [name for (name,) in database.execute(query, ["table"]).fetchall()]
                for what in _LATER[number]:
                    table, _, column = what.partition(".")
                    for name in tables if table == "*" else [table]:
                        database.execute(f"ALTER TABLE {name} DROP COLUMN {column}" if column else f"DROP TABLE {name}")
            for table, key in (("meta", "schema_version"), ("study", "version")):
                if version < 3:
                    database.execute(f"UPDATE {table} SET value = ? WHERE key = ?", [str(version), key])
            database.commit()
        return path

    return write

"""What all tests share: a cache of their own, kept for the session."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
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


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL server of its own on a free port of this machine, gone at the end; its address, or a skip."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    initdb = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed here: apt-get install postgresql")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = Path(tempfile.mkdtemp(prefix="hwnas-pg-"))  # a socket's path is short
    account = {}
    if os.getuid() == 0:  # the server refuses to run as root
        user = next((entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), None)
        if user is None:
            pytest.skip("no account that PostgreSQL could run as")
        shutil.chown(place, user.pw_name)
        account = {"user": user.pw_name, "group": user.pw_gid, "extra_groups": []}
    data = place / "data"

    def run(*command):
        subprocess.run(command, check=True, capture_output=True, cwd=place, **account)

    run(str(initdb), "-D", str(data), "-U", "hwnas", "-A", "trust", "-E", "UTF8")
    control = str(initdb.with_name("pg_ctl"))
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(control, "-D", str(data), "-w", "-l", str(place / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://hwnas@127.0.0.1:{port}"
    finally:
        run(control, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(place)


@pytest.fixture(scope="session")
def new_database(server):
    """Makes an empty database of the server; its URL."""
    import sqlalchemy as sa

    numbers = itertools.count(1)
    engine = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")

    def make():
        name = f"lab{next(numbers)}"
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return f"{server}/{name}"

    yield make
    engine.dispose()


@pytest.fixture
def postgresql(new_database):
    """The URL of an empty database of a PostgreSQL server."""
    return new_database()

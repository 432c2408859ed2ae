"""The store of a lab: the same campaign on a real PostgreSQL server, where one is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import profiler
from profiler.store import Store
from profiler.subjects import Subject

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
pytestmark = [
    pytest.mark.skipif(BINARIES is None, reason="no PostgreSQL server is installed here"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of its own on a free port of this machine, gone at the end."""
    pytest.importorskip("psycopg", reason="the package psycopg is not installed")
    assert BINARIES is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = Path(tempfile.mkdtemp(prefix="hwnas-pg-"))  # a socket's path is short
    account: dict[str, Any] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        user = next((entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody")), None)
        if user is None:
            pytest.skip("no account that PostgreSQL could run as")
        shutil.chown(place, user.pw_name)
        account = {"user": user.pw_name, "group": user.pw_gid, "extra_groups": []}
    data = place / "data"

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=place, **account)

    run(str(BINARIES), "-D", str(data), "-U", "hwnas", "-A", "trust", "-E", "UTF8")
    control = str(BINARIES.with_name("pg_ctl"))
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(control, "-D", str(data), "-w", "-l", str(place / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://hwnas@127.0.0.1:{port}/postgres"
    finally:
        run(control, "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(place)


def test_a_campaign_is_kept_and_goes_on(url: str, subject: Callable[..., Subject], fake: Callable[..., Any]) -> None:
    with Store(url) as store:
        first = profiler.measure([subject(4), subject(8)], target=fake(), store=store)
    assert len(first.measurements) == 2 and not first.failures
    with Store(url) as store:
        conditions = store.require_conditions("fake")
        blocks = len(store.blocks(conditions))
        again = profiler.measure([subject(4), subject(8)], target=fake(), store=store)
        assert len(store.blocks(conditions)) == blocks, "nothing is measured twice"
    assert again.measurements == first.measurements


def test_a_study_lives_there_too(url: str) -> None:
    from nas.study.study import Study

    with Store(url) as store:
        study = Study(store)
        study.bind({"objectives": [], "seed": 0})
        assert study.fact("seed") == 0

"""What all tests share: a cache of their own, kept for the session."""

import os
import signal
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

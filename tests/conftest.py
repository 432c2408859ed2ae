"""What all tests share: a cache of their own, kept for the session."""

import os
import signal
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so shells start what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Exports and catalogues of the tests; `HWNAS_TEST_CACHE` keeps them between runs."""
    folder = Path(os.environ.get("HWNAS_TEST_CACHE") or tmp_path_factory.mktemp("cache"))
    before = os.environ.get("HWNAS_CACHE")
    os.environ["HWNAS_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["HWNAS_CACHE"]
    else:
        os.environ["HWNAS_CACHE"] = before


@pytest.fixture(scope="session")
def data():
    """The folder of public tables, or a skip with the reason."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no public data at {folder}")
    return folder

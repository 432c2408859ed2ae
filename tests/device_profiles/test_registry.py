from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device_profiles.errors import UnknownName
from device_profiles.registry import Registry


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[str]]:
    folder = tmp_path / "some_plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "two_words.py").write_text("ENTRY = 'two'\n")
    (folder / "plain.py").write_text("ENTRY = 'plain'\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_helper.py").write_text("raise RuntimeError('imported')\n")
    (folder / "protocol.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry("plug-in", "some_plugins", attribute="ENTRY")
    import sys

    for name in [name for name in sys.modules if name.startswith("some_plugins")]:
        del sys.modules[name]


def test_names_are_the_modules_and_nothing_is_imported(plugins: Registry[str]) -> None:
    assert plugins.names() == ("broken", "plain", "two-words")


def test_an_entry_is_imported_when_it_is_used(plugins: Registry[str]) -> None:
    assert plugins.get("plain") == "plain"
    assert plugins.get("two-words") == "two"
    with pytest.raises(RuntimeError, match="imported"):
        plugins.get("broken")


def test_a_running_program_registers_its_own(plugins: Registry[str]) -> None:
    plugins.register("mine", "my entry")
    plugins.register("plain", "replaced")
    assert plugins.names() == ("broken", "mine", "plain", "two-words")
    assert plugins.get("mine") == "my entry"
    assert plugins.get("plain") == "replaced"
    plugins.register("broken", "mended")
    assert dict(plugins) == {"broken": "mended", "mine": "my entry", "plain": "replaced", "two-words": "two"}


def test_an_unknown_name_says_what_was_probably_meant(plugins: Registry[str]) -> None:
    with pytest.raises(UnknownName) as caught:
        plugins.get("plian")
    assert "plug-in 'plian'" in caught.value.message
    assert "Did you mean 'plain'?" in caught.value.hint
    assert "two-words" in caught.value.hint
    with pytest.raises(UnknownName) as caught:
        plugins.get("zzzzzz")
    assert "Did you mean" not in caught.value.hint


@pytest.mark.parametrize("name", ["protocol", "_helper", "two_words", "../plain", ""])
def test_what_is_no_entry_has_no_name(plugins: Registry[str], name: str) -> None:
    with pytest.raises(UnknownName):
        plugins.get(name)


def test_the_toolkits_own_registries_find_their_files() -> None:
    from profiler import meters, runtimes, transports

    assert {"fake", "replay", "onnxruntime"} <= set(runtimes.names())
    assert "none" in meters.names()
    assert "local" in transports.names()
    for load in (runtimes.load, meters.load):
        with pytest.raises(UnknownName):
            load("nowhere")
    with pytest.raises(UnknownName):
        transports.load("nowhere", "", {})


def test_a_folder_of_the_package_holds_entries_too(plugins: Registry[str], tmp_path: Path) -> None:
    folder = tmp_path / "some_plugins" / "more"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "inner_one.py").write_text("ENTRY = 'inner'\n")
    (folder / "_helper.py").write_text("raise RuntimeError('imported')\n")
    registry: Registry[str] = Registry("plug-in", "some_plugins", attribute="ENTRY", folders=("more",))
    assert registry.names() == ("broken", "inner-one", "plain", "two-words")
    assert registry.get("inner-one") == "inner" and registry.get("plain") == "plain"
    assert "more" in plugins.names(), "a folder that nobody named is a module like others"

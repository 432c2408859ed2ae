"""Converters: an environment that is there or not, a process for many models, results that are kept whole."""

import os
import sys
import threading
from pathlib import Path

import pytest

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator
from profiler.compilers import converters
from profiler.compilers.converters import Converter

SCRIPT = """
import os, sys, time
from profiler.compilers.converters import serve
class UnsupportedOperator(Exception): pass
def convert(model, made, options):
    print("noise on standard output")
    if options.get("do") == "die": os._exit(3)
    if options.get("do") == "refuse": raise ValueError("no such thing")
    if options.get("do") == "lack": raise UnsupportedOperator("Foo")
    if options.get("do") == "full": raise OSError("No space left on device")
    if options.get("do") == "half":
        made.write_text("half"); raise ValueError("half way")
    made.write_text(f"{model.read_text()} {os.getpid()}")
    made.with_suffix(".side").write_text("beside")
serve(convert)
"""


@pytest.fixture
def converter(tmp_path, monkeypatch) -> Converter:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HWNAS_CONVERTERS", str(tmp_path / "converters"))
    monkeypatch.setattr(converters, "_SCRIPTS", tmp_path)
    (tmp_path / "echo.py").write_text(SCRIPT)
    made = Converter("echo", ("made-up==1",))
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    yield made
    converters._worker(made).stop()
    converters._WORKERS.pop(("echo", os.getpid(), threading.get_ident()), None)


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_text("model")
    return path


def test_one_process_serves_many_and_results_are_kept(converter, model, tmp_path) -> None:
    first = converter.convert(model, tmp_path / "a.made", {}).read_text()
    other = converter.convert(model, tmp_path / "b.made", {"x": 1}).read_text()
    assert first == other, "one process"
    assert (tmp_path / "a.side").read_text() == "beside"
    converters._worker(converter).stop()
    assert converter.convert(model, tmp_path / "c.made", {}).read_text() == first, "kept"
    assert converter.convert(model, tmp_path / "d.made", {"x": 2}).read_text() != first, "another process"
    model.write_text("another")
    assert converter.convert(model, tmp_path / "e.made", {}).read_text().startswith("another")


def test_many_are_converted_side_by_side_and_no_process_stays(converter, tmp_path) -> None:
    before, told, models = set(converters._WORKERS), [], [tmp_path / f"{number}.onnx" for number in range(6)]
    for path in models:
        path.write_text(path.name)

    def convert(path: Path) -> None:
        converter.convert(path, path.with_suffix(".made"), {})

    converters.side_by_side(convert, models, told=lambda done, total: told.append((done, total)), most=2)
    assert told == [(done, 6) for done in range(1, 7)]
    texts = [path.with_suffix(".made").read_text() for path in models]
    assert [text.partition(" ")[0] for text in texts] == [path.name for path in models]
    assert len({text.partition(" ")[2] for text in texts}) <= 2
    assert set(converters._WORKERS) == before
    converters.side_by_side(convert, [], told=lambda done, total: told.append((done, total)))
    assert len(told) == 6


@pytest.mark.parametrize(
    ("do", "kind", "words"),
    [("refuse", InvalidModel, "no such thing"), ("lack", UnsupportedOperator, "Foo"), ("half", InvalidModel, "half")],
)
def test_what_a_converter_refuses_is_kept_with_its_words_alone(
    converter, model, tmp_path, monkeypatch, do, kind, words
) -> None:
    for _ in range(2):
        with pytest.raises(kind, match=words) as caught:
            converter.convert(model, tmp_path / "a.made", {"do": do})
        assert caught.value.hint and not (tmp_path / "a.made").exists()
        monkeypatch.setattr(converters._Worker, "ask", None)  # nobody is asked again
    (kept,) = (tmp_path / "cache" / "converted" / "echo").iterdir()
    assert [file.name for file in kept.iterdir()] == ["refused.json"], "nothing half-written"


def test_what_has_another_reason_than_the_model_is_tried_again(converter, model, tmp_path) -> None:
    with pytest.raises(InvalidModel, match="No space left"):
        converter.convert(model, tmp_path / "a.made", {"do": "full"})
    assert not list((tmp_path / "cache" / "converted" / "echo").iterdir())


def test_a_converter_that_dies_costs_one_model(converter, model, tmp_path) -> None:
    with pytest.raises(InvalidModel, match="the converter ended"):
        converter.convert(model, tmp_path / "a.made", {"do": "die"})
    assert converter.convert(model, tmp_path / "b.made", {}).exists()


def test_a_converter_that_hangs_is_stopped(converter, model, tmp_path, monkeypatch) -> None:
    (tmp_path / "echo.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(converters, "PATIENCE_S", 0.5)
    for _ in range(2):
        with pytest.raises(InvalidModel, match="more than") as caught:
            converter.convert(model, tmp_path / "a.made", {})
        monkeypatch.setattr(converters._Worker, "ask", None)
    (kept,) = (tmp_path / "cache" / "converted" / "echo").iterdir()
    assert str(kept) in caught.value.hint, "what to delete to try again"


def test_one_that_is_not_installed_says_how(tmp_path, model, monkeypatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HWNAS_CONVERTERS", str(tmp_path / "converters"))
    monkeypatch.setattr(converters, "_SCRIPTS", tmp_path)
    (tmp_path / "echo.py").write_text("")
    with pytest.raises(DeviceError, match="not installed") as caught:
        Converter("echo", ("made-up==1",)).convert(model, tmp_path / "a.made", {})
    assert caught.value.hint == "hwnas doctor --install echo"


def test_an_installation_that_fails_leaves_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HWNAS_CONVERTERS", str(tmp_path / "converters"))
    made = Converter("nothing", (str(tmp_path / "no-such-package-1.0.tar.gz"),))
    with pytest.raises(DeviceError, match="could not be installed") as caught:
        made.install()
    assert not made.installed and caught.value.hint
    assert not list((tmp_path / "converters").iterdir())

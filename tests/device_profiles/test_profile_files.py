from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import device_profiles
from device_profiles.errors import InvalidData, UnknownName
from device_profiles.profile import (
    Access,
    Fact,
    RuntimeChoice,
    Target,
    from_plain,
    load,
    names,
    save,
    to_plain,
    to_toml,
)

WORDS = st.text(max_size=12)
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,11}\Z")
SCALARS = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
TARGETS = st.builds(
    Target,
    name=NAMES,
    description=WORDS,
    access=st.builds(
        Access, transport=NAMES, address=st.just("") | NAMES, options=st.dictionaries(WORDS, SCALARS, max_size=3)
    ),
    runtime=st.builds(
        RuntimeChoice,
        name=NAMES,
        threads=st.integers(1, 64),
        precision=WORDS,
        optimisation=WORDS,
        options=st.dictionaries(WORDS, SCALARS, max_size=3),
    ),
    batch=st.integers(1, 64),
    energy=NAMES,
    hardware=st.dictionaries(WORDS, st.builds(Fact, value=SCALARS, source=WORDS), max_size=3),
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", names())
def test_every_shipped_target_loads_by_its_name(name: str) -> None:
    target = load(name)
    assert target.name == name
    assert target.description


def test_the_shipped_targets_are_listed() -> None:
    assert {"fake", "local-onnxruntime", "local-onnxruntime-2t", "local-torch"} <= set(device_profiles.names())


@given(TARGETS)
def test_a_target_survives_toml(target: Target) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deep" / "target.toml"
        save(target, path)
        assert load(path) == target


@given(TARGETS)
def test_a_target_survives_json(target: Target) -> None:
    import json

    assert from_plain(json.loads(json.dumps(to_plain(target)))) == target


def test_the_type_of_an_option_survives(tmp_path: Path) -> None:
    options = {"flag": True, "count": 1, "share": 1.0, "word": "1", "quoted key.": 'say "hi"\n\\'}
    target = Target(name="t", runtime=RuntimeChoice(name="fake", options=options))
    save(target, tmp_path / "t.toml")
    read = load(tmp_path / "t.toml").runtime.options
    assert read == options
    assert {name: type(value) for name, value in read.items()} == {n: type(v) for n, v in options.items()}


def test_defaults_are_left_out_of_the_file() -> None:
    assert to_toml(Target(name="t", runtime=RuntimeChoice(name="fake"))) == 'name = "t"\n\n[runtime]\nname = "fake"\n'


def test_a_file_extends_another_and_says_only_what_differs(tmp_path: Path) -> None:
    write(tmp_path, "base.toml", 'extends = "fake"\nname = "base"\nbatch = 2\n[runtime.options]\nnoise = 0.5\n')
    path = write(
        tmp_path, "sub/top.toml", 'extends = "../base.toml"\nname = "top"\n[runtime]\nthreads = 4\n[hardware]\n'
    )
    top, fake = load(path), load("fake")
    assert (top.name, top.batch, top.runtime.threads, top.runtime.name) == ("top", 2, 4, "fake")
    assert top.runtime.options == {**fake.runtime.options, "noise": 0.5}


def test_files_of_one_name_in_two_folders_are_no_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "x.toml", 'extends = "sub/y.toml"\n')
    write(tmp_path, "sub/y.toml", 'extends = "x.toml"\n')
    write(tmp_path, "sub/x.toml", 'name = "inner"\n[runtime]\nname = "fake"\n')
    monkeypatch.chdir(tmp_path)
    assert load("x.toml").name == "inner"


@pytest.mark.parametrize(
    "files",
    [
        {"a.toml": 'extends = "a.toml"\n'},
        {"a.toml": 'extends = "b.toml"\n', "b.toml": 'extends = "./a.toml"\n'},
        {"a.toml": 'extends = "sub/b.toml"\n', "sub/b.toml": 'extends = "../a.toml"\n'},
    ],
)
def test_a_circle_is_refused(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    with pytest.raises(InvalidData, match="circle"):
        load(tmp_path / "a.toml")


def test_an_unknown_target_says_what_was_probably_meant() -> None:
    with pytest.raises(UnknownName) as caught:
        load("local-onnxruntim")
    assert "Did you mean 'local-onnxruntime'?" in caught.value.hint
    assert "fake" in caught.value.hint
    assert caught.value.exit_code == 2


def test_extending_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="nowhere"):
        load(write(tmp_path, "a.toml", 'extends = "nowhere"\n'))
    with pytest.raises(InvalidData, match="there is no target file"):
        load(write(tmp_path, "a.toml", 'extends = "nowhere.toml"\n'))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('name = "t"\ncolour = "red"\n[runtime]\nname = "fake"\n', "colour"),
        ('name = "t"\n[runtime]\nname = "fake"\nthread = 1\n', "runtime.thread"),
        ('name = "t"\n[runtime]\nname = "fake"\nthreads = 0\n', "runtime.threads"),
        ('name = "t"\nbatch = 0\n[runtime]\nname = "fake"\n', "batch"),
        ('name = "t"\n', "runtime"),
        ('[runtime]\nname = "fake"\n', "name"),
        ('name = "t"\n[runtime]\nname = "fake"\n[hardware.ram]\nvalue = 1\n', "hardware.ram.source"),
    ],
)
def test_a_file_that_breaks_a_rule_names_the_field(tmp_path: Path, text: str, field: str) -> None:
    path = write(tmp_path, "t.toml", text)
    with pytest.raises(InvalidData) as caught:
        load(path)
    assert f": {field}: " in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "content", [b"name = ", b'name = "\xff"\n', b"\x00", b"[runtime\n", b'name = "a"\nname = "b"\n']
)
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidData, match="is not TOML"):
        load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="there is no target file"):
        load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../x", "/etc/x", "a/b", "a\\b", "a b", "-a", ".a", "a\0b", "a\nb", "a\n", "é", "a" * 101],
)
def test_a_name_that_is_none_is_refused_wherever_it_stands(name: str) -> None:
    plain = {"name": "t", "runtime": {"name": "fake"}}
    for changed in (
        {**plain, "name": name},
        {**plain, "runtime": {"name": name}},
        {**plain, "energy": name},
        {**plain, "access": {"transport": name}},
    ):
        with pytest.raises(InvalidData):
            from_plain(changed)


@pytest.mark.parametrize("address", ["-oProxyCommand=x", "a b", "a\nb", "a\0", "é" * 301])
def test_an_address_that_would_be_an_option_is_refused(address: str) -> None:
    with pytest.raises(InvalidData, match=r"access\.address"):
        from_plain({"name": "t", "runtime": {"name": "fake"}, "access": {"address": address}})


def test_a_long_chain_of_files_is_refused(tmp_path: Path) -> None:
    for number in range(1000):
        write(tmp_path, f"{number}.toml", f'extends = "{number + 1}.toml"\n')
    write(tmp_path, "1000.toml", 'name = "t"\n[runtime]\nname = "fake"\n')
    with pytest.raises(InvalidData, match="extend each other"):
        load(tmp_path / "0.toml")
    assert load(tmp_path / "993.toml").name == "t"
    with pytest.raises(InvalidData, match="extends must be a text"):
        load(write(tmp_path, "list.toml", 'extends = ["a.toml"]\n'))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (2 << 20))
    for name in ("pipe", "folder", "zero", "loop", "large", "x" * 300, "nul\0"):
        with pytest.raises(InvalidData):
            load(tmp_path / f"{name}.toml")


def test_plain_data_that_breaks_a_rule_is_refused() -> None:
    with pytest.raises(InvalidData):
        from_plain({"name": "t"})


def test_targets_on_one_device_share_its_lock() -> None:
    assert load("local-onnxruntime").device_id == load("local-onnxruntime-2t").device_id == "local"
    board = Target(name="b", access=Access(transport="ssh", address="pi@board"), runtime=RuntimeChoice(name="fake"))
    assert board.device_id == "ssh:pi@board"


def test_a_target_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("fake").batch = 2  # type: ignore[misc]

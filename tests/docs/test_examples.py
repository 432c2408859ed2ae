"""What the pages show is run, what they link to exists, and what they list is complete.

Conventions of the pages, by fence and by the comment on the line before it:

- a `python` block is executed; the blocks of a page share one namespace and one temporary folder;
- in a `console` block each line that begins with `$ hwnas` is run; what stands below it is its standard output, where
  `...` stands for anything;
- `<!-- file: NAME -->` writes the block into that folder instead;
- `<!-- exit: 1 -->` says that a command ends with that code instead of 0;
- `<!-- not run: REASON -->` leaves a block alone.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command

import device_profiles
from benchmarks import runtime_table
from device_profiles.errors import HwnasError
from hwnas_cli.app import app, main
from nas.gradient import parts
from profiler import runtimes

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PACKAGES = ("device_profiles", "profiler", "predictors", "nas", "hwnas_cli")
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
#: These take long, and what they show is tested elsewhere, too.
SLOW = {
    "docs/how-to/add-a-predictor.md",
    "docs/how-to/add-a-strategy.md",
    "docs/how-to/compare-two-measurements.md",
    "docs/how-to/measure-your-own-model.md",
    "docs/how-to/search-under-noise.md",
    "docs/how-to/search-your-own-text.md",
    "docs/reference/predictors/bayesian-linear.md",
    "docs/reference/predictors/differentiable.md",
    "docs/reference/predictors/graph-network.md",
    "docs/reference/predictors/lightgbm.md",
    "docs/reference/predictors/linear.md",
    "docs/reference/predictors/roofline.md",
    "docs/reference/predictors/simulation.md",
    "docs/tutorials/first-search.md",
    "docs/tutorials/from-a-supernet-to-a-phone.md",
    "docs/tutorials/your-own-space.md",
}
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

_FENCE = re.compile(r"^```(\w*)\s*$")
_MARK = re.compile(r"^<!-- (not run|file|exit): (.+?) -->\s*$")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, its first line, and the comment before it."""

    language: str
    text: str
    line: int
    mark: str
    said: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    opened, language = 0, ""
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if not opened:
            opened, language = number, fence.group(1)
            continue
        mark = _MARK.match(lines[opened - 2]) if opened > 1 else None
        kind, said = mark.groups() if mark else ("", "")
        yield Block(language, "\n".join(lines[opened : number - 1]) + "\n", opened + 1, kind, said)
        opened = 0
    assert not opened, f"{page}:{opened}: this fence is not closed"


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a console block with the output that is shown for it; a backslash continues a line."""
    text = block.text.replace("\\\n", " ")
    for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE):
        command, _, output = part.partition("\n")
        if command.startswith("$ hwnas "):
            yield command.removeprefix("$ hwnas "), output.strip("\n")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def registries(monkeypatch):
    """What a page registers is gone after it."""
    kinds = (
        "profiler.runtimes",
        "predictors.models",
        "nas.spaces",
        "nas.strategies",
        "nas.evaluators",
        "nas.gradient",
        "predictors.tables",
        "predictors.graphs",
        "nas.weights.data",
        "nas.weights.trainers",
    )
    for kind in kinds:
        registry = importlib.import_module(kind).REGISTRY
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(parts.SAMPLERS, "_registered", dict(parts.SAMPLERS._registered))


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=name(page), marks=[pytest.mark.slow] if name(page) in SLOW else []) for page in PAGES],
)
def test_what_a_page_shows_works(page, tmp_path, monkeypatch, capsys, registries):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        if block.mark == "not run":
            continue
        if block.mark == "file":
            Path(block.said).parent.mkdir(parents=True, exist_ok=True)
            Path(block.said).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            # Padded, so that a traceback shows the line of the page.
            padded = "\n" * (block.line - 1) + block.text
            exec(compile(padded, str(page), "exec", dont_inherit=True), namespace)
        elif block.language == "console":
            for command, shown in commands(block):
                run(command, shown, int(block.said) if block.mark == "exit" else 0, where, capsys)


def run(command: str, shown: str, code: int, where: str, capsys) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    out, err = capsys.readouterr()
    assert int(ended.value.code or 0) == code, f"{where}: hwnas {command} ended with {ended.value.code}: {out}{err}"
    if shown:
        same = doctest.OutputChecker().check_output(shown + "\n", out, LOOSE)
        assert same, f"{where}: hwnas {command} printed\n{out}\nand the page shows\n{shown}"


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in _LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}, and there is no such heading"


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as the usual renderers make them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_the_index_has_every_page():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = {(DOCS / link).resolve() for link in _LINK.findall(index)}
    missing = [name(page) for page in PAGES[1:] if page not in linked and page != DOCS / "README.md"]
    assert not missing, f"docs/README.md does not list {missing}"


def modules() -> list[str]:
    found = ["hwnas"]
    for package in PACKAGES:
        place = importlib.import_module(package)
        found += [package, *(m.name for m in pkgutil.walk_packages(place.__path__, f"{package}."))]
    # Importing the start of the command takes over interrupts, of the tests as well; scripts of converters are run in
    # environments of their own.
    return [m for m in found if not m.endswith(("__main__", "hwnas_cli.start")) and "._converters." not in m]


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in modules() for test in finder.find(importlib.import_module(module), module)]
    return [test for test in found if test.examples]


EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_in_docstrings(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(example, out=said.append, clear_globs=False)
    assert runner.failures == 0, "".join(said)


def test_packages_open_with_an_example():
    have = {example.name for example in EXAMPLES}
    assert {"hwnas", "device_profiles", "profiler", "predictors", "nas"} <= have


def command_tree(command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Each command by its full name, with its options."""
    inner = getattr(command, "commands", None)
    if inner:
        for part, child in inner.items():
            yield from command_tree(child, (*path, part))
        return
    options = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    yield " ".join(path), [option for option in options if option.startswith("-")]


def section(text: str, head: str) -> str:
    """What stands below a heading, up to the next of its level or above; empty if there is no such heading."""
    match = re.search(rf"^(#+) {re.escape(head)}\s*$", text, flags=re.MULTILINE)
    if match is None:
        return ""
    rest = text[match.end() :]
    following = re.search(rf"^#{{1,{len(match.group(1))}}} ", rest, flags=re.MULTILINE)
    return rest[: following.start()] if following else rest


def test_the_reference_of_commands_is_complete():
    text = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    for command, options in command_tree(get_command(app)):
        below = section(text, f"hwnas {command}")
        assert below, f"commands.md has no section 'hwnas {command}'"
        missing = [o for o in options if o not in ("--json", "-h", "--help") and f"`{o}" not in below]
        assert not missing, f"commands.md, hwnas {command}: {missing} are missing"
    assert all(f"`{common}`" in text for common in ("--json", "-h", "--help"))


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_the_reference_of_python_names_what_is_public(package):
    below = section((DOCS / "reference" / "python.md").read_text(encoding="utf-8"), package)
    missing = [public for public in importlib.import_module(package).__all__ if not re.search(rf"`{public}\b", below)]
    assert not missing, f"python.md, {package}: {missing} are missing"


def test_the_reference_of_targets_is_complete():
    text = (DOCS / "reference" / "targets.md").read_text(encoding="utf-8")
    assert all(f"| `{target}` |" in text for target in device_profiles.names())
    assert all(f"| `{runtime}` |" in text for runtime in runtimes.names())
    assert runtime_table.table() in text, "python -m benchmarks.runtime_table"


def every_error(kind: type[HwnasError] = HwnasError) -> Iterator[type[HwnasError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every_error(child)


def test_the_reference_of_errors_is_complete():
    for module in modules():
        importlib.import_module(module)
    lines = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8").splitlines()
    own = {kind for kind in every_error() if kind.__module__.partition(".")[0] in PACKAGES}
    for kind in sorted(own, key=lambda kind: kind.__name__):
        row = next((line for line in lines if line.startswith(f"| `{kind.__name__}` ")), "")
        assert row.split("|")[2:3] == [f" {kind.exit_code} "], f"errors.md: {kind.__name__} ends with {kind.exit_code}"

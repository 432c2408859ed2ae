"""The house: no circles, files and functions that can be read in one go, docstrings that state shapes."""

import ast
import graphlib
import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("device_profiles", "profiler", "predictors", "nas", "hwnas_cli")
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
#: Functions that are longer, and why that reads better.
REASONS = {
    "nas/spaces/nasbench201/supernet.py:_supernet_class": "a class of torch, made only where torch is needed",
}


def files():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def functions(path, *, inner=True):
    """Name and node of each function of a file, methods too; those inside of functions are read where they are."""
    stack = [("", ast.parse(path.read_text()))]
    while stack:
        prefix, node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not inner:
            continue
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            name = f"{prefix}.{child.name}".lstrip(".") if named else prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield name, child
            stack.append((name, child))


def lines_of_code(node):
    """Lines of a function's body; what it takes, and its docstring, are read apart."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return node.end_lineno - body[0].lineno + 1 if body else 0


def test_no_module_imports_itself_by_way_of_others():
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    order = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(order).prepare()  # raises CycleError, which names them


def test_files_can_be_read_in_one_go():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_functions_can_be_read_in_one_go():
    found = {
        f"{path.relative_to(ROOT)}:{name}": lines_of_code(node) for path in files() for name, node in functions(path)
    }
    assert {name: length for name, length in found.items() if length > LONGEST_FUNCTION and name not in REASONS} == {}
    assert [name for name in REASONS if found.get(name, 0) <= LONGEST_FUNCTION] == [], "no longer long"


#: What protocols say once of all that implement them: `Strategy`, `Space`, `Evaluator`.
SAID_BY_PROTOCOLS = {
    *("ask", "tell", "evaluate", "again", "network", "test_accuracy", "claims", "open"),
    *("assembly", "format", "parse", "to_module", "canonical", "is_valid", "features", "active"),
}
ARRAYS = re.compile(r"\b(NDArray|ndarray|Archs|Costs|Floats|Genomes|Tensor\[)")
SHAPE = re.compile(r"\([<=a-zA-Z0-9_ +*-]+(,[a-z0-9_ +*.-]*)*\)|\bscalar\b|\bshape\b|\bas in\b|\blike\b|\bsee `")


def takes_arrays(node):
    notes = [ast.unparse(one.annotation) for one in (*node.args.args, *node.args.kwonlyargs) if one.annotation]
    notes += [ast.unparse(node.returns)] if node.returns else []
    return any(ARRAYS.search(note) for note in notes)


@pytest.mark.parametrize("package", ["predictors", "nas"])
def test_public_functions_of_arrays_state_their_shapes(package):
    silent = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for name, node in functions(path, inner=False):
            parts = (*path.relative_to(ROOT).with_suffix("").parts, *name.split("."))
            said = any(part.startswith("_") for part in parts) or parts[-1] in SAID_BY_PROTOCOLS
            asked = takes_arrays(node) and (path.name == "protocol.py" or not said)
            if asked and not SHAPE.search(ast.get_docstring(node) or ""):
                silent.append(f"{path.relative_to(ROOT)}:{name}")
    assert silent == []

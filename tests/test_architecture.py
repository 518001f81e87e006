"""The shape of the code, held by tests: sizes, layers, docstrings, and imports that do nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("agent", "connectors", "hub")
MAX_FILE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 60
MAX_PORT_METHODS: Final = 8

FILE_WAIVERS: Final[dict[str, str]] = {}
"""path → why it may be longer."""

FUNCTION_WAIVERS: Final[dict[str, str]] = {}
"""path:function → why it may be longer."""

UNFINISHED: Final = ("TODO", "FIXME", "XXX", "pragma: no cover")
BANNED_WORDS: Final = {
    **dict.fromkeys((*PACKAGES, "script", "bench"), (*UNFINISHED, "raise NotImplementedError")),
    "tests": UNFINISHED,  # a contract suite may leave a method to those who run it
}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def each(path: Path) -> str:
    return str(path.relative_to(ROOT))


def every_module() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", modules(), ids=each)


# -- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*modules(), *sorted((ROOT / "script").rglob("*.py"))], ids=each)
def test_a_file_holds_one_idea(path: Path) -> None:
    """No file is longer than 400 lines, waivers apart; a waiver that is no longer needed is removed."""
    lines = len(path.read_text("utf-8").splitlines())
    if each(path) in FILE_WAIVERS:
        assert lines > MAX_FILE_LINES, "this waiver is no longer needed"
    else:
        assert lines <= MAX_FILE_LINES


@every_module()
def test_a_function_fits_on_a_screen(path: Path) -> None:
    """No function is longer than 60 lines, waivers apart; a waiver that is no longer needed is removed."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            waived = f"{each(path)}:{node.name}" in FUNCTION_WAIVERS
            assert waived == (lines > MAX_FUNCTION_LINES), f"{node.name} has {lines} lines, waived: {waived}"


def test_waivers_name_what_exists() -> None:
    """A waiver for a file or function that is gone is removed."""
    for path in FILE_WAIVERS:
        assert (ROOT / path).exists(), path
    for place in FUNCTION_WAIVERS:
        path, name = place.split(":")
        assert name in {node.name for node in ast.walk(tree(ROOT / path)) if isinstance(node, ast.FunctionDef)}, place


# -- words -----------------------------------------------------------------------------------------------------------


@every_module()
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """Every module begins with a docstring."""
    assert ast.get_docstring(tree(path))


@every_module()
def test_a_port_states_its_contract(path: Path) -> None:
    """Every public method of every Protocol has a docstring, and no port has more than eight methods."""
    for port in protocols(tree(path)):
        methods = [node for node in port.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        for method in methods:
            assert ast.get_docstring(method), f"{port.name}.{method.name}"
        assert len(methods) <= MAX_PORT_METHODS, port.name


def protocols(module: ast.Module) -> Iterator[ast.ClassDef]:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split("[")[0] == "Protocol" for base in node.bases):
            yield node


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=each)
def test_a_test_states_the_behaviour_it_shows(path: Path) -> None:
    """Every test has a docstring and a return annotation, and no test is skipped."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), node.name
            assert node.returns is not None, node.name
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.importorskip"}


@pytest.mark.parametrize("folder", BANNED_WORDS)
def test_nothing_is_left_for_later(folder: str) -> None:
    """No file of ours says that something is still to be done."""
    found = [
        f"{each(path)}: {word}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != Path(__file__)
        for word in BANNED_WORDS[folder]
        if word in path.read_text("utf-8")
    ]
    assert found == []


def test_test_files_have_names_of_their_own() -> None:
    """No two test files share a name, so a failure names one place."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_config_holds_files_for_operators_only() -> None:
    """There is no code in config/."""
    assert list((ROOT / "config").rglob("*.py")) == []


# -- imports ---------------------------------------------------------------------------------------------------------


def imports_of(path: Path, known: frozenset[str]) -> set[str]:
    """Return the modules of ours that a module needs at its own import, `if TYPE_CHECKING` and functions left aside."""
    own = name_of(path)
    wanted: set[str] = set()
    for node in module_level(tree(path).body):
        if isinstance(node, ast.Import):
            wanted.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            wanted.update(
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else node.module for alias in node.names
            )
    return {name for name in wanted if name in known and name != own}


def module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from module_level(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from module_level([part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt)])
        elif isinstance(node, ast.ClassDef):
            yield from module_level(node.body)
        else:
            yield node


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return one cycle of a graph, empty when there is none (depth-first search)."""
    state: dict[str, bool] = {}  # False while on the path, True when done
    path: list[str] = []

    def visit(name: str) -> list[str]:
        state[name] = False
        path.append(name)
        for other in sorted(graph[name]):
            if state.get(other) is False:
                return [*path[path.index(other) :], other]
            if other not in state and (cycle := visit(other)):
                return cycle
        state[name] = True
        path.pop()
        return []

    return next((cycle for name in sorted(graph) if name not in state and (cycle := visit(name))), [])


def test_the_search_finds_a_cycle() -> None:
    """The search for cycles finds one where there is one, and none in a diamond."""
    cycle = find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}})
    assert cycle[0] == cycle[-1]
    assert set(pairwise(cycle)) == {("b", "c"), ("c", "b")}
    assert find_cycle({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


def test_no_module_needs_itself() -> None:
    """There is no cycle among module-level imports."""
    known = frozenset(name_of(path) for path in modules())
    assert find_cycle({name_of(path): imports_of(path, known) for path in modules()}) == []


def test_imports_point_down() -> None:
    """The contracts in pyproject.toml hold."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


RUN_BY_ALEMBIC: Final = ".migrations.env"  # a program that Alembic runs inside a connection, not a module

WATCHED_IMPORT: Final = textwrap.dedent("""
    import importlib, json, os, sys, threading

    told = []

    def watch(event, arguments):
        if event == "open":
            path, _mode, flags = arguments
            path = os.path.abspath(os.fsdecode(path)) if not isinstance(path, int) else "a descriptor"
            if flags & os.O_ACCMODE != os.O_RDONLY:
                told.append(f"opens {path} for writing")
            elif path.startswith(ROOT) and not path.endswith((".py", ".pyc")) and "/.venv/" not in path:
                told.append(f"reads {path}")
        elif event in FORBIDDEN or event.startswith(("socket.connect", "socket.bind", "sqlite3.connect", "subprocess.")):
            told.append(event)

    ROOT, FORBIDDEN = sys.argv[1] + "/", {"os.system", "os.fork", "os.mkdir", "os.remove", "os.rename", "signal.signal"}
    before = threading.active_count()
    sys.addaudithook(watch)
    answer = {}
    for name in sys.argv[2:]:
        told.clear()
        importlib.import_module(name)
        if threading.active_count() != before:
            told.append("starts a thread")
        if told:
            answer[name] = list(told)
    print(json.dumps(answer))
""")


def watch_imports(root: Path, *names: str) -> dict[str, list[str]]:
    """Import modules in a fresh interpreter and return what each did besides."""
    command = [sys.executable, "-B", "-c", WATCHED_IMPORT, str(root), *names]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def test_importing_does_nothing() -> None:
    """Importing every module opens no socket and no file of ours, writes nothing, runs nothing and starts no thread."""
    names = [name_of(path) for path in modules()]
    assert watch_imports(ROOT, *(name for name in names if not name.endswith(RUN_BY_ALEMBIC))) == {}


def test_the_watch_sees_what_an_import_does(tmp_path: Path) -> None:
    """An import that writes, binds, reads its own folder or starts a thread is caught."""
    bad = {
        "writes": "open('out.txt', 'w').close()",
        "binds": "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.close()",
        "reads": "open('bad_reads.txt').close()",
        "threads": "import threading\nt = threading.Thread(target=threading.Event().wait, daemon=True)\nt.start()",
        "runs": "import subprocess\nsubprocess.run(['true'])",
        "connects": "import sqlite3\nsqlite3.connect(':memory:').close()",
    }
    for name, code in bad.items():
        (tmp_path / f"bad_{name}.py").write_text(code)
    (tmp_path / "bad_reads.txt").touch()
    (tmp_path / "good.py").write_text("import json")
    for name in bad:
        assert list(watch_imports(tmp_path, f"bad_{name}")) == [f"bad_{name}"], name
    assert watch_imports(tmp_path, "good") == {}

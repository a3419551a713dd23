"""No state hides in a module: what a module holds is constant from its import on."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import PACKAGE, python_files, shown, syntax

CONTAINERS = {"list", "dict", "set", "defaultdict", "Counter", "deque", "OrderedDict", "bytearray"}
CHANGING = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove",
    "setdefault", "sort", "update",
}


def module_containers(tree: ast.Module) -> set[str]:
    """Names that the module binds to something that could change."""
    names = set()
    for node in tree.body:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        if is_container(value):
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def is_container(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in CONTAINERS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def changes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where a function changes what its module holds."""
    held = module_containers(tree)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                what = change(node, held)
                if what:
                    yield node.lineno, what  # type: ignore[attr-defined]


def change(node: ast.AST, held: set[str]) -> str:
    """In words, if it is one."""
    if isinstance(node, ast.Global):
        return f"global {', '.join(node.names)}"
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return f"{node.value.id}[...]" if isinstance(node.value, ast.Name) and node.value.id in held else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        owner = node.func.value
        return f"{owner.id}.{node.func.attr}()" if isinstance(owner, ast.Name) and owner.id in held else ""
    return ""


def found(path: Path) -> list[str]:
    return [f"{shown(path)}:{line}: {what}" for line, what in changes(syntax(path))]


def test_no_function_changes_what_its_module_holds() -> None:
    hits = [hit for path in python_files(PACKAGE) for hit in found(path)]
    assert not hits, hits


def test_the_rule_sees_what_it_forbids() -> None:
    held = "A: dict[str, int] = {}\nB = []\nC = 0\n"
    code = held + "def f():\n    global C\n    A['x'] = 1\n    B.append(2)\n    del A['x']\n"
    assert len(list(changes(ast.parse(code)))) == 4

"""Small mistakes put into a module: one at a time, each an AST that compiles.

What is changed: comparisons, arithmetic, numbers and other constants, and/or/not, what is returned, and calls and
raises for their effect, which are left out. What is not: annotations, decorators, docstrings, words of messages.
"""

import ast
from collections.abc import Iterator
from copy import copy, deepcopy
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
UNTOUCHED_FIELDS = frozenset(("annotation", "returns", "decorator_list", "bases", "type_comment", "exc", "msg"))


class Mutant(NamedTuple):
    """`where`: the function; `line` of the file; `now`: the statement as it reads with the mistake in it."""

    where: str
    line: int
    now: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse(source)
    for where, statement, parent, field, at, child in list(_places(tree, "", None)):
        for other in _others(child):
            _put(parent, field, at, ast.copy_location(other, child))
            now = _shown(other if statement is child else statement)
            yield Mutant(where, child.lineno, now, ast.fix_missing_locations(deepcopy(tree)))
            _put(parent, field, at, child)


_Node = ast.expr | ast.stmt
_Place = tuple[str, ast.stmt, ast.AST, str, int | None, _Node]


def _put(parent: ast.AST, field: str, at: int | None, child: ast.AST) -> None:
    if at is None:
        setattr(parent, field, child)
    else:
        getattr(parent, field)[at] = child


def _places(parent: ast.AST, where: str, statement: ast.stmt | None) -> Iterator[_Place]:
    for field, value in ast.iter_fields(parent):
        if field in UNTOUCHED_FIELDS:
            continue
        for at, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if not isinstance(child, ast.AST) or _is_left_alone(child):
                continue
            own = child if isinstance(child, ast.stmt) else statement
            name = f"{where}.{child.name}" if isinstance(child, ast.FunctionDef | ast.ClassDef) else where
            if own is not None and isinstance(child, _Node):
                yield name.lstrip("."), own, parent, field, at, child
            yield from _places(child, name, own)


def _is_left_alone(node: ast.AST) -> bool:
    """Docstrings, names of types, and words."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assign):
        alias = isinstance(node.value, ast.BinOp) and isinstance(node.value.op, ast.BitOr)
        return alias and isinstance(node.targets[0], ast.Name) and node.targets[0].id[0].isupper()
    return isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom)


def _others(node: _Node) -> Iterator[_Node]:
    """What could stand there by mistake."""
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                yield _with(node, ops=[*node.ops[:at], other(), *node.ops[at + 1 :]])
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        yield _with(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for at in range(len(node.values)):
            rest = [*node.values[:at], *node.values[at + 1 :]]
            yield rest[0] if len(rest) == 1 else _with(node, values=rest)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from (ast.Constant(other) for other in _constants(node.value))
    elif isinstance(node, ast.Return) and node.value is not None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            yield _with(node, value=ast.Constant(None))
    elif isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield ast.Pass()
    elif isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))


def _with(node: _Node, **fields: object) -> _Node:
    changed = copy(node)
    for field, value in fields.items():
        setattr(changed, field, value)
    return changed


def _constants(value: object) -> tuple[object, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1, value - 1) if value > 1 else (value + 1,)
    return (b"\1",) if value == b"" else ()


def _shown(statement: _Node) -> str:
    """A statement in one line; of one with a body, its head."""
    return " ".join(ast.unparse(statement).splitlines()[0].split())

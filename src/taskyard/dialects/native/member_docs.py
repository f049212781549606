"""The texts below the members of wire structs, for the OpenAPI description.

msgspec describes a struct by its docstring; what stands below its members is in the source only.
"""

import ast
import inspect
from functools import cache
from typing import Any

import msgspec


def structs_in(kinds: list[Any]) -> dict[str, type[msgspec.Struct]]:
    """Every struct that occurs in these types, by name."""
    found: dict[str, type[msgspec.Struct]] = {}

    def visit(value: Any) -> None:
        if isinstance(value, msgspec.inspect.StructType):
            if value.cls.__name__ not in found:
                found[value.cls.__name__] = value.cls
                visit(tuple(field.type for field in value.fields))
        elif isinstance(value, msgspec.inspect.Type):
            visit(tuple(getattr(value, name) for name in value.__struct_fields__))
        elif isinstance(value, tuple):
            for one in value:
                visit(one)

    visit(msgspec.inspect.multi_type_info(kinds))
    return found


def member_docs(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The text below each member, by name; those of its bases as well."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            docs |= _module_docs(base.__module__).get(base.__name__, {})
    return docs


@cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    """The texts of a module's classes; none where the source is not there."""
    try:
        tree = ast.parse(inspect.getsource(__import__(module, fromlist=["_"])))
    except (OSError, TypeError):
        return {}
    return {node.name: _class_docs(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _class_docs(node: ast.ClassDef) -> dict[str, str]:
    docs = {}
    for member, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(member, ast.AnnAssign)
            and isinstance(member.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            docs[member.target.id] = inspect.cleandoc(text.value.value)
    return docs

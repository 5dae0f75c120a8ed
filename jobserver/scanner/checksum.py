"""A job's checksum: changes with its code, not with comments, blank lines, layout, or other jobs in the same file.

The tree is written down by our own rules, not `ast.dump`, whose text differs between Python versions: a server on
another Python must not see another job, for a new checksum resets what people have set in `jobConfigs`.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from hashlib import sha256


def checksum(tree: ast.Module, *, without: Collection[str] = ()) -> str:
    """SHA-256, in hex, of a module less its top-level classes named in `without`."""
    digest = sha256()
    kept = [node for node in tree.body if not (isinstance(node, ast.ClassDef) and node.name in without)]
    for token in _tokens(kept):
        digest.update(token.encode("ascii"))
    return digest.hexdigest()


def _tokens(root: object) -> Iterator[str]:
    # A stack instead of recursion: a long `1 + 1 + 1 …` is a tree deeper than Python may recurse.
    waiting: list[object] = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _Text):
            yield item.text
        elif isinstance(item, ast.AST):
            yield f"{type(item).__name__}("
            waiting.append(_Text(")"))
            waiting.extend(reversed(list(_parts(item))))
        elif isinstance(item, list):
            yield "["
            waiting.append(_Text("]"))
            waiting.extend(reversed(item))
        else:
            yield _literal(item)


def _parts(node: ast.AST) -> Iterator[object]:
    # Empty fields are left out, so that a field which a later Python adds changes nothing where it is not used.
    for name, value in ast.iter_fields(node):
        if (value is not None and value != []) or (isinstance(node, ast.Constant) and name == "value"):
            yield _Text(f"{name}=")
            yield value


def _literal(value: object) -> str:
    # hex: the decimal text of a very large int is refused by Python.
    text = hex(value) if type(value) is int else ascii(value)
    return f"{type(value).__name__}:{text};"


class _Text:
    """A piece of output that waits its turn on the stack."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

"""How the tests are written: what keeps them true when the product changes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
CONSTANT: Final = re.compile(r"_?[A-Z][A-Z0-9_]*")


def replaced(tree: ast.AST) -> Iterator[str]:
    """The names that a test file replaces in something else; "?" for one that is not written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (each.attr for each in targets if isinstance(each, ast.Attribute) and not _is_own(each))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            name = node.args[1] if len(node.args) > 2 else node.args[0]
            yield name.value.rpartition(".")[2] if isinstance(name, ast.Constant) else "?"


def _is_own(target: ast.Attribute) -> bool:
    return isinstance(target.value, ast.Name) and target.value.id in ("self", "cls")


def constants(text: str) -> list[str]:
    return [name for name in replaced(ast.parse(text)) if name == "?" or CONSTANT.fullmatch(name)]


def test_tests_pass_timings_in_instead_of_replacing_the_products_constants() -> None:
    """A renamed constant breaks tests of what works; or the product no longer reads it, and a test proves nothing."""
    found = {(path.name, name) for path in TESTS.rglob("*.py") for name in constants(path.read_text())}
    assert not found, "give the product a parameter with a default, such as runtime/patience.py"


def test_each_way_to_replace_a_constant_is_seen() -> None:
    """The test above passes although a test replaces a constant."""
    assert constants('monkeypatch.setattr(recovery, "_PATIENCE", 0.0)') == ["_PATIENCE"]
    assert constants('monkeypatch.setattr("v2t_stream.broker.connect._ANSWERS", 1)') == ["_ANSWERS"]
    assert constants('with monkeypatch.context() as patched:\n    patched.setattr(requests, "AGAIN", 1)') == ["AGAIN"]
    assert constants("monkeypatch.setattr(recovery, name, seconds)") == ["?"]
    assert constants("recovery._JOBS = 3\nrecovery.JOBS: int = 3\nrecovery.JOBS += 1") == ["_JOBS", "JOBS", "JOBS"]
    assert constants('self.LIMIT = 3\nmonkeypatch.setattr(store, "put", late)\nclient._closed = True') == []

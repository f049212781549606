"""Named queries: what the code asks for exists in every database's words."""

import ast
from importlib import resources
from pathlib import Path

import pytest

import taskyard.store.sql
from taskyard.store.sql.queries import queries

PACKAGES = ["taskyard.store.sqlite"]
FILES = {name.partition(".")[0] for name in queries("taskyard.store.sqlite")}
"""What the first half of a name can be."""


def names_in_code() -> set[str]:
    """Every text in the store's code that looks like the name of a query."""
    found = set()
    for path in Path(taskyard.store.sql.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                file, _, name = node.value.partition(".")
                if file in FILES and name.isidentifier():
                    found.add(node.value)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_in_the_code_is_a_query(package: str) -> None:
    """A misspelt name would be found only when somebody needs it."""
    used = names_in_code()
    assert len(used) > 150
    assert used - queries(package).keys() == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_database_replaces_only_what_exists(package: str) -> None:
    """What only one database has is asked for by its own driver."""
    own = {entry.name for entry in (resources.files(package) / "queries").iterdir()}
    assert own
    assert own <= {f"{file}.sql" for file in FILES}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_in_braces_is_left(package: str) -> None:
    """Columns and other queries are filled in; those of a table with an alias carry that."""
    named = queries(package)
    assert not [name for name, sql in named.items() if "{" in sql or "}" in sql]
    assert "t.seq, t.id, t.workspace, t.spec" in named["jobs.executions_of_job"]
    assert named["endpoints.call_by_id"].endswith("WHERE c.id = :id")

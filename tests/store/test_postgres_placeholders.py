"""Placeholders of queries, numbered."""

import pytest

from taskyard.store.postgres.placeholders import numbered


@pytest.mark.parametrize(
    ("sql", "expected", "names"),
    [
        ("SELECT 1", "SELECT 1", None),
        ("a = ? AND b = ?", "a = $1 AND b = $2", None),
        ("a = :one AND b = :two AND c = :one", "a = $1 AND b = $2 AND c = $1", ("one", "two")),
        ("CAST(:x AS text) || ':y?'", "CAST($1 AS text) || ':y?'", ("x",)),
        ("?::bigint[] || 'it''s ?'", "$1::bigint[] || 'it''s ?'", None),
        ('"a:b" = :c', '"a:b" = $1', ("c",)),
        ("a -- what? :no\n= :yes", "a -- what? :no\n= $1", ("yes",)),
    ],
)
def test_values_are_numbered(sql: str, expected: str, names: tuple[str, ...] | None) -> None:
    """But for texts, quoted names, comments and casts."""
    found = numbered(sql)
    assert found.sql == expected
    assert found.names == names


def test_values_come_in_the_order_of_their_numbers() -> None:
    """By name or in order."""
    assert numbered(":b + :a + :b").values({"a": 1, "b": 2, "other": 3}) == [2, 1]
    assert numbered("? + ?").values((1, 2)) == (1, 2)


def test_one_query_has_one_kind_of_them() -> None:
    """Otherwise nobody knows which is which."""
    with pytest.raises(ValueError, match="with names and without"):
        numbered("? + :a")

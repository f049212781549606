"""What the database itself saw: when terms began, and when placements were stored.

Triggers note both, and PostgreSQL keeps the moments of their commits. Ids of attempts begin with
the millisecond at which a leader decided on them.
"""

from collections.abc import Callable
from typing import Any, Final

Query = Callable[[str], list[tuple[Any, ...]]]

_NOTES: Final = """
CREATE TABLE public.terms (term bigint);
CREATE TABLE public.placed (attempt text);
CREATE TABLE public.submitted (task_seq bigint);
CREATE FUNCTION public.note_term() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.terms VALUES (NEW.term); RETURN NULL; END';
CREATE FUNCTION public.note_placed() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.placed VALUES (NEW.id); RETURN NULL; END';
CREATE FUNCTION public.note_submitted() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.submitted VALUES (NEW.seq); RETURN NULL; END';
CREATE TRIGGER note AFTER UPDATE ON taskyard.leadership FOR EACH ROW
    WHEN (NEW.term <> OLD.term) EXECUTE FUNCTION public.note_term();
CREATE TRIGGER note AFTER INSERT ON taskyard.attempts FOR EACH ROW
    EXECUTE FUNCTION public.note_placed();
CREATE TRIGGER note AFTER INSERT ON taskyard.tasks FOR EACH ROW
    WHEN (NEW.group_name LIKE 'gx/%') EXECUTE FUNCTION public.note_submitted();
"""
SETTINGS: Final = {"track_commit_timestamp": "on"}
"""What the server needs for it."""
_MADE = (
    "to_timestamp(('x' || substr(replace({}, '-', ''), 1, 12))::bit(48)::bigint / 1000.0)"
    " + interval '1 ms'"
)
"""When a UUID of version 7 was made, at the latest."""
OVERTAKING_S: Final = 8.0
"""A leader that cannot ask the database for some seconds gives room to those it has heard of. What
was stored so long ago is known to every leader."""


def gather(run: Query) -> None:
    """Have it noted from now on; ``run`` runs statements in the database."""
    run(_NOTES)


def of_deposed_leaders(rows: Query) -> list[tuple[Any, ...]]:
    """Attempts that one leader decided on and that were stored after the next term had begun."""
    return rows(
        "SELECT attempt, term FROM public.placed AS placed JOIN public.terms AS terms"  # noqa: S608 - ours
        " ON pg_xact_commit_timestamp(placed.xmin) > pg_xact_commit_timestamp(terms.xmin)"
        f" AND {_MADE.format('attempt')} < pg_xact_commit_timestamp(terms.xmin)"
    )


def overtaken(rows: Query) -> list[tuple[Any, ...]]:
    """Tasks of a GX workspace, each with a later one that was placed before it, and how many
    seconds before the later one was decided on it was stored.
    """
    return rows(
        "WITH begun AS (SELECT t.seq, t.group_name,"  # noqa: S608 - ours
        " pg_xact_commit_timestamp(submitted.xmin) AS stored,"
        f" {_MADE.format('a.id')} AS decided, pg_xact_commit_timestamp(placed.xmin) AS placed"
        " FROM taskyard.tasks AS t JOIN public.submitted AS submitted ON submitted.task_seq = t.seq"
        " JOIN taskyard.attempts AS a ON a.task_seq = t.seq AND a.number = 1"
        " JOIN public.placed AS placed ON placed.attempt = a.id)"
        " SELECT a.seq, b.seq, extract(epoch FROM b.decided - a.stored)::float FROM begun AS a"
        " JOIN begun AS b ON b.group_name = a.group_name AND b.stored > a.stored"
        " AND b.placed < a.placed AND b.decided > a.stored"
        " AND b.seq > a.seq ORDER BY a.seq, b.seq"
    )

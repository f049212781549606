"""What queries about jobs cost by the planner's word: none walks through all jobs."""

import re
from pathlib import Path

import pytest

from fakes.stores import prepare
from taskyard.store.sql.queries import queries
from taskyard.store.sqlite.database import FILE_NAME, connect

SQL = queries("taskyard.store.sqlite")
NAMES = [name.removeprefix("jobs.") for name in SQL if name.startswith("jobs.")]
WALKS = {
    # One row for each group; asked for by displays only, and never one for each job.
    "job_groups_total": "job_groups",
    "job_groups_page": "job_groups",
    "jobs_total": "job_groups",
    "job_groups_found": "json_each",
    "job_groups_found_total": "json_each",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_query_uses_an_index(tmp_path: Path, name: str) -> None:
    """A scan is of groups, or of what an index leaves over."""
    prepare(tmp_path)
    connection = connect(tmp_path / FILE_NAME)
    try:
        sql = SQL[f"jobs.{name}"]
        values = dict.fromkeys(re.findall(r":([a-z_]+)", sql), 1) | {"words": '["a"]'}
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    finally:
        connection.close()
    for *_, step in plan:
        if step.startswith("SCAN") and "USING" not in step:
            assert WALKS.get(name, "nothing") in step, step
        assert "TEMP B-TREE" not in step or name.startswith("job_groups_found"), step

"""Tasks that wait: in paused groups, and in groups whose one place is taken.

The second kind is the harder one for a scheduler: its tasks are ready, older than whatever is
submitted later, and must be passed over for as long as the group's limit holds.
"""

from benchmarks import load, server
from benchmarks.api import BASE, BATCH, Api, accepted, batch_body

PAUSED = tuple(f"paused-{number}" for number in range(8))
LIMITED = ("limited-0", "limited-1")
NEEDLE = "needle-in-the-haystack"
EVERYBODY = "waiting"
"""A text that is in the name of all the others."""
LABEL = ("tenth", "yes")
CONNECTIONS = 4


def begin(port: int) -> None:
    """Pause and limit the groups, take the places of the limited ones, and lay down the needle."""
    api = Api(port)
    for group in PAUSED:
        api.pause(group)
    for group in LIMITED:
        api.limit(group, 1)
        api.wait_until_running(api.submit({"command": ["sleep", "100000"], "group": group}))
    api.submit({"command": ["true"], "group": PAUSED[0], "name": NEEDLE})
    api.close()


def fill(port: int, count: int) -> None:
    """Submit so many tasks, spread evenly over the groups; every tenth carries the label, which
    fills a page however few tasks wait.

    Raises:
        FigureFailed: a batch was refused.
        ValueError: the count does not divide evenly.
    """
    groups = PAUSED + LIMITED
    each, rest = divmod(count, len(groups))
    if rest:
        raise ValueError(f"{count} tasks do not spread evenly over {len(groups)} groups")
    for group in groups:
        full, last = divmod(each, BATCH)
        if full:
            _submit(port, group, BATCH, full)
        if last:
            _submit(port, group, last, 1)


def _submit(port: int, group: str, size: int, times: int) -> None:
    specs = [
        {"command": ["true"], "group": group, "name": f"{EVERYBODY} {number}"}
        | ({"labels": dict([LABEL])} if number % 10 == 0 else {})
        for number in range(size)
    ]
    message = load.request("POST", f"{BASE}/tasks/batch", server.TOKEN, batch_body(specs))
    accepted(load.generate(port, message, connections=min(CONNECTIONS, times), count=times))

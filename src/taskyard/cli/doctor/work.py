"""As whom commands would run on this machine, and what keeps them from each other."""

from pathlib import Path

from taskyard.cli.doctor.finding import Finding, fail, ok, warn

_WALLS = {
    "users": "each workspace's commands, functions and builds run as a user of its own",
    "sandbox": "commands, functions and builds run in sandboxes",
}


def check_work(data: Path) -> Finding:
    """What a server started by this user, with the settings found here, would do."""
    from taskyard.core.errors import InvalidInput  # noqa: PLC0415 - loads the server's settings
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above
    from taskyard.server.work import warnings_of, work_rules  # noqa: PLC0415 - as above

    try:
        rules = work_rules(Settings.load(None, {"data": data}))
    except InvalidInput as error:
        return fail("isolation", str(error), "Correct the setting; the server would not start.")
    warnings = warnings_of(rules)
    if not warnings:
        return ok("isolation", _WALLS[rules.isolation])
    return warn(
        "isolation",
        "; ".join(warnings),
        "Run the server as root, or install bubblewrap and allow user name spaces; otherwise give"
        " tokens only to those whom you would let work as this user.",
    )


def check_reach(data: Path) -> Finding:
    """Whether users of workspaces can get to what functions are made of."""
    from taskyard.core.errors import InvalidInput  # noqa: PLC0415 - loads the server's settings
    from taskyard.runtimes.function.reachability import closed_places, obstacle_to_reach  # noqa: PLC0415 - loads a runtime
    from taskyard.server.settings import Settings  # noqa: PLC0415 - as above
    from taskyard.server.work import work_rules  # noqa: PLC0415 - as above

    try:
        changes_user = work_rules(Settings.load(None, {"data": data})).changes_user
    except InvalidInput:
        changes_user = False  # That is said by another check.
    closed = closed_places(data.absolute() / "functions") if changes_user else []
    if not closed:
        return ok("reach", "functions can get to all that they need")
    shown = ", ".join(closed)
    obstacle = obstacle_to_reach(closed)
    if obstacle is None:
        return ok("reach", f"closed to users, and shown to functions alone: {shown}")
    return warn(
        "reach",
        f"functions of workspaces cannot get to {shown} ({obstacle})",
        "Install Taskyard and tool chains, and keep the data, where every user may pass, such as"
        " /opt and /var/lib; or let the server mount.",
    )

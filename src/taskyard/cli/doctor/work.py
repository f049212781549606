"""As whom commands would run on this machine, and what keeps them from each other."""

from pathlib import Path

from taskyard.cli.doctor.finding import Finding, fail, ok, warn

_WALLS = {
    "users": "each workspace's commands run as a user of its own",
    "sandbox": "commands run in sandboxes; functions do not",
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

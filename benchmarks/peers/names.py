"""The peers' scripts; the part after the last underscore is the broker."""

PEERS = (
    "celery_redis",
    "rq_redis",
    "dramatiq_redis",
    "huey_redis",
    "taskiq_redis",
    "procrastinate_postgresql",
)

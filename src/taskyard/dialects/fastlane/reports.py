"""Webhooks and mails about executions, in the format of the original."""

import html
import json
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

import structlog

from taskyard.core.jobs import Execution, Job, JobMoment
from taskyard.core.notifications.messages import DeliveryKind, DeliveryPolicy, Message
from taskyard.core.tasks import WebhookEvent
from taskyard.dialects.fastlane.mapping import execution_object
from taskyard.dialects.fastlane.outputs import log_and_error
from taskyard.dialects.fastlane.settings import FastlaneSettings
from taskyard.dialects.fastlane.statuses import exit_code_of, status_of
from taskyard.dialects.fastlane.urls import Urls
from taskyard.ports.jobs import Owed
from taskyard.services.tasks.logs import Logs

REPORTED_BYTES: Final = 256 << 10
"""Bytes of each stream in a message: it is kept for each receiver until the task is forgotten."""
REDIRECTS: Final = 10
REQUEST_S: Final = 1.0
MAIL_S: Final = 30.0
_EVENTS: Final = {
    "starts": WebhookEvent.STARTED,
    "succeeds": WebhookEvent.SUCCEEDED,
    "fails": WebhookEvent.FAILED,
    "finishes": WebhookEvent.FINISHED,
}
_MAILS_FROM: Final = 10_000
"""Positions of mails, apart from those of webhooks."""

log = structlog.get_logger(__name__)


def lists_of(execution: Execution, moment: JobMoment) -> tuple[str, ...]:
    """Which lists are told of a moment."""
    if moment is JobMoment.BEGAN:
        return ("starts",)
    status = status_of(execution)
    if status == "done":
        return ("succeeds", "finishes")
    if status == "timedout":
        return ("finishes",)
    if status == "failed" and exit_code_of(execution) is not None:
        return ("fails", "finishes")
    return ()


class FastlaneReporter:
    """Implements ``ports.jobs.Reporter``."""

    def __init__(self, settings: FastlaneSettings, logs: Logs) -> None:
        self._settings = settings
        self._logs = logs

    async def messages(self, owed: Owed, moment: JobMoment) -> list[Message]:
        """See the port."""
        job, execution = owed.job, owed.execution
        lists = lists_of(execution, moment)
        details = job.definition.details
        if not any((details.get(kind) or {}).get(one) for kind in _KINDS for one in lists):
            return []
        document = await self._document(job, execution)
        body = json.dumps(document, sort_keys=True).encode()
        found = []
        for one in lists:
            found += [*self._webhooks(details.get("webhooks") or {}, one, body)]
            found += [*self._mails(job, execution, one, document)]
        return found

    async def _document(self, job: Job, execution: Execution) -> dict[str, Any]:
        output, error = await log_and_error(self._logs, execution, REPORTED_BYTES)
        document = execution_object(execution, output, error, None)
        document["metadata"]["custom"] = job.definition.details.get("custom", {})
        document["job_id"] = job.key.id
        return document

    def _webhooks(self, hooks: dict[str, Any], one: str, body: bytes) -> Iterator[Message]:
        settings = self._settings
        for position, hook in enumerate(hooks.get(one) or ()):
            url = hook.get("url")
            if not url:
                continue
            yield Message(
                DeliveryKind.PLAIN,
                _EVENTS[one],
                position,
                url,
                body,
                hook.get("headers") or {},
                DeliveryPolicy(
                    retries=max(hook.get("retries") or 0, 0),
                    backoff_min_s=settings.webhook_backoff_min_ms / 1000,
                    backoff_factor=settings.webhook_backoff_factor,
                    timeout_s=REQUEST_S,
                    verify_tls=settings.webhook_verify_tls,
                    redirects=REDIRECTS,
                ),
            )

    def _mails(
        self, job: Job, execution: Execution, one: str, document: dict[str, Any]
    ) -> Iterator[Message]:
        addresses = (job.definition.details.get("notify") or {}).get(one) or ()
        sender = self._settings.smtp_from
        if addresses and (sender is None or self._settings.smtp_host is None):
            log.warning("fastlane_mail_skipped", reason="no mail server is set", job=job.key.id)
            return
        for position, address in enumerate(addresses):
            mail = mail_of(job, execution, one, document, str(sender), address)
            yield Message(
                DeliveryKind.MAIL,
                _EVENTS[one],
                _MAILS_FROM + position,
                address,
                mail,
                {"from": str(sender)},
                DeliveryPolicy(timeout_s=MAIL_S),
            )


_KINDS: Final = ("webhooks", "notify")


def mail_of(
    job: Job,
    execution: Execution,
    one: str,
    document: dict[str, Any],
    sender: str,
    address: str,
) -> bytes:
    """One mail, as plain text and as HTML with links to task and job."""
    task_id, job_id = job.key.group, job.key.id
    code = exit_code_of(execution)
    said = {
        "starts": "started!",
        "succeeds": "succeeded!",
        "fails": f"failed with exit code {code}!",
        "finishes": f"finished with exit code {code}!",
    }[one]
    text = json.dumps(document, indent=4, sort_keys=True)
    urls = Urls(str(job.definition.details.get("base", "")))
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = " ".join(f"[Fastlane] Job {task_id}/{job_id} {said}".split())
    mail["From"] = sender
    mail["To"] = address
    mail.set_content(text)
    task_url, job_url = (
        html.escape(url) for url in (urls.task(task_id), urls.job(task_id, job_id))
    )
    mail.add_alternative(
        f"<html><body><p>Job <a href='{job_url}'>{html.escape(job_id)}</a> of task "
        f"<a href='{task_url}'>{html.escape(task_id)}</a> {html.escape(said)}</p>"
        f"<pre>{html.escape(text)}</pre></body></html>",
        subtype="html",
    )
    return mail.as_bytes()

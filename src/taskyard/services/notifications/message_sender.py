"""Sends messages that a dialect worded: requests just as they were put together, and mails."""

from typing import Final
from urllib.parse import urljoin, urlsplit

from msgspec.structs import replace

from taskyard.core.access.secret_names import is_secret_header
from taskyard.core.notifications.messages import DeliveryKind, DeliveryPolicy
from taskyard.ports.outgoing import Answer, HttpSender, MailFailed, MailSender, Post, SendFailed
from taskyard.ports.webhooks import DueDelivery

_SCHEME: Final = "mailto:"
_ACCEPTED: Final = Answer(250, b"")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_AS_GET: Final = frozenset({301, 302, 303})
"""After these a request goes on as GET and without its body, as browsers made custom."""
_FRAMING: Final = frozenset(
    {"host", "connection", "content-length", "expect", "keep-alive", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers that say how bytes travel; a submitter's would contradict the sender's own."""


class MessageSender:
    """One try at a message."""

    def __init__(self, sender: HttpSender, mail: MailSender | None) -> None:
        self._sender = sender
        self._mail = mail

    async def send(self, due: DueDelivery, policy: DeliveryPolicy) -> Answer:
        """The answer that counts; a mail that was accepted is answered 250. Raises as the ports."""
        if due.kind is DeliveryKind.MAIL:
            return await self._send_mail(due)
        headers = {
            name: value for name, value in due.headers.items() if name.lower() not in _FRAMING
        }
        post = Post(due.url, headers, due.body, verify_tls=policy.verify_tls)
        for _ in range(policy.redirects + 1):
            answer = await self._sender.send(post)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            post = _redirected(post, answer.status, location)
        raise SendFailed(f"more than {policy.redirects} redirects")

    async def _send_mail(self, due: DueDelivery) -> Answer:
        if self._mail is None:
            raise SendFailed("no mail server is set")
        try:
            await self._mail.send(
                due.headers.get("from", ""), due.url.removeprefix(_SCHEME), due.body
            )
        except MailFailed as error:
            raise SendFailed(str(error)) from error
        return _ACCEPTED


def _redirected(post: Post, status: int, location: str) -> Post:
    try:
        url = urljoin(post.url, location).partition("#")[0]
        moved_away = urlsplit(url)[:2] != urlsplit(post.url)[:2]
    except ValueError as error:
        raise SendFailed("the answer redirects to what is no URL") from error
    headers = post.headers
    if moved_away:
        headers = {name: value for name, value in headers.items() if not is_secret_header(name)}
    if status in _AS_GET:
        return replace(post, url=url, headers=headers, method="GET", body=b"")
    return replace(post, url=url, headers=headers)

"""Webhook deliveries: look, redeliver; the key they are signed with."""

from typing import Any, Final

from taskyard.core.access.principals import Role
from taskyard.core.access.redaction import redact_text, redact_url
from taskyard.core.instants import rfc3339
from taskyard.core.notifications.webhooks import Delivery, DeliveryState
from taskyard.dialects.http.answers import Answer, json_answer
from taskyard.dialects.http.routes import Routes
from taskyard.dialects.native.decoding import NoQuery
from taskyard.dialects.native.dialect import Call, Description, answers
from taskyard.dialects.native.paging import page_of, read_number
from taskyard.dialects.native.queries import DeliveriesQuery
from taskyard.dialects.native.schemas_rest import (
    DeliveriesAnswer,
    DeliveryAnswer,
    DeliveryPageAnswer,
    SigningKeyAnswer,
    TryAnswer,
)

DELIVERIES: Final = "deliveries"


routes = Routes[Call[Any, Any], Description](answers({}), "")


@routes.get("/tasks/{task_id}/webhooks", answers({200: DeliveriesAnswer}, fails=(404,)))
async def list_task_deliveries(call: Call[NoQuery, None]) -> Answer:
    """Deliveries of a task, oldest first."""
    await call.engine.tasks.get(call.caller, call.task_id)
    found = await call.engine.webhooks.of_task(call.caller, call.task_id)
    return json_answer(DeliveriesAnswer([delivery_answer(one) for one in found]))


@routes.get("/webhooks/deliveries", answers({200: DeliveryPageAnswer}))
async def list_deliveries(call: Call[DeliveriesQuery, None]) -> Answer:
    """A page of deliveries, newest first, without their tries."""
    query = call.query
    found = await call.engine.webhooks.deliveries(
        call.caller,
        DeliveryState(query.state) if query.state else None,
        read_number(DELIVERIES, query.cursor),
        query.limit + 1,
    )
    shown = page_of(DELIVERIES, found, query.limit, lambda one: one.number, delivery_answer)
    return json_answer(DeliveryPageAnswer(*shown))


@routes.get("/webhooks/deliveries/{delivery_id}", answers({200: DeliveryAnswer}, fails=(404,)))
async def get_delivery(call: Call[NoQuery, None]) -> Answer:
    """One delivery, with its tries."""
    found = await call.engine.webhooks.delivery(call.caller, call.path("delivery_id"))
    return json_answer(delivery_answer(found))


@routes.post(
    "/webhooks/deliveries/{delivery_id}/redeliver",
    answers({200: DeliveryAnswer}, role=Role.OPERATE, fails=(404, 507)),
)
async def redeliver(call: Call[NoQuery, None]) -> Answer:
    """Deliver once more, whatever its state."""
    found = await call.engine.webhooks.redeliver(call.caller, call.path("delivery_id"))
    return json_answer(delivery_answer(found))


@routes.get("/webhooks/signing-key", answers({200: SigningKeyAnswer}, role=Role.ADMIN))
async def get_signing_key(call: Call[NoQuery, None]) -> Answer:
    """The key that requests of this workspace are signed with."""
    return json_answer(SigningKeyAnswer(await call.engine.webhooks.signing_key(call.caller)))


def delivery_answer(delivery: Delivery) -> DeliveryAnswer:
    """A delivery as answered."""
    return DeliveryAnswer(
        id=delivery.id,
        task_id=delivery.task_id,
        event=delivery.event,
        url=redact_url(delivery.url),
        state=delivery.state,
        attempt_count=delivery.attempt_count,
        next_at=rfc3339(delivery.next_at),
        created_at=rfc3339(delivery.created_at),
        delivered_at=rfc3339(delivery.delivered_at),
        last_status=delivery.last_status,
        last_error=_shown(delivery.last_error),
        tries=[
            TryAnswer(rfc3339(one.at), one.status, _shown(one.error), one.duration_ms)
            for one in delivery.tries
        ],
    )


def _shown(error: str | None) -> str | None:
    return None if error is None else redact_text(error)

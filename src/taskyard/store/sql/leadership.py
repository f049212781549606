"""Control planes and their leader; and the condition on which a leader's decisions are stored."""

from collections.abc import Sequence

from taskyard.core.errors import NotFound, NotLeading
from taskyard.core.ids import PlaneId, Term
from taskyard.core.instants import SECOND
from taskyard.core.leadership import HOLD_S, Hold
from taskyard.ports.leadership import Claimed, Plane, PlaneRecord
from taskyard.store.sql.connection import Answer, Connection
from taskyard.store.sql.transactions import Repository, writes


class SqlLeadership(Repository):
    """Implements ``ports.leadership.LeadershipStore``."""

    @writes
    async def register(self, plane: Plane) -> None:
        """See the port."""
        parameters = {
            "id": plane.id,
            "name": plane.name,
            "address": plane.address,
            "version": plane.version,
        }

        def write(connection: Connection) -> None:
            connection.execute("leadership.register_plane", parameters)

        await self._session.write_urgently(write)

    @writes
    async def claim(self, plane_id: PlaneId, term: Term | None, hold_s: float = HOLD_S) -> Claimed:
        """See the port."""
        parameters = {"plane_id": plane_id, "term": term, "hold": round(hold_s * SECOND)}

        def write(connection: Connection) -> Claimed:
            if connection.execute("leadership.beat_plane", {"id": plane_id}).rowcount != 1:
                raise NotFound("control plane", plane_id)
            connection.execute("leadership.claim", parameters)
            found = _hold(connection)
            if found is None:
                raise NotFound("leader", "")
            return found

        return await self._session.write_urgently(write)

    @writes
    async def resign(self, plane_id: PlaneId, term: Term) -> bool:
        """See the port."""
        parameters = {"plane_id": plane_id, "term": term}

        def write(connection: Connection) -> bool:
            return connection.execute("leadership.resign", parameters).rowcount == 1

        return await self._session.write_urgently(write)

    async def leader(self) -> Claimed | None:
        """See the port."""
        return await self._session.read(_hold)

    async def planes(self) -> Sequence[PlaneRecord]:
        """See the port."""
        rows = await self._session.read(lambda c: c.execute("leadership.all_planes").fetchall())
        return [PlaneRecord(Plane(*row[:4]), row[4], row[5]) for row in rows]

    @writes
    async def forget(self, silent_s: float) -> int:
        """See the port."""
        parameters = {"silent": round(silent_s * SECOND)}

        def write(connection: Connection) -> int:
            return connection.execute("leadership.forget_planes", parameters).rowcount

        return await self._session.write(write)


def leads(connection: Connection, term: Term | None) -> bool:
    """Whether no later term than this one has begun, nor will before the transaction has ended.

    Without a term it is asked nothing: the only control plane always leads.
    """
    if term is None:
        return True
    return connection.execute("leadership.leads", {"term": term}).fetchone() is not None


def ask_leads(connection: Connection, term: Term | None) -> Answer | None:
    """As :func:`leads`, asked together with what is asked next; None without a term."""
    return None if term is None else connection.ask("leadership.leads", {"term": term})


def check_term(connection: Connection, term: Term | None) -> None:
    """Raise ``NotLeading`` if a later term than this one has begun; see :func:`leads`."""
    if not leads(connection, term):
        raise NotLeading


def _hold(connection: Connection) -> Claimed | None:
    row = connection.execute("leadership.hold").fetchone()
    if row is None:
        return None
    plane_id, term, expires_at, now = row
    return Claimed(Hold(plane_id, term, expires_at), now)

"""Bundles of source as objects named by their content."""

import hashlib
import re
from typing import Final

from taskyard.core.errors import NotFound, StoreDamaged
from taskyard.ports.objects import BUNDLES, ObjectStore

_NAME: Final = re.compile(r"[0-9a-f]{64}\Z")
_YOUNG_S: Final = 86_400.0


class ObjectBundles:
    """Implements ``ports.functions.BundleStore``."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def put(self, content: bytes) -> str:
        """See the port."""
        bundle = hashlib.sha256(content).hexdigest()
        while not await self._objects.put(BUNDLES + bundle, content):
            try:
                await self.get(bundle)
            except StoreDamaged:
                await self._objects.delete([BUNDLES + bundle])
            except NotFound:
                continue  # deleted in this moment
            else:
                break
        return bundle

    async def get(self, bundle: str) -> bytes:
        """See the port."""
        if not _NAME.match(bundle):
            raise NotFound("bundle", bundle)
        key, content = BUNDLES + bundle, bytearray()
        try:
            size = await self._objects.size(key)
            while len(content) < size:
                part = await self._objects.read(key, len(content), size - len(content))
                if not part:
                    break
                content += part
        except NotFound:
            raise NotFound("bundle", bundle) from None
        if hashlib.sha256(content).hexdigest() != bundle:
            raise StoreDamaged(f"the source {bundle[:12]} is damaged; deploy it again")
        return bytes(content)

    async def keep_only(self, bundles: frozenset[str]) -> None:
        """See the port."""
        last = ""
        while found := await self._objects.list_objects(BUNDLES, after=last):
            last = found[-1].key
            old = [
                one.key
                for one in found
                if one.age_s >= _YOUNG_S and one.key.removeprefix(BUNDLES) not in bundles
            ]
            # What is put again at this moment stays.
            await self._objects.delete(old, older_than_s=_YOUNG_S)

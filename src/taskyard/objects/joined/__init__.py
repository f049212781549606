"""Objects of the control planes, as workers on other machines reach them: in pieces, by messages.

The worker has an object store (:mod:`.store`) that keeps nothing; control planes have theirs, and
answer for it (:mod:`.serving`), also for sources of functions (:mod:`.sources`). An upload begins
at any control plane, which then takes the rest of it. It ends as a whole or not at all; whoever
hears nothing any more begins again.
"""

from taskyard.objects.joined.serving import serving_objects
from taskyard.objects.joined.sources import JoinedSources
from taskyard.objects.joined.store import JoinedObjects, JoinedResults

__all__ = ["JoinedObjects", "JoinedResults", "JoinedSources", "serving_objects"]

"""Functions: their versions, calls, invocations and triggers."""

from dataclasses import dataclass

from taskyard.dialects.greencloud.headers import HEADERS as GREENCLOUD_HEADERS
from taskyard.runtimes.function.building import LocalBuilder
from taskyard.runtimes.function.images.builder import LocalImages
from taskyard.runtimes.function.unpacking import UnpackLimits
from taskyard.server.containers import container_settings
from taskyard.server.settings import Settings
from taskyard.server.wiring.access import Access, Rules
from taskyard.server.wiring.scheduling import Scheduling
from taskyard.server.wiring.wired import Adapters
from taskyard.services.functions.builds import BuildLimits
from taskyard.services.functions.bundle_sweep import BundleSweep
from taskyard.services.functions.calls import Calls
from taskyard.services.functions.functions import Functions
from taskyard.services.functions.invocations import Invocations
from taskyard.services.functions.resources import FunctionResources
from taskyard.services.functions.triggers import Triggers
from taskyard.services.functions.version_builder import ImagePuller
from taskyard.services.notifications.bus import Bus
from taskyard.services.tasks.tasks import Tasks


@dataclass(frozen=True, slots=True)
class FunctionServices:
    """Everything that has to do with functions."""

    functions: Functions
    calls: Calls
    invocations: Invocations
    triggers: Triggers
    resources: FunctionResources
    bundle_sweep: BundleSweep


def wire_functions(
    settings: Settings,
    adapters: Adapters,
    bus: Bus,
    access: Access,
    rules: Rules,
    scheduling: Scheduling,
    tasks: Tasks,
) -> FunctionServices:
    """Functions, connected."""
    store, clock, bundles = adapters.store, adapters.clock, adapters.bytes.bundles
    dispatch, assignments = scheduling.dispatch, scheduling.assignments
    functions = Functions(
        store.functions,
        bundles,
        local_builder(settings),
        tasks,
        store.tasks,
        store.groups,
        dispatch,
        access.audit,
        clock,
        ImagePuller(_images(settings), access.secrets),
        BuildLimits(settings.function_builds, settings.function_builds_waiting),
        rules.identities,
        adapters.plane,
    )
    assignments.live_version = functions.live_version
    assignments.blob = store.functions.blob
    calls = Calls(functions, tasks, store.functions, adapters.bytes.results, bus, clock)
    invocations = Invocations(
        store.invocations,
        functions,
        calls,
        tasks,
        dispatch,
        bus,
        clock,
        GREENCLOUD_HEADERS,
        rerun_if_lost=settings.greencloud.rerun_if_lost,
        quotas=settings.greencloud.quotas(),
    )
    triggers = Triggers(
        store.function_resources,
        store.invocations,
        invocations,
        store.parking,
        bus,
        clock,
        scheduling.term,
    )
    return FunctionServices(
        functions,
        calls,
        invocations,
        triggers,
        FunctionResources(store.function_resources, functions, triggers, access.audit, clock),
        BundleSweep(store.functions, bundles, clock),
    )


def local_builder(settings: Settings) -> LocalBuilder:
    """Builds versions of functions on this machine."""
    return LocalBuilder(
        settings.data / "functions",
        settings.function_build_timeout_s,
        UnpackLimits(
            settings.function_unpacked_bytes,
            settings.function_unpacked_entries,
            settings.function_unpack_memory_bytes,
            settings.function_unpack_timeout_s,
        ),
    )


def _images(settings: Settings) -> LocalImages:
    """Gets images of functions through the worker's container engine."""
    directory, timeout_s = settings.data / "functions", settings.function_build_timeout_s
    return LocalImages(directory, container_settings(settings), timeout_s)

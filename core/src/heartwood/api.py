"""The public face for plugin authors: what the kernel's hooks take and return, what handlers are given, what is raised.

A subject of its own has its own module, as public as this one: :mod:`heartwood.contracts.http` (other servers, live
events), ``.cursors`` (lists in pages), ``.documents``, ``.analytics``, ``.metrics``, ``.calls``. Commands import
:mod:`heartwood.client`, tests :mod:`heartwood.testing`. Nothing else of heartwood is for plugins.
"""

from heartwood.contracts.assets import Assets
from heartwood.contracts.children import ChildFailed, Children, Finished, Limits
from heartwood.contracts.data import Blobs, Cache, Database, Migration, Queries, Staged, Stored, Tables, Transaction
from heartwood.contracts.errors import (
    Conflict,
    DatabaseUnavailable,
    Discard,
    Fault,
    Forbidden,
    HeartwoodError,
    Invalid,
    LeaseLost,
    NotFound,
    NotReady,
    OutOfSpace,
    PluginUnavailable,
    Problem,
    Repeated,
    ServiceUnavailable,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from heartwood.contracts.events import Event, Events, Signal, Signals, Subscriber, Subscription
from heartwood.contracts.health import HealthCheck, HealthResult, Verdict
from heartwood.contracts.http import idempotency_key
from heartwood.contracts.jobs import Job, JobInfo, JobRun, Jobs, JobState, Retry
from heartwood.contracts.people import HUB, Actor
from heartwood.contracts.permissions import Permission, Role
from heartwood.contracts.routes import Answer, Page, Route
from heartwood.contracts.services import Provides, many
from heartwood.contracts.settings import Secret, setting
from heartwood.contracts.tasks import Scope, Task
from heartwood.plugins.plugin import Contribution, Plugin, PluginContext, Provided, hookimpl, hookspec

__all__ = [
    "HUB",
    "Actor",
    "Answer",
    "Assets",
    "Blobs",
    "Cache",
    "ChildFailed",
    "Children",
    "Conflict",
    "Contribution",
    "Database",
    "DatabaseUnavailable",
    "Discard",
    "Event",
    "Events",
    "Fault",
    "Finished",
    "Forbidden",
    "HealthCheck",
    "HealthResult",
    "HeartwoodError",
    "Invalid",
    "Job",
    "JobInfo",
    "JobRun",
    "JobState",
    "Jobs",
    "LeaseLost",
    "Limits",
    "Migration",
    "NotFound",
    "NotReady",
    "OutOfSpace",
    "Page",
    "Permission",
    "Plugin",
    "PluginContext",
    "PluginUnavailable",
    "Problem",
    "Provided",
    "Provides",
    "Queries",
    "Repeated",
    "Retry",
    "Role",
    "Route",
    "Scope",
    "Secret",
    "ServiceUnavailable",
    "Signal",
    "Signals",
    "Staged",
    "Stored",
    "Subscriber",
    "Subscription",
    "Tables",
    "Task",
    "TooLarge",
    "TooMany",
    "Transaction",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMedia",
    "Verdict",
    "hookimpl",
    "hookspec",
    "idempotency_key",
    "many",
    "setting",
]

"""Child processes: short-lived programs for hostile bytes, and a recycled pool for our own functions."""

from heartwood.work.children.pool import ChildPool
from heartwood.work.children.settings import ChildSettings

__all__ = ["ChildPool", "ChildSettings"]

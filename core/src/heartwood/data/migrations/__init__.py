"""One migration history per plugin, with its version table in the plugin's own schema.

Importing this imports neither SQLAlchemy nor Alembic; they come in where a package's revisions are applied or compared.
"""

from heartwood.data.migrations.sources import MigrationError, MigrationSource
from heartwood.data.migrations.standing import Standing, orphans, standings
from heartwood.data.migrations.upgrading import Upgraded, upgrade
from heartwood.data.migrations.upkeep import adopt, check, purge, write_revision

__all__ = [
    "MigrationError",
    "MigrationSource",
    "Standing",
    "Upgraded",
    "adopt",
    "check",
    "orphans",
    "purge",
    "standings",
    "upgrade",
    "write_revision",
]

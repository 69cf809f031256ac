"""heartwood: a hub for one person that a team can grow. Plugin authors import :mod:`heartwood.api`."""

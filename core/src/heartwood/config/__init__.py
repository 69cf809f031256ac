"""plugins.toml, environment and command line become attrs values; every problem is reported at once.

This floor is machinery: it knows no setting of anybody.
"""

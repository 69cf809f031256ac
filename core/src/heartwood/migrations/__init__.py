"""The kernel's own revisions: schema ``core``, and schema ``queue`` as PgQueuer made it."""

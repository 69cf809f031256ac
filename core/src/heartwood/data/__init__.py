"""Rows, bytes and cache: PostgreSQL (embedded or external), pool, transactions, migrations, blobs, cache."""

"""Alembic's entrance: the caller hands over a connection that is already in a transaction."""

from alembic import context

from interlock.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

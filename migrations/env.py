"""Alembic's entry: runs inside the transaction of the connection that it is given."""

from alembic import context

from sqlqueue.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()

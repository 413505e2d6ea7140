"""Alembic migrations of the database."""

HEAD = "0002"

"""The Delta tables: reading them, and one writer a module."""

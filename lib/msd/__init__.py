"""Million Song Dataset files: list of fields, reader and writer."""

from reprise.lib.msd.fields import FIELDS, Field
from reprise.lib.msd.reader import MsdFile, open_msd, read, track_path
from reprise.lib.msd.writer import to_bytes, write

__all__ = ["FIELDS", "Field", "MsdFile", "open_msd", "read", "to_bytes", "track_path", "write"]

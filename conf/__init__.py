"""Settings of a run.

Sources in increasing order of precedence: packaged defaults, profile overlay, ``REPRISE_*`` environment variables,
flags.
"""

from reprise.conf._settings import Settings, SettingsError, load

__all__ = ["Settings", "SettingsError", "load"]

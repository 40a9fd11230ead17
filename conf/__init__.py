"""Settings: packaged defaults, then the profile's overlay, then ``REPRISE_*`` variables, then flags."""

from reprise.conf._settings import Settings, SettingsError, load

__all__ = ["Settings", "SettingsError", "load"]

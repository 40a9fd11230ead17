"""Settings of a run.

Sources in increasing order of precedence: packaged defaults, profile overlay, ``REPRISE_*`` environment variables,
flags.
"""

from reprise.conf._models import (
    ExternalFile,
    ExternalFolder,
    ExternalModel,
    list_external_files,
    list_external_folders,
    list_external_models,
)
from reprise.conf._settings import Settings, SettingsError, load

__all__ = [
    "ExternalFile",
    "ExternalFolder",
    "ExternalModel",
    "Settings",
    "SettingsError",
    "list_external_files",
    "list_external_folders",
    "list_external_models",
    "load",
]

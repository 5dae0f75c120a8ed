"""config.yaml < environment < flags → frozen settings, each mistake answered with the fix.

    models        what there is to set, with defaults and bounds
    layers        one source of values after another, every value with where it came from
    config_file   config.yaml, with the line of every key
    load          the layers together → Settings
    uri           a MongoDB URI that may be shown

Defaults are those of a cautious server, one job at a time; the config.yaml that `jobserver init` writes raises them.
"""

from __future__ import annotations

from jobserver.settings.load import load_settings
from jobserver.settings.models import (
    DbSettings,
    LogSettings,
    MongoSettings,
    ProjectSettings,
    PulseSettings,
    RunnerSettings,
    ScannerSettings,
    Settings,
)
from jobserver.settings.uri import without_credentials

__all__ = [
    "DbSettings",
    "LogSettings",
    "MongoSettings",
    "ProjectSettings",
    "PulseSettings",
    "RunnerSettings",
    "ScannerSettings",
    "Settings",
    "load_settings",
    "without_credentials",
]

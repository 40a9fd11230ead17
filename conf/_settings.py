"""Load and validate settings. Only this module reads ``REPRISE_*`` environment variables."""

import os
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ENV_PREFIX = "REPRISE_"


class SettingsError(ValueError):
    """Invalid settings. The message is one line: the faulty key, value or flag, and what is accepted instead."""


class Settings(BaseModel):
    """Settings of a run. They are immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["local", "cluster"] = Field(description="selects the overlay and the Spark settings")
    warehouse: Annotated[str, Field(min_length=1, description="root of the tables: a folder or any URI")]
    models: Annotated[str, Field(min_length=1, description="folder of external models, on the machine of the driver")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of all random draws")]
    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = Field(description="lowest level that Spark and jobs log")
    max_bad: Annotated[float, Field(ge=0, le=1, description="largest share of bad inputs: above it a job exits with 3")]
    files_per_task: Annotated[
        int, Field(gt=0, description="number of files or tracks per Spark task; a commit covers one task per core")
    ]
    spark: Mapping[str, str] = Field(description="Spark settings, from spark/<profile>.conf and --conf spark.*=")


def load(flags: Iterable[str] = (), *, environ: Mapping[str, str] | None = None) -> Settings:
    """Load the settings of a run.

    Parameters
    ----------
    flags
        ``KEY=VALUE`` strings in order of increasing precedence. A key that starts with ``spark.`` is a Spark setting.
    environ
        Environment variables, from which the ``REPRISE_*`` variables are read; ``os.environ`` by default.

    Raises
    ------
    SettingsError
        A flag is not ``KEY=VALUE``, a key is unknown, or a value is invalid.
    """
    environ = os.environ if environ is None else environ
    given = {k.removeprefix(ENV_PREFIX).lower(): v for k, v in environ.items() if k.startswith(ENV_PREFIX)}
    spark_flags: dict[str, str] = {}
    for flag in flags:
        key, separator, value = flag.partition("=")
        if not separator or not key:
            raise SettingsError(f"--conf takes KEY=VALUE, not {flag!r}")
        (spark_flags if key.startswith("spark.") else given)[key] = value
    if "spark" in given:
        raise SettingsError("'spark' cannot be set as a whole: give --conf spark.KEY=VALUE for each setting")
    defaults = _read_yaml("default")
    profile = given.get("profile", defaults["profile"])
    if profile not in ("local", "cluster"):
        raise SettingsError(f"unknown profile {profile!r}; choose from: local, cluster")
    values = {**defaults, **_read_yaml(profile), **given, "spark": {**_read_spark_conf(profile), **spark_flags}}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            raise SettingsError(f"unknown setting {key!r}; choose from: {', '.join(Settings.model_fields)}") from None
        raise SettingsError(f"setting {key!r}: {problem['msg'].lower()}, got {problem['input']!r}") from None


def _read_yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((files(__package__) / f"{name}.yaml").read_text("utf-8")) or {}


def _read_spark_conf(profile: str) -> dict[str, str]:
    """Read Spark settings in Spark's own format, so that ``spark-submit --properties-file`` accepts the same file."""
    lines = (files(__package__) / "spark" / f"{profile}.conf").read_text("utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return {key: value.strip() for key, value in pairs}

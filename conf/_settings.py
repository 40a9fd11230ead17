"""Load and validate settings; the one place that reads ``REPRISE_*`` from the environment."""

import os
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

ENV_PREFIX = "REPRISE_"


class SettingsError(ValueError):
    """Settings that cannot be used; the text is one line that names the key and what it takes."""


class Settings(BaseModel):
    """What a run is configured with. Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["local", "cluster"] = Field(description="overlay and Spark settings to use")
    warehouse: Annotated[str, Field(min_length=1, description="root of the tables: a folder or any URI")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="the one seed")]
    log_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = Field(description="how much Spark and the jobs log")
    max_bad: Annotated[float, Field(ge=0, le=1, description="share of bad inputs over which a job exits 3")]
    files_per_task: Annotated[int, Field(gt=0, description="input files one Spark task reads before a commit")]
    spark: Mapping[str, str] = Field(description="Spark settings, from spark/<profile>.conf and --conf spark.*=")


def load(flags: Iterable[str] = (), *, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of one run.

    Parameters
    ----------
    flags
        ``KEY=VALUE`` strings in order of increasing precedence. A key that starts with ``spark.`` is a Spark setting.
    environ
        Environment to read ``REPRISE_*`` from, ``os.environ`` when omitted.

    Raises
    ------
    SettingsError
        For a flag without ``=``, an unknown key or a value out of range.
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
        raise SettingsError("'spark' is not set as a whole: give --conf spark.KEY=VALUE")
    defaults = _yaml("default")
    profile = given.get("profile", defaults["profile"])
    if profile not in ("local", "cluster"):
        raise SettingsError(f"profile is local or cluster, not {profile!r}")
    values = {**defaults, **_yaml(profile), **given, "spark": {**_spark_conf(profile), **spark_flags}}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            raise SettingsError(f"unknown setting {key!r}; known: {', '.join(Settings.model_fields)}") from None
        raise SettingsError(f"setting {key!r}: {problem['msg'].lower()}, got {problem['input']!r}") from None


def _yaml(name: str) -> dict[str, Any]:
    return yaml.safe_load((files(__package__) / f"{name}.yaml").read_text("utf-8")) or {}


def _spark_conf(profile: str) -> dict[str, str]:
    """Spark's own ``key value`` format, so that spark-submit takes the same file as ``--properties-file``."""
    lines = (files(__package__) / "spark" / f"{profile}.conf").read_text("utf-8").splitlines()
    pairs = (line.split(None, 1) for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return {key: value.strip() for key, value in pairs}

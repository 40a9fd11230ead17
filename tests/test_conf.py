"""Settings: precedence, validation, and errors of one line."""

from importlib.resources import files
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from reprise.conf import Settings, SettingsError, load


def packaged(name: str) -> dict[str, Any]:
    return yaml.safe_load((files("reprise.conf") / f"{name}.yaml").read_text("utf-8")) or {}


def test_every_key_of_the_defaults_is_a_setting_and_every_setting_has_one() -> None:
    assert packaged("default").keys() == Settings.model_fields.keys() - {"spark"}


@pytest.mark.parametrize("profile", ["local", "cluster"])
def test_overlay_names_settings(profile: str) -> None:
    assert packaged(profile).keys() <= Settings.model_fields.keys() - {"spark", "profile"}
    assert load([f"profile={profile}"], environ={}).profile == profile


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_defaults_stand_when_nothing_is_said() -> None:
    settings = load(environ={})
    assert settings.model_dump(exclude={"spark"}) == packaged("default") | packaged("local")


def test_precedence() -> None:
    """Defaults, then the overlay, then the environment, then flags, the last of which wins."""
    assert packaged("default")["files_per_task"] != packaged("cluster")["files_per_task"]
    overlay = load(["profile=cluster"], environ={})
    assert overlay.files_per_task == packaged("cluster")["files_per_task"]
    assert overlay.seed == packaged("default")["seed"]
    environ = {"REPRISE_FILES_PER_TASK": "7", "REPRISE_PROFILE": "cluster", "FILES_PER_TASK": "1"}
    assert load(environ=environ).files_per_task == 7
    assert load(environ=environ).log_level == packaged("cluster")["log_level"]
    assert load(["files_per_task=8"], environ=environ).files_per_task == 8
    assert load(["files_per_task=8", "files_per_task=9"], environ=environ).files_per_task == 9
    assert load(["profile=local"], environ=environ).profile == "local"


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_WAREHOUSE", "s3a://bucket/warehouse")
    assert load().warehouse == "s3a://bucket/warehouse"


def test_a_value_may_hold_the_separator() -> None:
    assert load(["warehouse=/a=b"], environ={}).warehouse == "/a=b"


def test_spark_settings() -> None:
    local, cluster = load(environ={}).spark, load(["profile=cluster"], environ={}).spark
    assert local["spark.master"] == "local[*]"
    assert local["spark.sql.execution.arrow.pyspark.validateSchema.enabled"] == "true"
    assert "spark.master" not in cluster  # spark-submit says it
    for profile, settings in (("local", local), ("cluster", cluster)):
        text = (files("reprise.conf") / "spark" / f"{profile}.conf").read_text("utf-8")
        lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
        assert settings == dict(lines)
    given = load(["spark.master=local[1]", "spark.extra=a=b"], environ={}).spark
    assert given == {**local, "spark.master": "local[1]", "spark.extra": "a=b"}


def test_settings_are_frozen() -> None:
    settings = load(environ={})
    with pytest.raises(ValidationError, match="frozen"):
        settings.seed = 1


@pytest.mark.parametrize(
    ("flags", "environ", "says"),
    [
        (["seed"], {}, "--conf takes KEY=VALUE, not 'seed'"),
        (["=1"], {}, "--conf takes KEY=VALUE, not '=1'"),
        ([""], {}, "--conf takes KEY=VALUE, not ''"),
        (["sed=1"], {}, "unknown setting 'sed'; choose from: profile, warehouse, models, seed"),
        ([], {"REPRISE_SED": "1"}, "unknown setting 'sed'"),
        (["seed=many"], {}, "setting 'seed': .*integer.*, got 'many'"),
        (["seed=-1"], {}, "setting 'seed': .*greater than or equal to 0, got '-1'"),
        ([f"seed={2**63}"], {}, "setting 'seed': .*less than 9223372036854775808"),
        (["warehouse="], {}, "setting 'warehouse': .*at least 1 character"),
        (["max_bad=1.5"], {}, "setting 'max_bad': .*less than or equal to 1, got '1.5'"),
        (["max_bad=nan"], {}, "setting 'max_bad'"),
        ([], {"REPRISE_MAX_BAD": ""}, "setting 'max_bad'"),
        (["files_per_task=0"], {}, "setting 'files_per_task': .*greater than 0"),
        (["log_level=LOUD"], {}, "setting 'log_level': .*'debug', 'info', 'warn' or 'error', got 'LOUD'"),
        (["profile=../etc"], {}, "unknown profile '../etc'; choose from: local, cluster"),
        (["spark=1"], {}, "'spark' cannot be set as a whole"),
        ([], {"REPRISE_SPARK": "1"}, "'spark' cannot be set as a whole"),
        (["warehouse=a\nb", "seed=x\ny"], {}, "setting 'seed'"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(flags: list[str], environ: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        load(flags, environ=environ)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None

"""The settings of a machine, from its environment."""

from pathlib import Path

import pytest

from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings, variable


def test_the_environment_sets_them() -> None:
    """A machine is set up one way and works another."""
    settings = Settings.from_environment(
        {
            "NATS_URL": "nats://hub:4222",
            "V2T_DATA_DIR": "~/v2t",
            "V2T_DEVICE": "cuda",
            "V2T_THREADS": "4",
            "V2T_WARM": "true",
            "V2T_MAX_BYTES": "1e9",
            "PATH": "/bin",
        }
    )
    assert (settings.nats_url, settings.device, settings.threads) == ("nats://hub:4222", "cuda", 4)
    assert (settings.warm, settings.max_bytes) == (True, 1e9)
    assert settings.home == Path.home() / "v2t"


def test_what_is_set_to_nothing_is_not_set() -> None:
    """A compose file that hands on a variable nobody set keeps the machine from starting."""
    names = map(variable, Settings.__struct_fields__)
    assert Settings.from_environment(dict.fromkeys(names, "")) == Settings()


def test_no_secret_is_shown() -> None:
    """A log, or what somebody pastes into a question, gives the keys away."""
    settings = Settings.from_environment(
        {
            "NATS_URL": "nats://user:hush@hub",
            "MINIO_ENDPOINT": "hub:9000",
            "MINIO_ACCESS_KEY": "hush-a",
            "MINIO_SECRET_KEY": "hush-b",
        }
    )
    assert "hush" not in repr(settings)
    assert "hub:9000" in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("V2T_MAX_BYTE", "5", r"unknown setting V2T_MAX_BYTE: did you mean V2T_MAX_BYTES\?"),
        ("V2T_COLOUR", "red", r"unknown setting V2T_COLOUR: see docs/settings\.md"),
        ("V2T_NATS_URL", "nats://hub", "unknown setting V2T_NATS_URL"),
        ("V2T_MAX_BYTES", "8GB", "V2T_MAX_BYTES='8GB' is wrong: expected `float`"),
        ("V2T_MAX_BYTES", "0", "V2T_MAX_BYTES='0' is wrong: expected `float` > 0"),
        ("V2T_MAX_BYTES", "nan", "V2T_MAX_BYTES='nan' is wrong"),
        ("V2T_THREADS", "-1", "V2T_THREADS='-1' is wrong: expected `int` >= 0"),
        ("V2T_THREADS", "2.5", "V2T_THREADS='2.5' is wrong: expected `int`"),
        ("V2T_DEVICE", "gpu", "V2T_DEVICE='gpu' is wrong: use one of auto, cuda, metal, coreml, cpu"),
        ("V2T_WARM", "maybe", "V2T_WARM='maybe' is wrong: expected `bool`"),
        ("V2T_MINIO_ENDPOINT", "hub:9000", "unknown setting V2T_MINIO_ENDPOINT"),
        ("MINIO_ENDPOINT", "http://hub:9000", "MINIO_ENDPOINT='http://hub:9000' is wrong: use host:port alone"),
        ("MINIO_ENDPOINT", "hub:9000", "MINIO_ENDPOINT is set, but MINIO_ACCESS_KEY is not: set it too"),
        ("MINIO_BUCKET_PREFIX", "V2T_", "MINIO_BUCKET_PREFIX='V2T_' is wrong"),
    ],
)
def test_a_wrong_one_is_named(name: str, value: str, says: str) -> None:
    """A misspelt setting is ignored, and the machine works with another value than its owner thinks."""
    with pytest.raises(SettingsError, match=says):
        Settings.from_environment({name: value})

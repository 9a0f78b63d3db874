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
        ("MINIO_ENDPOINT", "my hub:9000", "MINIO_ENDPOINT='my hub:9000' is wrong: use host:port alone"),
        ("MINIO_BUCKET_PREFIX", "V2T_", "MINIO_BUCKET_PREFIX='V2T_' is wrong"),
        ("NATS_URL", "http://hub:8222", r"NATS_URL='http://hub:8222' is wrong: .* such as nats://hub:4222$"),
        ("NATS_URL", "https://me:hush@hub", r"NATS_URL='https://hub' is wrong: .* such as nats://hub:4222$"),
        ("NATS_URL", "redis://", "NATS_URL='redis://' is wrong: .* such as nats://hub:4222$"),
        ("NATS_URL", "nats://my hub:4222", "NATS_URL='nats://my hub:4222' is wrong: there is a space in it"),
        ("NATS_URL", "nats://me:hu sh@hub", "NATS_URL='nats://hub' is wrong: there is a space in it"),
        ("NATS_URL", "nats://a,nats://me:hush,hush@b", "NATS_URL='nats://a,nats://b' is wrong: its port is not"),
        ("NATS_URL", "nats://:4222", "NATS_URL='nats://:4222' is wrong: it names no host"),
        ("NATS_URL", "nats://me:hush@", "NATS_URL='nats://' is wrong: it names no host"),
        ("NATS_URL", "nats://a:4222,", "NATS_URL='nats://a:4222,' is wrong: it names no host"),
        ("NATS_URL", "nats://hub:port", "NATS_URL='nats://hub:port' is wrong: its port is not a number from 1 to"),
        ("NATS_URL", "nats://hub:99999", "NATS_URL='nats://hub:99999' is wrong: its port is not a number from 1 to"),
        ("NATS_URL", "nats://hub:0", "NATS_URL='nats://hub:0' is wrong: its port is not a number from 1 to"),
        ("NATS_URL", "nats://hub:4222/v2t", "NATS_URL='nats://hub:4222/v2t' is wrong: remove what follows the port"),
    ],
)
def test_a_wrong_one_is_named(name: str, value: str, says: str) -> None:
    """A misspelt setting is ignored, and the machine works with another value than its owner thinks."""
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_environment({name: value})
    assert "hush" not in str(caught.value)
    assert "hu sh" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "hub",
        "hub:4222",
        "nats://hub",
        "tls://me:hush@hub:4222",
        "nats://token@hub",
        "nats://a:1, nats://b",
        "tls://[::1]:1",
    ],
)
def test_an_address_that_nats_takes_is_taken(url: str) -> None:
    """An address that worked is refused after an update."""
    assert Settings.from_environment({"NATS_URL": f" {url}\r\n"}).nats_url == url


def written(folder: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    """The environment that names such a config.toml."""
    path = folder / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return {"V2T_CONFIG": str(path)}


def test_the_file_sets_what_the_environment_does_not(tmp_path: Path) -> None:
    """A setting in the file does nothing, or one cannot be changed for a single command."""
    named = written(tmp_path, 'model = "medium"\nthreads = 4\nwarm = true\nmax_bytes = 1_000\nnode = ""\n')
    settings, sources = Settings.sourced({**named, "V2T_MODEL": "tiny", "V2T_THREADS": ""})
    assert (settings.model, settings.threads, settings.warm, settings.max_bytes) == ("tiny", 4, True, 1000)
    assert settings.node == Settings().node
    assert sources | {"model": "environment", "threads": "file", "warm": "file", "node": "default"} == sources


def test_the_file_is_in_the_platform_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the documents name is not read."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Settings.from_environment({}).model == "small"
    (tmp_path / "v2t-stream").mkdir()
    written(tmp_path / "v2t-stream", 'model = "medium"')
    assert Settings.from_environment({}).model == "medium"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modell = 'x'", r"config\.toml: unknown setting modell: did you mean model\?"),
        ("V2T_MODEL = 'x'", r"config\.toml: unknown setting V2T_MODEL: did you mean model\?"),
        ("colour = 'red'", r"unknown setting colour: see docs/settings\.md"),
        ("[minio]\nendpoint = 'x'", "settings are not in sections, so write minio_endpoint = … at the top"),
        ("[v2t]\nmodel = 'x'", "settings are not in sections, so write model = … at the top"),
        ("openai_api_key = 'hush'", "the keys of services are only in the environment"),
        ("threads = 'many'", r"the setting threads='many' in .*config\.toml is wrong: expected `int`"),
        ("device = 'gpu'", r"the setting device='gpu' in .*config\.toml is wrong: use one of auto, cuda"),
        ("allow_addresses = ['10.0.0.1']", r"the setting allow_addresses=.* is wrong: expected `str`"),
        ("minio_secret_key = 1234", r"the setting minio_secret_key in .* is wrong: expected `str`"),
        ("nats_url = 'http://me:hush@hub'", r"the setting nats_url='http://hub' in .* is wrong: a broker's address"),
        ("model = small", r"config\.toml is not valid TOML: .*line 1"),
        ("model = 'a'\nmodel = 'b'", r"config\.toml is not valid TOML: a setting is there twice"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, says: str, tmp_path: Path) -> None:
    """A misspelt setting in the file is ignored, or an error gives a key away."""
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_environment(written(tmp_path, text))
    assert "hush" not in str(caught.value)
    assert "1234" not in str(caught.value)


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    """A mistyped path is taken for an empty file."""
    with pytest.raises(SettingsError, match=r"V2T_CONFIG names .*gone\.toml, which does not exist"):
        Settings.from_environment({"V2T_CONFIG": str(tmp_path / "gone.toml")})
    with pytest.raises(SettingsError, match=r"cannot be read \(Is a directory\)"):
        Settings.from_environment({"V2T_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("nats_url = 'nats://me:hush@hub'", True),
        ("minio_secret_key = 'hush'", True),
        ("nats_url = 'nats://hub'", False),
    ],
)
def test_a_file_with_secrets_is_for_its_owner_alone(text: str, *, secret: bool, tmp_path: Path) -> None:
    """Every user of the machine can read the broker's password."""
    Settings.from_environment(written(tmp_path, text))
    for mode in (0o640, 0o604):
        if secret:
            with pytest.raises(SettingsError, match=r"other users can read it: chmod 600 .*config\.toml$"):
                Settings.from_environment(written(tmp_path, text, mode))
        else:
            Settings.from_environment(written(tmp_path, text, mode))


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    """A stage works with other settings than its node, or stops for a file that was broken after the node started."""
    named = written(tmp_path, 'model = "medium"\nwarm = true\nmax_bytes = 1_000\nnats_creds = "~/me.creds"')
    settings = Settings.from_environment({**named, "NATS_URL": "nats://hub", "V2T_NODE": "m4"})
    (tmp_path / "config.toml").write_text("model = 'other'\nbroken")
    assert Settings.from_environment({**named, **settings.environment}) == settings
    here = settings.on("nats://v2t:hush@127.0.0.1:4222")
    assert Settings.from_environment({**named, **here.environment}) == here
    assert here.nats_creds == ""  # this machine's own broker knows no other user


def test_the_environment_can_choose_the_embedded_broker(tmp_path: Path) -> None:
    """Whoever has a fleet in the file cannot run `v2t up` for a moment."""
    named = written(tmp_path, "nats_url = 'nats://hub'")
    assert Settings.from_environment(named).nats_url == "nats://hub"
    assert Settings.from_environment({**named, "NATS_URL": "local"}).nats_url == ""

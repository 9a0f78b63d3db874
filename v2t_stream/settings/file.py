"""config.toml: settings of this machine in a file, under their names in lower case and without V2T_."""

import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import platformdirs

from v2t_stream.errors import SettingsError

VARIABLE: Final = "V2T_CONFIG"  # names another file


def file_of(environment: Mapping[str, str]) -> Path:
    """Where the file is, or would be."""
    if named := environment.get(VARIABLE):
        return Path(named).expanduser()
    return platformdirs.user_config_path("v2t-stream") / "config.toml"


def read(environment: Mapping[str, str], known: Collection[str]) -> dict[str, Any]:
    """The settings in the file, by field; empty if there is no file. What is set to nothing is not set.

    Raises SettingsError that names the file and the line or the setting. Types are not checked here.
    """
    path = file_of(environment)
    try:
        told = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if environment.get(VARIABLE):
            raise SettingsError(f"{VARIABLE} names {path}, which does not exist: correct it, or unset it") from None
        return {}
    except NotADirectoryError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): make it readable, or remove it") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text: write it as docs/settings.md shows") from None
    except tomllib.TOMLDecodeError as error:
        reason = str(error).replace("Cannot overwrite a value", "a setting is there twice")
        raise SettingsError(f"{path} is not valid TOML: {_lower(reason)}") from None
    for name, value in told.items():
        if name not in known:
            raise SettingsError(f"{path}: unknown setting {name}: {_advice(name, value, known)}")
    return {name: value for name, value in told.items() if value != ""}


def check_private(path: Path) -> None:
    """For a file that holds secrets. Raises SettingsError if other users can read it."""
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} holds a password or key, and other users can read it: chmod 600 {path}")


def _advice(name: str, value: object, known: Collection[str]) -> str:
    if isinstance(value, dict):
        inside = next((f"{name}_{key}" for key in value if f"{name}_{key}" in known), None)
        example = inside or next((key for key in value if key in known), "model")
        return f"settings are not in sections, so write {example} = … at the top"
    if "key" in name.lower() and "nats" not in name.lower() and "minio" not in name.lower():
        return "the keys of services are only in the environment, see docs/providers.md"
    near = get_close_matches(name.lower().removeprefix("v2t_"), known, n=1)
    return f"did you mean {near[0]}?" if near else "see docs/settings.md for the full list"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]

"""What the documents say is true."""

import re
import subprocess
import sysconfig
from pathlib import Path

import msgspec

from schemas.options import HINTS, EngineOptions
from v2t_stream.engines import registry
from v2t_stream.engines.descriptor import Abilities
from v2t_stream.jobs.options import OPTIONS
from v2t_stream.settings import Settings, variable
from v2t_stream.transcription.provider import Local, services
from v2t_stream.transcription.providers import parse
from v2t_stream.transcription.remote.custom_http import PLACEHOLDERS

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented_with_its_default() -> None:
    """Else a user cannot find a setting, or reads a wrong default."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    fields = {variable(field): field for field in Settings.__struct_fields__}
    assert set(rows) == {*fields, "V2T_CONFIG"}
    defaults = msgspec.to_builtins(Settings())
    for name, shown in rows.items():
        if shown.startswith("`"):
            default = defaults[fields[name]]
            assert shown.strip("`") == str(default).lower().removesuffix(".0"), name


def test_the_settings_file_of_the_documents_is_read(tmp_path: Path) -> None:
    """Else a user who copies it gets an error, or learns names that the file does not have."""
    page = (ROOT / "docs/settings.md").read_text()
    (example,) = re.findall(r"```toml\n(.+?)```", page, re.DOTALL)
    (tmp_path / "config.toml").write_text(example)
    _, sources = Settings.sourced({"V2T_CONFIG": str(tmp_path / "config.toml")})
    assert list(sources.values()).count("file") == len(example.splitlines())
    for field in Settings.__struct_fields__:  # as the page says
        assert variable(field).removeprefix("V2T_").lower() == field


def test_the_servers_configuration_is_valid() -> None:
    """Else the broker of the README does not start."""
    server = Path(sysconfig.get_path("scripts")) / "nats-server"
    subprocess.run([server, "-t", "-c", ROOT / "nats/server.conf"], check=True, capture_output=True)


def test_the_providers_example_is_read_and_every_setting_is_documented() -> None:
    """Else a user who copies it gets an error, or cannot find a setting."""
    page = (ROOT / "docs/providers.md").read_text()
    (example,) = re.findall(r"```yaml\n(.+?)```", page, re.DOTALL)
    providers = parse(example.encode(), "docs/providers.md")
    kinds = {Local, *(each.settings for each in services().values())}
    assert {type(provider) for provider in providers} <= kinds
    rows = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    fields = {field for kind in kinds for field in kind.__struct_fields__}
    assert documented == fields


def test_every_option_of_a_job_is_documented_with_its_default() -> None:
    """Else nobody finds an option, or its default is not what the page says."""
    page = (ROOT / "docs/options.md").read_text().partition("## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    assert set(rows) == set(OPTIONS)
    for name, shown in rows.items():
        default = OPTIONS[name].default
        assert shown == f"`{str(default).lower()}`" if default is not None else shown.startswith("("), name


def test_what_each_provider_can_do_is_documented_as_it_is() -> None:
    """Else a user relies on a prompt that nobody reads, or pays for a service that does not translate."""
    page = (ROOT / "docs/options.md").read_text().partition("## What each provider can do")[2]
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")
    )
    assert {row[0].replace(" ", "_") for row in rows} == {*HINTS, "translate", "word_times", "languages"}
    assert {name.replace("_", "-") for name in head[1:]} <= set(registry.names())
    for option, *cells in rows:
        for name, cell in zip(head[1:], cells, strict=True):
            about = registry.descriptor(name.replace("_", "-"))
            assert about
            usual, others = lacks(about.abilities, option), [lacks(each, option) for each in about.exceptions.values()]
            assert (cell == "no") == usual, (option, name)
            if not usual and any(others) and "as faster_whisper" not in cell:  # the models that differ are named
                assert "not by" in cell or "alone by" in cell, (option, name)


def lacks(abilities: Abilities, option: str) -> bool:
    match option:
        case "translate":
            return not abilities.translates
        case "word times":
            return not abilities.word_times
        case "languages":
            return abilities.languages is not None
    return option.replace(" ", "_") not in abilities.hints


def test_every_placeholder_is_documented() -> None:
    """Else a user cannot describe the form of a service, or cannot pass an option to it."""
    words = {"word_timestamps": "words"}
    assert {words.get(name, name) for name in EngineOptions.__struct_fields__} | {"translate"} == set(PLACEHOLDERS)
    page = (ROOT / "docs/providers.md").read_text() + (ROOT / "docs/options.md").read_text()
    assert set(PLACEHOLDERS) == set(re.findall(r"`{(\w+)}`", page))

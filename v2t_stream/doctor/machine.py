"""The checks of this machine, which need no broker."""

import asyncio
import platform
import shutil
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from v2t_stream.doctor import Check, Finding, accelerator, in_thread
from v2t_stream.errors import NoDemo, V2TError
from v2t_stream.settings import Settings, home
from v2t_stream.transcription.former import PLACES
from v2t_stream.transcription.provider import Local
from v2t_stream.transcription.providers import file_of, load
from v2t_stream.transcription.trial import clip, heard

_STALE: Final = 60  # days; after that, sites have often changed
_FULL: Final = 1 << 30  # free bytes; with fewer, a job or the broker soon fails
# Settings that name a file which only its owner should be able to read.
_SECRETS: Final = ("cookies", "nats_creds", "nats_nkey", "nats_key")


def checks(settings: Settings) -> list[tuple[str, Check]]:
    return [
        in_thread("python", python),
        in_thread(accelerator.NAME, lambda: accelerator.look(settings)),
        ("engine", lambda: engine(settings)),
        in_thread("providers", lambda: providers(settings)),
        in_thread("downloads", downloads),
        in_thread("data", lambda: data(settings)),
        in_thread("disk", lambda: disk(settings)),
        in_thread("secrets", lambda: secrets(settings)),
    ]


def python() -> Finding:
    where = f"{platform.system()} {platform.machine()}"
    return Finding("python", "ok", f"{platform.python_version()} on {where}, v2t-stream {version('v2t-stream')}")


async def engine(settings: Settings) -> Finding:
    """Let the demo model transcribe a spoken clip, in an engine process as for a job. This downloads nothing."""
    local = next((each for each in load(settings) if isinstance(each, Local) and each.enabled), None)
    if local is None:
        return Finding("engine", "ok", "this machine uses only services: try them with v2t providers test")
    begun = time.monotonic()
    samples, audio = await asyncio.to_thread(clip)
    try:
        text = await heard(local, settings, samples, audio, demo=True)
    except NoDemo:
        return Finding("engine", "ok", f"{local.engine} has no demo model: try it with v2t providers test")
    except V2TError as error:
        return Finding("engine", "fail", f"{local.engine} cannot transcribe: {error}")
    took = f"{local.engine} loaded and transcribed {samples.size / 16_000:.0f} s in {time.monotonic() - begun:.1f} s"
    if not text:
        return Finding("engine", "fail", f"{took}, but heard nothing", "v2t demo shows more; try V2T_DEVICE=cpu")
    return Finding("engine", "ok", took)


def providers(settings: Settings) -> Finding:
    """Whether a service withdraws a model that the chain uses."""
    enabled = [each for each in load(settings) if each.enabled]
    if ending := [f"{each.name}: {sentence}" for each in enabled if (sentence := each.withdrawn(each.model))]:
        return Finding("providers", "warn", "; ".join(ending), "change the model in providers.yaml before that day")
    former = [] if file_of(settings).exists() else [place for place in PLACES if Path(place).expanduser().exists()]
    hint = f"{former[0]} is from the former v2t: v2t providers migrate {former[0]} carries it over" if former else ""
    return Finding("providers", "ok", ", ".join(f"{each.name} ({each.engine})" for each in enabled), hint)


def downloads() -> Finding:
    """How old yt-dlp is, and whether it has what YouTube needs."""
    from v2t_stream.fetch import ytdlp  # noqa: PLC0415  # loads yt-dlp

    installed = version("yt-dlp")
    days = (datetime.now(UTC) - _released(installed)).days
    runtime = ytdlp.deno()
    try:
        scripts = version("yt-dlp-ejs")
    except PackageNotFoundError:
        scripts = ""
    found = [
        f"yt-dlp {installed} is {days} days old",
        f"deno {runtime[0]}" if runtime else "no deno",
        f"solver scripts {scripts}" if scripts else "no solver scripts",
    ]
    lacking = "pip install 'yt-dlp[default,deno]': without these, downloads from YouTube fail"
    if not scripts or not runtime or not runtime[1]:
        return Finding("downloads", "warn", ", ".join(found), lacking)
    if days > _STALE:
        ways = "uv sync -P yt-dlp in a clone, uv tool upgrade v2t-stream, or pip install -U 'yt-dlp[default]'"
        update = f"sites change; update it by the way you installed v2t: {ways}"
        return Finding("downloads", "warn", ", ".join(found), update)
    return Finding("downloads", "ok", ", ".join(found))


def _released(installed: str) -> datetime:
    """Its version is its date."""
    year, month, day = (int(number) for number in installed.split(".")[:3])
    return datetime(year, month, day, tzinfo=UTC)


def data(settings: Settings) -> Finding:
    """Whether the data folder takes bytes; the check leaves nothing there."""
    home.look(settings.home)
    can = "can be written" if settings.home.exists() else "does not exist yet, and can be made"
    return Finding("data", "ok", f"{settings.home} {can}")


def disk(settings: Settings) -> Finding:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    found = f"{amount(free)} free for {settings.home}"
    move = "free some space, or move V2T_DATA_DIR to a larger disk"
    if free < _FULL:
        return Finding("disk", "fail", found, move)
    if free < settings.max_bytes:
        return Finding("disk", "warn", f"{found}: a download may take {amount(settings.max_bytes)}", move)
    return Finding("disk", "ok", found)


def secrets(settings: Settings) -> Finding:
    """Whether only their owner can read files with secrets, and services have the keys they need."""
    named = [Path(getattr(settings, field)).expanduser() for field in _SECRETS if getattr(settings, field)]
    missing = [str(path) for path in named if not path.exists()]
    if missing:
        return Finding("secrets", "fail", f"there is no {', '.join(missing)}", "correct the setting that names it")
    files = [path for path in (*named, settings.home / "broker") if path.exists()]
    open_ = [str(path) for path in files if path.stat().st_mode & 0o077]
    if open_:
        advice = f"chmod go-rwx {' '.join(open_)}"
        return Finding("secrets", "warn", f"other users can read {', '.join(open_)}", advice)
    if keyless := _keyless(settings):
        advice = "set the variable, or disable it in providers.yaml"
        return Finding("secrets", "fail", f"no key for {', '.join(keyless)}", advice)
    return Finding(
        "secrets", "ok", ", ".join(f"only its owner can read {path}" for path in files) or "no files with secrets"
    )


def _keyless(settings: Settings) -> list[str]:
    """The providers without their key, each with the variable that should hold it."""
    lacking = [each for each in load(settings) if each.enabled and each.needs_key and not each.key]
    return [f"{each.name} ({each.key_variable})" for each in lacking]


def amount(size: float) -> str:
    """A size as people read it."""
    return f"{size / (1 << 30):.1f} GB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MB"

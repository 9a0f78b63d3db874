"""`v2t backup` and `v2t restore`: the broker's streams as files."""

import contextlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import click

from v2t_stream.broker.connect import connect
from v2t_stream.broker.connection import Connection
from v2t_stream.broker.embedded import embedded_broker
from v2t_stream.broker.login import Login
from v2t_stream.cli.loop import in_loop
from v2t_stream.errors import SettingsError
from v2t_stream.runtime import backup as copies
from v2t_stream.runtime.session import session
from v2t_stream.runtime.set_up import set_up
from v2t_stream.settings import Settings

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=_FOLDER)
def backup(folder: Path) -> None:
    """Copy all jobs and the files in the broker into FOLDER. Stop all nodes first."""
    settings = Settings.from_environment()
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty: use a new folder for each backup")

    async def run() -> None:
        async with session(settings, work=False) as pipeline:
            with _disk(folder):
                counts = await copies.backup(pipeline.connection, folder, buckets=not settings.minio_endpoint)
        _tell(counts, f"in {folder}")
        if settings.minio_endpoint:
            buckets = ", ".join(f"{settings.minio_bucket_prefix}{name}" for name in ("media", "transcripts", "uploads"))
            click.echo(f"the files are in MinIO ({buckets}): copy them too, see docs/upgrade.md", err=True)

    in_loop(run())


@click.command()
@click.argument("folder", type=_FOLDER)
def restore(folder: Path) -> None:
    """Restore the backup in FOLDER to a broker that has not been used yet."""
    settings = Settings.from_environment()

    async def run() -> None:
        async with _unused(settings) as connection:
            with _disk(folder):
                counts = await copies.restore(connection, folder)
            await set_up(connection, settings)  # what this release needs besides
        _tell(counts, f"at {connection.url}")

    in_loop(run())


@contextlib.asynccontextmanager
async def _unused(settings: Settings) -> AsyncGenerator[Connection]:
    """The broker of `settings`, before anything is set up in it."""
    async with contextlib.AsyncExitStack() as stack:
        url = settings.nats_url or (await stack.enter_async_context(embedded_broker(settings.home))).url
        connecting = connect(url, name=f"v2t restore on {settings.node}", login=Login.of(settings))
        yield await stack.enter_async_context(await connecting)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{error.filename or folder}: {error.strerror}: free some space, or use another folder"
        ) from None


def _tell(counts: dict[str, int], where: str) -> None:
    for name, messages in counts.items():
        click.echo(f"{name:22}{messages} messages")
    click.echo(f"everything is {where}")

"""Transcripts in the store: written there in every format, and read in a format and a style."""

from schemas.transcript import Transcript
from v2t_stream.errors import ObjectMissing
from v2t_stream.host.threads import in_thread
from v2t_stream.jobs.assembly import stored
from v2t_stream.jobs.formats import CAPTIONS, KARAOKE, render, render_all
from v2t_stream.store.protocol import ObjectStore
from v2t_stream.subtitles.style import Style


async def write(store: ObjectStore, prefix: str, record: Transcript) -> None:
    """Store the record at `prefix` in every format. Raises StoreError."""
    for format_, text in render_all(record):
        await store.put(f"{prefix}.{format_}", text.encode())


async def written(
    store: ObjectStore,
    prefix: str,
    format: str,  # noqa: A002  as `render` calls it
    *,
    style: Style | None = None,
    highlight: bool = False,
) -> str:
    """The transcript at `prefix`, as Completed names it; `style` and `highlight` as for `render`.

    A format that the release which stored the transcript did not have is made of its record. Raises StoreError:
    ObjectMissing if it has expired.
    """
    if not (style and format in CAPTIONS) and not (highlight and format in KARAOKE):
        try:
            return (await store.get(f"{prefix}.{format}")).decode()
        except ObjectMissing:
            if format == "json":
                raise
    record = await stored(store, prefix)
    # Ten hours of words take seconds, in which a server must answer others.
    return await in_thread(lambda: render(record, format, style=style, highlight=highlight))

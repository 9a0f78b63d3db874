"""From an open container to the decoded frames of one track; skips damage, as players do."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from v2t_stream.audio.clock import Clock
from v2t_stream.audio.damage import Damage
from v2t_stream.audio.source import read_only

# Limits for sound before the first picture: some seconds of packets, and what memory can hold.
_PACKETS: Final = 500
_BYTES: Final = 1 << 24


def frames_of(
    container: InputContainer, stream: AudioStream, damage: Damage, clock: Clock, until: float | None = None
) -> Iterator[AudioFrame]:
    """Every decodable frame of packets before the timestamp `until`; raises Reject for too much damage.

    This also starts the clock, at the first timestamp of any stream.
    """
    pictures = _pictures(container)
    read_only(container, stream, *pictures)
    packets = _packets(container, (stream, *pictures), damage, clock)
    early: list[Packet[Any]] = []
    if pictures:
        clock.start(_first_picture(packets, early))
        read_only(container, stream)
    index = stream.index
    for packet in chain(early, packets):
        if packet.stream_index != index:
            continue
        if until is not None and packet.pts is not None and packet.pts * packet.time_base >= until:
            return
        try:
            frames = cast("list[AudioFrame]", packet.decode())
        except av.FFmpegError:
            damage.undecoded += _seconds(packet)
            damage.skip(_seconds(packet), clock.now)
            continue
        damage.passed(len(frames))
        yield from frames


def goes_on(container: InputContainer, stream: AudioStream, after: float, until: float) -> bool:
    """Whether another stream goes on from the timestamp `after` to about `until`."""
    others = [other for other in container.streams if other.index != stream.index]
    if not others:
        return False
    read_only(container, *others)
    near = until - (until - after) / 4
    try:
        container.seek(int(after * av.time_base))
        packets = container.demux(others)
        return any(packet.pts is not None and packet.pts * packet.time_base >= near for packet in packets)
    except (av.FFmpegError, IndexError):
        return False


def _pictures(container: InputContainer) -> list[Stream]:
    """Streams whose start FFmpeg may not know, because it is not allowed to decode them."""
    if "mov" in container.format.name.split(","):  # its index has the times of all packets
        return []
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _first_picture(packets: "Iterator[Packet[Any]]", early: "list[Packet[Any]]") -> float | None:
    """Find the timestamp of the first picture, in seconds; the packets of sound before it go to `early`."""
    size = 0
    for packet in packets:
        if packet.stream.type == "video":
            if packet.pts is not None and not packet.is_discard:
                return float(packet.pts * packet.time_base)
            continue
        early.append(packet)
        size += packet.size
        if len(early) >= _PACKETS or size > _BYTES:
            break
    return None


def _packets(
    container: InputContainer, streams: tuple[Stream, ...], damage: Damage, clock: Clock
) -> "Iterator[Packet[Any]]":
    while True:
        try:
            yield from container.demux(streams)
        except IndexError:  # a packet of a late stream: PyAV knows only those at the start
            continue
        except av.FFmpegError:  # the container is damaged here, and its reader resyncs
            damage.skip(1.0, clock.now)
        else:
            return


def _seconds(packet: "Packet[Any]") -> float:
    return float((packet.duration or 0) * packet.time_base) or 0.02  # the shortest usual packet

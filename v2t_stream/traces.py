"""A job's trace: one id in the headers of all its messages, in the format of W3C's Trace Context.

If OpenTelemetry is installed and has a receiver, the work on each message becomes a span; otherwise the header passes
through unchanged.
"""

import contextlib
import contextvars
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)

HEADER: Final = "traceparent"
_VALID: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_RECEIVERS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_LAST: Final = 3.0  # seconds for the last spans if the receiver is away

_parent: contextvars.ContextVar[str] = contextvars.ContextVar("traceparent", default="")
_tracer: "Tracer | None" = None


@contextlib.contextmanager
def sent(node: str, stage: str) -> Iterator[None]:
    """Send the block's spans to the environment's receiver, if set. Only then it imports OpenTelemetry."""
    global _tracer  # noqa: PLW0603  # one per process, like logging
    if not (provider := _provider(node, stage)):
        yield
        return
    _tracer = provider.get_tracer("v2t_stream")
    try:
        yield
    finally:
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST)


def _provider(node: str, stage: str) -> "TracerProvider | None":
    if not any(map(os.environ.get, _RECEIVERS)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  # an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        names = " or ".join(_RECEIVERS)
        log.warning("%s is set, but no spans are sent without OpenTelemetry: install v2t-stream[otel]", names)
        return None
    whose = Resource.create({"service.name": f"v2t-{stage}", "host.name": node})
    provider = TracerProvider(resource=whose, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def header() -> dict[str, str]:
    """The headers for this task's messages; empty if it belongs to no trace."""
    parent = _parent.get()
    return {HEADER: parent} if parent else {}


def begin() -> dict[str, str]:
    """The headers for a message that begins a trace; this task's own trace if it has one."""
    return header() or {HEADER: _new()}


def take(headers: Mapping[str, str] | None) -> None:
    """Join this task to the trace of a message with these headers, or to a new one."""
    came = (headers or {}).get(HEADER, "")
    _parent.set(came if _VALID.fullmatch(came) else _new())


@contextlib.contextmanager
def span(name: str, **attributes: str | int) -> Iterator[None]:
    """Run the block as a span of this task's trace; messages that it publishes belong to the span."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind, format_span_id, format_trace_id  # noqa: PLC0415  # an extra
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    parent = TraceContextTextMapPropagator().extract(header())
    with _tracer.start_as_current_span(name, parent, SpanKind.CONSUMER, attributes) as current:
        context = current.get_span_context()
        ids = format_trace_id(context.trace_id), format_span_id(context.span_id)
        _parent.set(f"00-{ids[0]}-{ids[1]}-{context.trace_flags:02x}")
        yield


def _new() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"

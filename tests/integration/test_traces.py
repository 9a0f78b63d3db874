"""One trace for a job, across all its stages and processes, as a real OTLP receiver gets it."""

import asyncio
import http.server
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.requests import SubmitRequest
from tests.harness import ALL_STAGES, DATA, broker, ended, node, served, upload
from tests.patience import PATIENCE
from v2t_stream.broker.connection import Connection
from v2t_stream.jobs.submission import submit
from v2t_stream.topology.streams import JOBS


class Receiver(http.server.ThreadingHTTPServer):
    """Receives what OpenTelemetry's exporters send over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[tuple[str, Span]] = []  # with the name of the service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in request.resource_spans:
            names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [(names["service.name"], span) for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The terminal is for pytest."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


async def trace_ids(connection: Connection, job: str) -> dict[str, str]:
    """The trace that each of a job's facts belongs to, by subject."""
    found = {}
    for subject in await connection.subjects(JOBS, f"v2t.job.{job}.>"):
        if ".progress." not in subject:
            message = await connection.client.jetstream().get_last_msg(JOBS, subject)
            found[subject] = (message.headers or {}).get("traceparent", "none").split("-")[1]
    return found


async def test_every_stage_is_a_span_of_one_trace(tmp_path: Path, receiver: Receiver) -> None:
    """Else nobody sees in Jaeger or Tempo where a job's time went."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with broker(tmp_path / "nats") as (server, connection):
        with (
            served(DATA) as media,
            node(
                server.url, tmp_path / "home", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_BSP_SCHEDULE_DELAY="200"
            ),
        ):
            # As a client of another kind would, that traces itself.
            await connection.client.jetstream().publish(
                "v2t.submit",
                f"{media}/3min.ogg".encode(),
                headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"},
            )
            async with asyncio.timeout(PATIENCE):
                while not (completed := await connection.subjects(JOBS, "v2t.job.*.completed")):
                    await asyncio.sleep(0.1)
                job = completed[0].split(".")[2]
                # All that others have as their parents: what is not sent when a stage ends may be lost.
                results = len(await connection.subjects(JOBS, f"v2t.job.{job}.chunk.*"))
                while (sent := Counter(span.name for _, span in receiver.spans)).keys() != {*ALL_STAGES} or sent[
                    "transcribe"
                ] < results:
                    await asyncio.sleep(0.1)
        assert set((await trace_ids(connection, job)).values()) == {trace}
    assert {span.trace_id.hex() for _, span in receiver.spans} == {trace}
    assert {(service, span.name) for service, span in receiver.spans} == {(f"v2t-{name}", name) for name in ALL_STAGES}
    (root,) = (span for _, span in receiver.spans if span.name == "intake")
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    known = {span.span_id for _, span in receiver.spans}
    assert all(span.parent_span_id in known for _, span in receiver.spans if span is not root)
    chunks = [span for _, span in receiver.spans if span.name == "transcribe"]
    assert len(chunks) > 1
    attributes = {attribute.key: attribute.value.string_value for attribute in chunks[0].attributes}
    assert attributes["v2t.job"] == job
    assert re.fullmatch(rf"v2t\.chunk\.any\.{job}\.\d+", attributes["messaging.destination.name"])


async def test_a_failure_is_seen_in_its_span(tmp_path: Path, receiver: Receiver) -> None:
    """Else the trace of a failed job looks like any other."""
    async with broker(tmp_path / "nats") as (server, connection):
        with node(
            server.url,
            tmp_path / "home",
            *("intake", "download"),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_BSP_SCHEDULE_DELAY="200",
        ):
            job, _ = await submit(connection, SubmitRequest(media="media/none"))
            assert (await ended(connection, job)).state == "failed"
            async with asyncio.timeout(PATIENCE):
                while not (failed := [span for _, span in receiver.spans if span.name == "download"]):
                    await asyncio.sleep(0.1)
            traces = await trace_ids(connection, job)
    assert "no longer in the object store" in failed[0].status.message
    assert set(traces.values()) == {failed[0].trace_id.hex()}, "the fact that it failed belongs to the trace too"


async def test_a_receiver_that_is_away_keeps_nobody_from_working(tmp_path: Path) -> None:
    """Else the pipeline stops when a monitoring server is down."""
    async with broker(tmp_path / "nats") as (server, connection):
        with node(server.url, tmp_path / "home", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1") as machine:
            media = await upload(connection, DATA / "5s.flac")
            job, _ = await submit(connection, SubmitRequest(media=media))
            assert (await ended(connection, job)).state == "completed"
            machine.stop()  # it waits for 30 s at most


async def test_a_job_is_one_trace_without_opentelemetry_too(tmp_path: Path) -> None:
    """Else others cannot connect their logs and traces with it."""
    async with broker(tmp_path / "nats") as (server, connection):
        with node(server.url, tmp_path / "home"):
            media = await upload(connection, DATA / "20s-1.flac")
            job, _ = await submit(connection, SubmitRequest(media=media))
            assert (await ended(connection, job)).state == "completed"
        traces = await trace_ids(connection, job)
    assert len(traces) > 4
    assert len(set(traces.values())) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", traces.popitem()[1])

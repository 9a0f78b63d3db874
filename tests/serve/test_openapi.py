"""The OpenAPI document, from which people generate clients."""

import inspect
import re
from typing import Any, cast, get_type_hints

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from schemas.events import Corrected
from schemas.transcript import Transcript
from tests import builders
from tests.serve.api import done
from v2t_stream.jobs.state import Job, fold
from v2t_stream.jobs.summary import summary
from v2t_stream.runtime.session import Session
from v2t_stream.runtime.status import Around, facts_of
from v2t_stream.serve.app import application
from v2t_stream.serve.openapi import document, operations
from v2t_stream.serve.types import JobStatus, JobSummary
from v2t_stream.settings import Settings

METHODS = {"get", "post", "put", "patch", "delete", "options", "head"}


@pytest.fixture(scope="module")
def app() -> web.Application:
    nothing = cast("Any", None)  # no route is called
    return application(Session(nothing, nothing, "", local=False), Settings(), "127.0.0.1")


def test_every_route_is_described(app: web.Application) -> None:
    """A client generated from the document lacks what the server can do."""
    paths = document(operations(app))["paths"]
    for route in app.router.routes():
        if route.resource is None or route.method in ("HEAD", "*"):
            continue
        told = paths[route.resource.canonical][route.method.lower()]
        assert told["summary"].endswith("."), f"{route.method} {route.resource.canonical} needs a docstring"
        named = {each["name"] for each in told["parameters"] if each["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", route.resource.canonical))


def test_what_a_handler_checks_is_described(app: web.Application) -> None:
    """A parameter that the server refuses is in the document, or one that it takes is not."""
    for operation in operations(app):
        if operation.path.startswith("/v1/jobs") and operation.about.query:
            route = next(
                each
                for each in app.router.routes()
                if each.resource
                and (each.resource.canonical, each.method.lower()) == (operation.path, operation.method)
            )
            source = inspect.getsource(route.handler)
            (taken,) = re.findall(r"checked\(request, ([^)]*)\)", source)
            names = set(re.findall(r'"(\w+)"', taken))
            assert names <= operation.about.query.keys(), operation.path


def test_the_document_is_valid(app: web.Application) -> None:
    """No generator reads it."""
    told = document(operations(app))
    assert told["openapi"].startswith("3.1.")
    assert {"title", "version"} <= told["info"].keys()
    schemas = told["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    ids = []
    for path, methods in told["paths"].items():
        assert path.startswith("/")
        assert methods.keys() <= METHODS
        for operation in methods.values():
            ids.append(operation["operationId"])
            assert operation["responses"]
            for parameter in operation["parameters"]:
                assert parameter["in"] in {"path", "query", "header"}
                Draft202012Validator.check_schema(parameter["schema"])
            bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
            for content in (each for body in bodies for each in body.get("content", {}).values()):
                Draft202012Validator.check_schema(content["schema"])
    assert len(set(ids)) == len(ids)
    assert {name.rpartition("/")[2] for name in references(told)} <= schemas.keys()


def references(told: Any) -> list[str]:
    """All that it refers to."""
    if isinstance(told, list):
        return [name for each in told for name in references(each)]
    if not isinstance(told, dict):
        return []
    own = [told["$ref"]] if "$ref" in told else []
    return own + [name for each in told.values() for name in references(each)]


def test_the_types_of_jobs_are_those_that_are_given() -> None:
    """A generated client drops a field, or waits for one that never comes."""
    job = Job("job")
    assert summary(job).keys() == get_type_hints(JobSummary).keys()
    correction = Corrected(job="job", transcript="t", of="o", by="me")
    corrected = fold("job", builders.stored(builders.submitted(), builders.completed(), correction))
    told = facts_of(corrected, builders.transcript(), [], Around())
    assert told.keys() == get_type_hints(JobStatus).keys()


async def test_answers_are_as_the_document_says(client: aiohttp.ClientSession) -> None:
    """A generated client fails at what the server really sends."""
    job = await done(client)
    async with client.get("/openapi.json") as answer:
        told = await answer.json()
    for path, real in (
        ("/v1/jobs", "/v1/jobs"),
        ("/v1/jobs/{job}", f"/v1/jobs/{job}"),
        ("/v1/jobs/{job}/transcript.{format}", f"/v1/jobs/{job}/transcript.json"),
        ("/v1/fleet", "/v1/fleet"),
    ):
        schema = told["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        async with client.get(real) as answer:
            found = await answer.json()
        Draft202012Validator({**schema, "components": told["components"]}).validate(found)
    assert Transcript.__name__ in told["components"]["schemas"]

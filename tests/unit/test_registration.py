"""An engine or a service takes one file and one line, and is then known everywhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.options import Options
from schemas.requests import SubmitRequest
from tests.remote_api import Answer, remote_api
from v2t_stream.doctor import machine
from v2t_stream.engines import registry
from v2t_stream.engines.descriptor import Abilities, EngineDescriptor
from v2t_stream.errors import Reject, Retry
from v2t_stream.host import devices
from v2t_stream.jobs.submission import check
from v2t_stream.models import names, origin, problem
from v2t_stream.models.fetching import Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.chain import Chain
from v2t_stream.transcription.provider import Local
from v2t_stream.transcription.providers import parse, refusal

PARROT = '''
"""An engine in one file."""
from v2t_stream.engines.descriptor import Abilities, EngineDescriptor, Weights

ENGINE = EngineDescriptor(
    transcriber="parrot:Parrot",
    devices=("cpu",),
    batch={"cpu": 3},
    abilities=Abilities(translates=False, hints=frozenset({"prompt"})),
    weights=Weights(repositories={"polly": "parrots/polly"}, file="polly.bin"),
)


class Parrot:
    def __init__(self, *, model, device, threads):
        import numpy

        if model == "demo":
            from v2t_stream.demo import model_path

            model_path("parrot")

    def transcribe(self, chunks, request):
        from schemas.transcript import Segment
        from v2t_stream.transcription.result import Transcription

        said = Segment(start=0.0, end=1.0, text=f"squawk {len(chunks)} {request.prompt}")
        return [Transcription((said,), "en") for _ in chunks]
'''

ORACLE = '''
"""A service in one file."""
from typing import ClassVar

from v2t_stream.engines.descriptor import Abilities
from v2t_stream.transcription.provider import Http, ServiceDescriptor
from v2t_stream.transcription.remote.answer import transcription


class Oracle(Http, frozen=True, kw_only=True):
    KEY: ClassVar[str] = "ORACLE_API_KEY"
    base_url: str = "https://oracle.example"
    model: str = "delphi"
    riddles: bool = False


def hear(provider, caller, audio, seconds, request):
    fields = [("model", request.model), ("file", ("chunk.flac", audio, "audio/flac"))]
    said = caller.post(f"{provider.base_url}/ask", fields, {"Key": provider.key}, provider.key, model=request.model)
    return transcription((), (), text=said["answer"], language="", seconds=seconds, request=request)


SERVICE = ServiceDescriptor(settings=Oracle, hear=hear, abilities=Abilities(word_times=False, hints=frozenset()))
'''

OLD = """
class Old:
    def __init__(self, *, model, device, threads):
        if model == "demo":
            raise RuntimeError("the file of the demo model is damaged")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A third party's package with an engine, a service, one made for release 0.1, and one that is broken."""
    for name, text in {"parrot": PARROT, "oracle": ORACLE, "old": OLD, "broken": "import no_such_module"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    package = tmp_path / "menagerie-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Name: menagerie\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[v2t.engines]\nparrot = parrot:ENGINE\noracle = oracle:SERVICE\nbroken = broken:ENGINE\n"
        "[v2t.transcribers]\nold = old:Old\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("ORACLE_API_KEY", "apollo")
    for cached in (registry._points, registry.descriptor):
        cached.cache_clear()
    yield
    for cached in (registry._points, registry.descriptor):
        cached.cache_clear()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("engine", "status", "says"), [("parrot", "ok", "parrot has no demo model: try it"), ("old", "fail", "is damaged")]
)
async def test_doctor_fails_no_engine_for_lack_of_a_demo_model(engine: str, status: str, says: str) -> None:
    """A third party's sound engine is reported as broken; or a broken one as sound, for the words of its error."""
    finding = await machine.engine(Settings(engine=engine))
    assert (finding.status, says in finding.found) == (status, True)


@pytest.mark.usefixtures("installed")
async def test_an_engine_is_one_file_and_one_line() -> None:
    """A third party has to change our tables to have its engine offered, batched or refused as it should be."""
    check(SubmitRequest(url="http://example.org/x", engine="parrot", model="polly"))
    assert problem("poly", "parrot") == "unknown model 'poly': did you mean polly?"
    assert "polly" in names()["parrot"]
    assert str(getattr(origin("polly", "parrot"), "repository", "")) == "parrots/polly"
    providers = parse(b"providers: [{type: parrot, model: polly, batch: 0}]", "p")
    assert refusal(providers, Options(engine="parrot", task="translate"))
    chain = Chain(providers, Settings(), Models(Settings()))
    try:
        assert (chain.device, chain.slots) == ("cpu", 3 * 2)
        with pytest.raises(Retry, match="parrot does not translate with the model 'polly'"):
            await chain.transcribe(np.zeros(16_000, np.float32), b"", Options(task="translate"))
        wish = Options(prompt="hello", model="/any/path")
        heard = await chain.transcribe(np.zeros(16_000, np.float32), b"", wish)
    finally:
        await chain.close()
    assert [segment.text for segment in heard.transcription.segments] == ["squawk 1 hello"]


@pytest.mark.usefixtures("installed")
async def test_a_service_is_one_file_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever adds one has to find each place that lists the services; the one that is forgotten lies."""
    check(SubmitRequest(url="http://example.org/x", engine="oracle", remote=True))
    with remote_api() as api:
        api.answers = [Answer({"answer": "Know thyself."})]
        text = f"providers: [{{type: oracle, base_url: '{api.url}', riddles: true, remote: true}}]"
        providers = parse(text.encode(), "p")
        assert refusal(providers, Options(remote=True, accelerator="remote", word_timestamps=True))
        chain = Chain(providers, Settings(), Models(Settings()))
        heard = await chain.transcribe(np.zeros(16_000, np.float32), b"fLaC", Options(remote=True, prompt="O"))
    assert (heard.engine, heard.model, heard.transcription.segments[0].text) == ("oracle", "delphi", "Know thyself.")
    assert api.asked[0].headers["Key"] == "apollo"
    assert "oracle takes no prompt: it transcribes without" in caplog.messages


@pytest.mark.usefixtures("installed")
def test_an_engine_of_release_0_1_counts_as_able_to_do_everything() -> None:
    """An engine that worked before the upgrade is refused the jobs that it did."""
    old = registry.descriptor("old")
    assert isinstance(old, EngineDescriptor)
    assert (old.devices, old.batch, old.calls, old.weights) == (devices.ANY, {}, {}, None)
    assert old.able("any") == Abilities()
    wish = Options(engine="old", model="any", task="translate", word_timestamps=True, language="de", prompt="x")
    assert refusal([Local(type="old")], wish) is None
    check(SubmitRequest(url="http://example.org/x", engine="old", model="any"))
    assert registry.load_engine("old").__name__ == "Old"


@pytest.mark.usefixtures("installed")
def test_a_package_that_does_not_load_breaks_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """One bad plugin and no command of this machine works."""
    assert "broken" not in registry.engines()
    assert "faster-whisper" in registry.engines()
    assert any("the engine broken cannot be used" in message for message in caplog.messages)
    with pytest.raises(Reject, match="unknown engine 'broken': this machine has faster-whisper"):
        registry.load_engine("broken")


def test_reading_all_descriptors_loads_nothing_heavy() -> None:
    """Every command and every stage waits for engines and HTTP libraries that it does not use."""
    code = (
        "import sys\nfrom v2t_stream.engines import registry\n"
        "assert all(registry.descriptor(name) for name in registry.names())\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "urllib3", "faster_whisper", "ctranslate2", "_pywhispercpp", "huggingface_hub", "nats", "av"}
    assert not heavy & set(run.stdout.split())


@pytest.mark.parametrize("name", ["faster-whisper", "whisper-cpp"])
def test_an_engine_reads_every_hint_that_it_claims(name: str) -> None:
    """A prompt is taken and thrown away, by an engine that says that it makes a difference."""
    about = registry.engine(name)
    module = sys.modules[registry.load_engine(name).__module__]
    source = Path(str(module.__file__)).read_text()
    assert {hint for hint in about.abilities.hints if f"request.{hint}" not in source} == set()

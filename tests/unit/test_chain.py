"""The order of the chain and the limits of a link, with engines that the test controls."""

import asyncio
import os
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from schemas.options import Options, Request
from schemas.transcript import Segment
from v2t_stream.errors import Elsewhere, Reject, Retry, Unready, Unusable
from v2t_stream.models.fetching import Held, Models
from v2t_stream.settings import Settings
from v2t_stream.transcription.chain import Chain, Heard
from v2t_stream.transcription.link import Link
from v2t_stream.transcription.patience import DEFAULT, Patience
from v2t_stream.transcription.provider import Local, Provider
from v2t_stream.transcription.remote.openai import OpenAI
from v2t_stream.transcription.transcriber import Samples, Transcription

SAMPLES = np.zeros(16_000, np.float32)


class Scripted:
    """Does what its script says, the last line again and again."""

    def __init__(self, name: str, *script: Exception | float) -> None:
        self.name = name
        self.script: list[Exception | float] = list(script) or [0.0]
        self.preparing = 0.0
        self.asks: list[Request] = []
        self.times: list[float] = []
        self.busy = self.most_busy = 0
        self.cancelled = False

    async def prepare(self, model: str) -> None:
        await asyncio.sleep(self.preparing)

    async def hear(self, samples: Samples, audio: bytes, request: Request) -> tuple[Transcription, float]:
        self.asks.append(request)
        self.times.append(time.monotonic())
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await asyncio.sleep(step)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.busy -= 1
        return Transcription((Segment(start=0, end=1, text=self.name),), "en"), 0.5

    async def close(self) -> None: ...


def chain(*links: tuple[Provider, Scripted], patience: Patience = DEFAULT) -> Chain:
    made = Chain([], Settings(), Models(Settings()), patience)
    made.links = [Link(provider, engine, patience=patience) for provider, engine in links]
    return made


def local(name: str = "faster_whisper", **settings: object) -> Local:
    return Local(type="faster_whisper", name=name, model="small", **settings)  # type: ignore[arg-type]


def remote(name: str = "openai", **settings: object) -> OpenAI:
    return OpenAI(type="openai", name=name, **settings)  # type: ignore[arg-type]


async def hear(chain: Chain, **options: object) -> Heard:
    return await chain.transcribe(SAMPLES, b"fLaC", Options(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [Retry("busy"), Unusable("no key"), Reject("only English")])
async def test_what_fails_on_one_goes_to_the_next(error: Exception) -> None:
    """Else one engine's bad day is a gap in the transcript."""
    first, second = Scripted("a", error), Scripted("b")
    heard = await hear(chain((local("a"), first), (remote("b", model="m"), second)), remote=True)
    assert (heard.provider, heard.engine, heard.model, heard.seconds) == ("b", "openai", "m", 0.5)
    assert (len(first.asks), len(second.asks)) == (1, 1)


async def test_the_first_that_works_is_the_last_asked() -> None:
    """Else every chunk is paid for twice."""
    first, second = Scripted("a"), Scripted("b")
    assert (await hear(chain((local("a"), first), (local("b"), second)))).provider == "a"
    assert not second.asks


@pytest.mark.parametrize(
    ("errors", "kind", "text"),
    [
        ((Reject("one"), Reject("two")), Reject, "one"),
        ((Reject("one"), Retry("two")), Retry, "two"),
        ((Retry("one"), Reject("two")), Retry, "one"),
        ((Retry("one"), Retry("two")), Retry, "two"),
    ],
)
async def test_only_what_all_refuse_is_given_up(
    errors: tuple[Exception, ...], kind: type[Exception], text: str
) -> None:
    """Else a chunk is lost because a service was away for a minute, or is retried for ever."""
    with pytest.raises(kind, match=text):
        await hear(chain(*((local(f"{n}"), Scripted("", error)) for n, error in enumerate(errors))))


async def test_a_remote_provider_is_only_asked_with_permission() -> None:
    """Else audio leaves the house, and money leaves the account, without permission."""
    paid, own = Scripted("paid"), Scripted("own")
    both = chain((remote(), paid), (local(), own))
    assert (await hear(both)).provider == "faster_whisper"
    assert not paid.asks
    assert (await hear(both, remote=True)).provider == "openai"
    with pytest.raises(Retry, match=r"only remote providers .* does not allow .*openai.*--remote"):
        await hear(chain((remote(), paid)))
    with pytest.raises(Reject, match="--remote"):
        await hear(both, accelerator="remote")
    with pytest.raises(Retry, match="--remote"):
        await hear(both, engine="openai")
    assert len(paid.asks) == 1


async def test_a_pinned_job_stays_where_it_is_pinned() -> None:
    """Else `--accelerator remote` computes here, or `--accelerator cpu` is paid for."""
    paid, own = Scripted("paid"), Scripted("own")
    both = chain((local(), own), (remote(), paid))
    assert (await hear(both, accelerator="remote", remote=True)).provider == "openai"
    paid.script = own.script = [Retry("down")]
    with pytest.raises(Retry):
        await hear(both, accelerator="cpu", remote=True)
    assert (len(own.asks), len(paid.asks)) == (1, 1)


async def test_a_jobs_engine_and_model_are_what_it_gets() -> None:
    """Else a comparison of engines compares one with itself."""
    own, paid = Scripted("own"), Scripted("paid")
    both = chain((local(), own), (remote(), paid))
    assert (await hear(both, engine="openai", remote=True, model="gpt-4o-transcribe")).model == "gpt-4o-transcribe"
    assert (await hear(both, model="tiny")).model == "tiny"
    own.script = [Retry("down")]
    assert (await hear(both, model="tiny", remote=True)).model == "gpt-transcribe"  # which knows no "tiny"
    with pytest.raises(Retry, match="no provider elevenlabs"):
        await hear(both, engine="elevenlabs", remote=True)
    with pytest.raises(Reject, match="unknown engine 'other'"):
        await hear(both, engine="other")
    await both.close()


async def test_what_a_provider_cannot_do_is_not_asked_of_it() -> None:
    """Else an English model makes up words for German, or a chunk is lost though another machine can do it."""
    english, turbo, paid = Scripted("english"), Scripted("turbo"), Scripted("paid")
    links = (
        (msgspec.structs.replace(local("english"), model="tiny.en"), english),
        (msgspec.structs.replace(local("turbo"), model="large-v3-turbo"), turbo),
        (remote(), paid),
    )
    assert (await hear(chain(*links), language="de", remote=True)).provider == "turbo"
    assert (await hear(chain(*links), language="en", remote=True)).provider == "english"
    assert (await hear(chain(*links), model="small", task="translate", remote=True)).provider == "english"
    assert (await hear(chain(*reversed(links)), word_timestamps=True, remote=True)).provider == "turbo"
    said = "english does not translate with the model 'tiny.en'; turbo does .*; openai does .* 'gpt-transcribe'"
    with pytest.raises(Elsewhere, match=said) as caught:
        await hear(chain(*links), task="translate", remote=True)
    assert caught.value.delay
    assert caught.value.BLAMELESS  # a machine that is free for it must not use up the tries of one that can do it
    assert not paid.asks


async def test_retries_stay_with_the_provider() -> None:
    """Else a hiccup of the network moves a job to the dearer service."""
    first, second = Scripted("a", Retry("1"), Retry("2"), 0.0), Scripted("b")
    made = chain((local("a", retries=2), first), (local("b"), second), patience=Patience(backoff=(0.01,)))
    assert (await hear(made)).provider == "a"
    assert (len(first.asks), len(second.asks)) == (3, 0)
    first.script = [Retry("down")]
    assert (await hear(made)).provider == "b"
    assert len(first.asks) == 6


async def test_a_refused_key_is_not_tried_again() -> None:
    """Else an account is locked for too many wrong keys."""
    first, second = Scripted("a", Unusable("wrong key")), Scripted("b")
    await hear(chain((local("a", retries=5), first), (local("b"), second)))
    assert len(first.asks) == 1


async def test_a_service_that_asks_to_wait_is_left_alone() -> None:
    """Else it blocks the account; its wait applies to the other chunks too."""
    first, second = Scripted("a", Retry("slow down", 30)), Scripted("b")
    made = chain((remote("a", retries=3), first), (local("b"), second))
    assert [(await hear(made, remote=True)).provider for _ in range(3)] == ["b", "b", "b"]
    assert len(first.asks) == 1


async def test_a_timeout_ends_the_call() -> None:
    """Else one hung engine holds a slot until the node is restarted."""
    first, second = Scripted("a", 60.0), Scripted("b")
    assert (await hear(chain((local("a", timeout=0.05), first), (local("b"), second)))).provider == "b"
    assert first.cancelled
    with pytest.raises(Retry, match=r"a took longer than 0\.05 s \(timeout\)"):
        await hear(chain((local("a", timeout=0.05), first)))


async def test_the_way_of_a_model_is_not_the_engines_time() -> None:
    """Else a large model never arrives over a slow line, because each download is given up."""
    engine = Scripted("a", 0.0)
    engine.preparing = 0.2
    assert (await hear(chain((local("a", timeout=0.1), engine)))).provider == "a"


async def test_a_chunk_is_given_back_before_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a chunk that only waits for its model counts as failed."""

    async def hold(*_: str) -> Held:
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(Models, "hold", hold)
    made = Chain([local()], Settings(device="cpu"), Models(Settings()), Patience(model=0.05))
    with pytest.raises(Unready, match="'large-v3' is still on its way to this machine"):
        await hear(made, model="large-v3")


async def test_a_hung_engine_is_ended_and_the_next_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the setting `timeout` frees the chunk but not the processor."""
    (tmp_path / "hung.py").write_text(
        "import os, time\n"
        "class Hung:\n"
        "    def __init__(self, **_): open(os.environ['HUNG_PID'], 'w').write(str(os.getpid()))\n"
        "    def transcribe(self, chunks, **_): time.sleep(600)\n"
    )
    (tmp_path / "hung-1.dist-info").mkdir()
    (tmp_path / "hung-1.dist-info" / "METADATA").write_text("Name: hung\nVersion: 1\n")
    (tmp_path / "hung-1.dist-info" / "entry_points.txt").write_text("[v2t.transcribers]\nhung = hung:Hung\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("HUNG_PID", str(tmp_path / "pid"))
    made = Chain([Local(type="hung", name="hung", timeout=6, device="cpu")], Settings(), Models(Settings()))
    made.links.append(Link(local("b"), Scripted("b")))
    await made.warm()
    assert (await hear(made)).provider == "b"
    await made.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_long_rest_does_not_keep_the_chunk_from_others() -> None:
    """Else a chunk waits for a day because one account is used up."""
    with pytest.raises(Retry, match="used up") as caught:
        await hear(chain((remote(), Scripted("", Retry("used up", 86_400)))), remote=True)
    assert caught.value.delay == 300


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (0, 8)])
async def test_no_more_calls_at_once_than_allowed(limit: int, most: int) -> None:
    """Else the service refuses, or the small machine swaps."""
    engine = Scripted("a", 0.02)
    made = chain((local(max_concurrency=limit), engine))
    await asyncio.gather(*(hear(made) for _ in range(8)))
    assert engine.most_busy == most


async def test_a_rate_limit_passes_chunks_on_or_makes_them_wait() -> None:
    """Else a node breaks the limit, or gives up chunks that only had to wait."""
    first, second = Scripted("a"), Scripted("b")
    made = chain((local("a", rate_limit_per_minute=2), first), (local("b"), second))
    assert [(await hear(made)).provider for _ in range(4)] == ["a", "a", "b", "b"]
    alone = chain((local("a", rate_limit_per_minute=2), first), patience=Patience(minute=0.2))
    begun = time.monotonic()
    await asyncio.gather(*(hear(alone) for _ in range(6)))
    assert [first.times[2 + n] - begun >= 0.2 * (n // 2) for n in range(6)] == [True] * 6  # two at a time


async def test_a_chain_offers_what_it_does() -> None:
    """Else a job is refused although this machine could do it, or accepted and then fails."""
    made = Chain([local(), remote()], Settings(device="cpu", model="large-v3"), Models(Settings()))
    told = {offer.engine: offer for offer in made.offers}
    assert (told["faster-whisper"].model, told["faster-whisper"].listed) == ("small", True)
    assert not told["faster-whisper"].remote
    assert (told["openai"].is_service, told["openai"].remote, told["openai"].abilities.word_times) == (
        True,
        True,
        False,
    )
    assert (told["whisper-cpp"].model, told["whisper-cpp"].listed) == ("large-v3", False)  # only where it is asked for
    assert "elevenlabs" not in told


def accelerators(*providers: Provider) -> set[str]:
    return Chain(providers, Settings(device="cpu"), Models(Settings())).accelerators


async def test_a_machine_takes_only_chunks_it_may_do() -> None:
    """Else a machine with only a paid service takes chunks that others must do."""
    assert accelerators(local()) == {"cpu", "any"}
    assert accelerators(local(), remote()) == {"cpu", "remote", "any"}
    assert accelerators(remote()) == {"remote"}
    assert accelerators(remote(base_url="http://localhost:1")) == {"any"}

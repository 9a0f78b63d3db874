"""A job that a fleet can never do is refused, with a hint who could; a job that it may be able to do waits."""

import msgspec
import pytest

from schemas.message import decode_as
from schemas.options import Options
from tests.builders import process
from v2t_stream.engines.refusal import NodeOffers, refusal
from v2t_stream.fleet.ability import judged
from v2t_stream.fleet.presence import NodeInfo
from v2t_stream.transcription.providers import offers, parse


def node(name: str, takes: set[str], *entries: str) -> NodeOffers:
    providers = parse("\n".join(["providers:", *(f"- {entry}" for entry in entries)]).encode(), "p")
    return NodeOffers(name, frozenset(takes), offers((each for each in providers if each.enabled), "small"))


TURBO = node("studio", {"cpu", "any"}, "{type: faster_whisper, model: large-v3-turbo}")
ENGLISH = node("mac", {"metal", "any"}, "{type: whisper_cpp, model: tiny.en}")
SMALL = node("attic", {"cpu", "any"}, "{type: faster_whisper}")
PAID = node("paid", {"remote"}, "{type: openai}")
LABS = node("labs", {"remote"}, "{type: elevenlabs}")
OLD_NAME = node("paid", {"remote"}, "{type: openai, model: whisper-1}")
FORM = node("house", {"any"}, "{type: custom_http, remote: false, url: 'http://10.0.0.2/asr'}")


@pytest.mark.parametrize(
    ("nodes", "asked", "reason", "advice"),
    [
        (
            [TURBO],
            {"task": "translate"},
            "faster-whisper does not translate with the model 'large-v3-turbo'",
            "submit it with --model small, which faster-whisper on studio can do",
        ),
        ([SMALL], {"task": "translate", "model": "turbo"}, "with the model 'turbo'", "without --model, which"),
        ([ENGLISH], {"language": "de"}, "knows only en with the model 'tiny.en', not 'de'", "with --model small,"),
        ([SMALL], {"language": "de", "model": "distil-medium.en"}, "knows only en", "without --model, which"),
        ([FORM], {"task": "translate"}, "custom-http does not translate as it is set up", "--engine faster-whisper,"),
        (
            [PAID],
            {"remote": True, "accelerator": "remote", "task": "translate"},
            "openai does not translate with the model 'gpt-transcribe'",
            "faster-whisper or whisper-cpp could, if a node's providers.yaml has a model for it",
        ),
        (
            [PAID, LABS],
            {"remote": True, "accelerator": "remote", "engine": "openai", "word_timestamps": True},
            "openai gives no word times with the model 'gpt-transcribe'",
            "submit it with --engine elevenlabs, which elevenlabs on labs can do",
        ),
        ([ENGLISH], {"model": "distil-large-v3"}, "whisper-cpp has no model 'distil-large-v3'", "without --model"),
        (
            [SMALL, ENGLISH],
            {"engine": "elevenlabs", "remote": True},
            "none has elevenlabs, only faster-whisper and whisper-cpp",
            "with --engine faster-whisper, which faster-whisper on attic can do",
        ),
        ([PAID], {"engine": "openai"}, "openai is a remote provider", "with --remote and --accelerator remote, which"),
        (
            [SMALL, PAID],
            {"engine": "openai"},
            "none has openai, only faster-whisper",
            "with --remote and --accelerator",
        ),
    ],
)
def test_a_job_that_no_node_can_do_is_refused_with_what_could_do_it(
    nodes: list[NodeOffers], asked: dict[str, object], reason: str, advice: str
) -> None:
    """The job waits for ever, or fails chunk by chunk; or the user is not told what would help."""
    said = refusal(nodes, Options(**asked))  # type: ignore[arg-type]
    assert said
    assert said.startswith("no node that is up can do this job: ")
    assert reason in said
    assert advice in said


@pytest.mark.parametrize(
    ("nodes", "asked"),
    [
        ([TURBO, SMALL], {"task": "translate"}),  # one can
        ([TURBO], {"task": "translate", "model": "small"}),
        ([TURBO], {"task": "translate", "engine": "whisper-cpp"}),  # installed, though in no provider
        ([ENGLISH], {"language": "en"}),
        ([SMALL], {"language": "de", "model": "distil-large-v3"}),  # badly, but it does, and may detect it by itself
        ([ENGLISH], {"language": "de", "model": "/models/german"}),  # only the engine knows what is there
        ([ENGLISH], {"language": "de", "model": "org/german"}),
        ([SMALL], {"accelerator": "cuda", "engine": "openai"}),  # a machine with a card may have it, and may start
        ([SMALL], {"word_timestamps": True, "task": "translate", "language": "de"}),
        ([OLD_NAME], {"remote": True, "accelerator": "remote", "word_timestamps": True}),
        ([PAID], {"remote": True, "accelerator": "remote", "engine": "openai", "model": "their-own-tuned"}),
        ([], {"task": "translate", "engine": "openai"}),  # nobody is up yet
        ([PAID], {}),  # which waits for a machine of one's own
        ([PAID], {"engine": "whisper-cpp", "task": "translate"}),
    ],
)
def test_what_somebody_can_do_or_may_be_able_to_do_is_not_refused(
    nodes: list[NodeOffers], asked: dict[str, object]
) -> None:
    """A job that would have been done is lost at the door."""
    assert refusal(nodes, Options(**asked)) is None  # type: ignore[arg-type]


def told(of: NodeOffers, **fields: object) -> NodeInfo:
    """What the node announces, over the wire."""
    info = process(node=of.node, takes=tuple(of.takes), offers=of.offers, **fields)
    return decode_as(NodeInfo, msgspec.json.encode(info))


def test_a_node_that_says_nothing_of_its_offers_may_be_able() -> None:
    """In a fleet of two releases, or while a node starts again, jobs are refused that are done a minute later."""
    wish = Options(task="translate")
    assert judged([told(TURBO)], wish)
    assert judged([], wish) is None
    older = process(node="old", version="0.1.0")
    assert judged([told(TURBO), older], wish) is None
    again = process(node="again", state="restarting in 4 s")
    assert judged([told(TURBO), again], wish) is None
    assert judged([told(TURBO, state="restarting in 4 s")], wish) is None


def test_an_announcement_stays_small() -> None:
    """A fleet of a thousand nodes sends it a thousand times a second."""
    assert len(msgspec.json.encode(TURBO.offers)) < 300


def test_what_a_newer_release_offers_is_read_by_this_one() -> None:
    """A node with one more ability is seen by nobody."""
    data = msgspec.json.decode(msgspec.json.encode(told(SMALL)))
    data["offers"][0] |= {"diarizes": True, "abilities": {"sings": True}}
    assert decode_as(NodeInfo, msgspec.json.encode(data)).offers[0].engine == "faster-whisper"

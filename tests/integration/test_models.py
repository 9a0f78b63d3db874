"""Models on their way: from a hub on loopback and from the fleet's store, real ones, to machines that are killed."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from tests.harness import DATA, Server, broker, bytes_in, node, reference, s3_server
from tests.hub import Hub, hub, no_hub
from tests.patience import PATIENCE
from tests.small_disk import small_disk
from v2t_stream.demo import model_path
from v2t_stream.demo.wer import word_error_rate
from v2t_stream.models import origin, shared
from v2t_stream.models.fetching import Models, Transfer
from v2t_stream.models.folder import Manifest, ModelFile, ModelFolder, sha256_of
from v2t_stream.settings import Settings
from v2t_stream.store.jetstream_store import JetStreamStore
from v2t_stream.store.protocol import ObjectStore

TINY = origin("tiny", "faster-whisper")
assert TINY
DEMO = Path(model_path("faster-whisper"))


@pytest.fixture
def web() -> Iterator[Hub]:
    with hub() as served:
        yield served


class Machine:
    """Where `v2t` is called, with a data directory of its own."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        self.folder = ModelFolder(home / "models")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("V2T_", "HF_"))},
            "V2T_DATA_DIR": str(home),
            **environment,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "v2t_stream", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """What it says."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        return out + err

    def has_whole(self, key: str = "faster-whisper/tiny") -> bool:
        manifest = self.folder.manifest(key)
        return manifest is not None and not self.folder.damaged(key, manifest)


@asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[tuple[ObjectStore, dict[str, str]]]:
    """A broker's store, and how a machine reaches it."""
    async with broker(folder) as (server, connection):
        yield JetStreamStore(connection), {"NATS_URL": server.url}


@pytest.mark.parametrize(("kind", "engine"), [("nats", "faster-whisper"), ("minio", "whisper-cpp")])
def test_a_node_without_internet_gets_its_model_from_the_fleet(
    tmp_path: Path, web: Hub, kind: str, engine: str
) -> None:
    """Else every machine needs the internet, or somebody who carries models around."""
    minio = s3_server(tmp_path / "minio") if kind == "minio" else None  # skips before anything runs
    server = Server(tmp_path / "nats")
    server.start()
    environment = {"NATS_URL": server.url, "V2T_ENGINE": engine}
    try:
        if minio:
            minio.start()
            environment |= minio.environment
        first = Machine(tmp_path / "first", {**environment, **web.environment(tmp_path / "first")})
        first.run("models", "pull", "tiny")
        assert "is shared: 10." in first.run("models", "share", "tiny")
        assert "is shared already" in first.run("models", "share", "tiny")
        asked = web.asked
        second = {**environment, **no_hub(tmp_path / "second"), "V2T_MODEL": "tiny", "V2T_IDLE": "600"}
        with node(server.url, tmp_path / "second", **second) as machine:
            here = Machine(tmp_path / "second", second)
            here.run("convert", "--input", str(DATA / "20s-1.flac"), "--language", "en", "--format", "txt",
                     "--output", str(tmp_path), "--distributed")  # fmt: skip
            assert "fetching the model tiny from the fleet" in machine.log("transcribe")
            # It is loaded, and stays where it is for as long.
            assert "in use" in here.run("models", "rm", "tiny", code=1)
            rows = json.loads(here.run("models", "list", "--json"))
        assert [(row["model"], row["engine"], row["here"], row["fleet"]) for row in rows] == [
            ("tiny", engine, "yes", True)
        ]
        assert word_error_rate(reference("20s-1.flac"), (tmp_path / "20s-1.txt").read_text()) <= 0.05
        assert web.asked == asked
        assert here.has_whole(f"{engine}/tiny")
        here.run("models", "rm", "tiny")
        assert "no longer shared" in here.run("models", "rm", "tiny", "--fleet")
        assert "shares no model tiny" in here.run("models", "rm", "tiny", "--fleet", code=1)
        assert json.loads(here.run("models", "list", "--json")) == []
        told = here.run("models", "pull", "tiny", code=1)
        assert "from the fleet (it is not shared there) or from the hub (http://127.0.0.1:9: " in told
        assert f"on a machine with internet run v2t models pull tiny --engine {engine}" in told
    finally:
        server.stop()
        if minio:
            minio.stop()


async def test_a_chunk_whose_model_cannot_be_had_waits_and_says_so(tmp_path: Path) -> None:
    """Else a job hangs, and nobody learns what it waits for."""
    async with broker(tmp_path / "nats") as (server, _):
        machine = Machine(tmp_path / "home", {"NATS_URL": server.url, **no_hub(tmp_path), "V2T_MODEL": "tiny"})
        with node(server.url, tmp_path / "home", **no_hub(tmp_path), V2T_MODEL="tiny") as stages:
            with machine.start("convert", "--input", str(DATA / "5s.flac"), "--output", str(tmp_path)) as command:
                give_up = time.monotonic() + PATIENCE
                assert command.stderr
                said = ""
                while "because no node has the model; " not in said:
                    assert time.monotonic() < give_up, stages.log("transcribe")
                    said = await asyncio.to_thread(command.stderr.readline)
                assert "says: cannot fetch the model 'tiny' from the fleet" in said
                assert "then v2t models share tiny --engine faster-whisper, or use a model that needs no" in said
                assert said.endswith(": --model demo\n")
                command.terminate()
            assert "given up" not in stages.log("transcribe")


def test_without_a_hub_a_command_says_at_once_what_to_do_about_its_model(tmp_path: Path) -> None:
    """Else the user sends a long file, and waits for minutes at no chunks, for a model that cannot come."""
    machine = Machine(tmp_path / "home", {**no_hub(tmp_path), "V2T_MODEL": "tiny"})
    told = machine.run("convert", "--input", str(DATA / "5s.flac"), "--output", str(tmp_path), code=1)
    assert told.startswith("v2t: cannot fetch the model 'tiny' from the hub (http://127.0.0.1:9: ")
    assert "run v2t models pull tiny" in told
    assert told.endswith("or use a model that needs no download: --model demo\n")
    assert json.loads(machine.run("job", "list", "--json")) == []
    machine.environment["V2T_MODEL"] = "tinny"
    told = machine.run("convert", "--input", str(DATA / "5s.flac"), "--output", str(tmp_path), code=1)
    assert "unknown model 'tinny': did you mean tiny" in told


async def test_a_job_tells_that_its_model_is_on_its_way_and_survives_a_broken_line(tmp_path: Path, web: Hub) -> None:
    """Else the first job with a large model looks as if it hung; or a router's hiccup costs the download."""
    web.stop_after = 5_000_000
    async with broker(tmp_path / "nats") as (server, _):
        environment = {**web.environment(tmp_path), "V2T_MODEL": "tiny", "V2T_NODE": "m4"}
        machine = Machine(tmp_path / "home", {"NATS_URL": server.url, **environment})
        with node(server.url, tmp_path / "home", **environment) as stages:
            with machine.start(
                "convert", "--input", str(DATA / "5s.flac"), "--language", "en", "--format", "txt",
                "--output", str(tmp_path),
            ) as command:  # fmt: skip
                assert command.stderr
                lines = []
                while not lines or not lines[-1].startswith("m4 is fetching tiny, "):
                    lines.append(await asyncio.to_thread(command.stderr.readline))
                    assert lines[-1], lines
                assert re.match(r"m4 is fetching tiny, \d+ of \d+ MB \(\d+%\)", lines[-1])
                async with asyncio.timeout(PATIENCE):
                    states = [""]
                    while not any(state.startswith("fetching tiny, ") for state in states):
                        nodes = json.loads(await asyncio.to_thread(machine.run, "node", "list", "--json"))
                        states = [each["state"] for each in nodes]
                web.stop_after = None
                web.closing.set()  # which breaks the connection off
                out, err = await asyncio.to_thread(command.communicate, timeout=PATIENCE)
            assert command.returncode == 0, out + err
            assert "HTTP Request" not in stages.log("transcribe")
    assert word_error_rate(reference("5s.flac"), (tmp_path / "5s.txt").read_text()) <= 0.1
    assert [name for name, start in web.gets if start] == ["model.bin"]


def test_a_pull_that_is_killed_goes_on_where_it_was(tmp_path: Path, web: Hub) -> None:
    """Else on a slow line a large model never arrives."""
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    web.stop_after = 5_000_000
    with machine.start("models", "pull", "tiny") as process:
        assert web.stopped.wait(PATIENCE)
        give_up = time.monotonic() + PATIENCE
        while bytes_in(machine.home, "model.bin.*.part") < 4 << 20:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.kill()
    assert [row["here"] for row in json.loads(machine.run("models", "list", "--json"))] == ["in part"]
    web.stop_after = None
    machine.run("models", "pull", "tiny")
    starts = [start for name, start in web.gets if name == "model.bin"]
    assert starts[0] == 0
    assert starts[1] >= 4 << 20
    assert machine.has_whole()


def test_an_interrupted_pull_ends_at_once(tmp_path: Path, web: Hub) -> None:
    """Else Ctrl-C on a line that stands still does nothing for a minute."""
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    web.stop_after = 5_000_000
    with machine.start("models", "pull", "tiny") as process:
        assert web.stopped.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE / 2)  # the hub's client itself would wait for longer
    assert process.returncode == 130
    assert "Traceback" not in out + err


def test_two_that_need_it_at_once_fetch_it_once(tmp_path: Path, web: Hub) -> None:
    """Else each process of a machine fetches gigabytes, and they write into one another's files."""
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    running = [machine.start("models", "pull", "tiny") for _ in range(3)]
    for process in running:
        with process:
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
    assert sorted(name for name, _ in web.gets) == sorted(web.files["Systran/faster-whisper-tiny"])
    assert machine.has_whole()


def test_what_arrives_damaged_is_fetched_once_more(tmp_path: Path, web: Hub) -> None:
    """Else a wrong bit on the way is wrong words for ever."""
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    web.damaged = 1
    machine.run("models", "pull", "tiny")
    assert machine.has_whole()
    machine.run("models", "rm", "tiny")
    web.damaged = 2
    assert "its model.bin arrived damaged twice" in machine.run("models", "pull", "tiny", code=1)
    assert not machine.has_whole()


def test_what_was_damaged_on_the_disk_is_found_and_fetched_again(tmp_path: Path, web: Hub) -> None:
    """Else nothing but a reinstallation helps."""
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    machine.run("models", "pull", "tiny")
    model = machine.folder.place("faster-whisper/tiny") / "model.bin"
    with model.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
    assert "model.bin of the model tiny is damaged: fetching it again" in machine.run("models", "pull", "tiny")
    assert machine.has_whole()
    model.write_bytes(b"cut off")
    machine.run("models", "pull", "tiny")
    assert machine.has_whole()


async def test_what_lies_damaged_in_the_fleet_comes_from_the_hub(tmp_path: Path, web: Hub) -> None:
    """Else one bad disk keeps every machine from its model; or a wrong model is used."""
    async with fleet(tmp_path / "nats") as (store, environment):
        first = Machine(tmp_path / "first", {**environment, **web.environment(tmp_path)})
        await asyncio.to_thread(first.run, "models", "pull", "tiny")
        await asyncio.to_thread(first.run, "models", "share", "tiny")
        part = max(key for key in await store.keys("models/faster-whisper/tiny/") if key.endswith("/1"))
        await store.put(part, bytes(await store.size(part) or 0))
        alone = Machine(tmp_path / "second", {**environment, **no_hub(tmp_path / "second")})
        told = await asyncio.to_thread(alone.run, "models", "pull", "tiny", code=1)
        assert "from the fleet (its model.bin arrived damaged twice) or from the hub" in told
        with_hub = Machine(tmp_path / "second", {**environment, **web.environment(tmp_path / "second")})
        await asyncio.to_thread(with_hub.run, "models", "pull", "tiny")
        assert with_hub.has_whole()
        await store.delete(part)  # and what is lost is put there again
        assert "is shared: " in await asyncio.to_thread(first.run, "models", "share", "tiny")
        await asyncio.to_thread(alone.run, "models", "rm", "tiny")
        await asyncio.to_thread(alone.run, "models", "pull", "tiny")
        assert alone.has_whole()


class Breaking:
    """The fleet's store, in which the second part of a file hangs until it may come."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.read: list[str] = []

    async def get(self, key: str) -> bytes:
        self.read.append(key.rpartition("/")[2])
        if key.endswith("/1"):
            self.reached.set()
            await self.go_on.wait()
        return await self._store.get(key)


async def test_what_a_killed_share_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """Else the broker's disk keeps gigabytes that no model names: workers, who keep house, may remove no models."""
    async with fleet(tmp_path / "nats") as (store, _):
        assert isinstance(store, JetStreamStore)
        await store._buckets["models"]._client.jetstream().publish("$O.v2t_models.C.orphan", b"half of a model")
        files = tuple(ModelFile(path.name, *size_and_hash(path)) for path in sorted(DEMO.iterdir()))
        manifest = Manifest(engine="faster-whisper", name="tiny", files=files, source="here")
        await shared.share(store, TINY.key, DEMO, manifest, lambda _: None, idle=0.0)
        assert "$O.v2t_models.C.orphan" not in await store._buckets["models"]._requests.subjects(
            "OBJ_v2t_models", "$O.>"
        )
        assert await shared.find(store, TINY.key)


async def test_a_fetch_from_the_fleet_goes_on_with_the_next_part(tmp_path: Path) -> None:
    """Else a node whose chunk is cancelled, or that is restarted, begins again with gigabytes."""
    async with fleet(tmp_path / "nats") as (store, _):
        files = tuple(ModelFile(path.name, *size_and_hash(path)) for path in sorted(DEMO.iterdir()))
        manifest = Manifest(engine="faster-whisper", name="tiny", files=files, source="here")
        await shared.share(store, TINY.key, DEMO, manifest, lambda _: None)
        breaking = Breaking(store)
        seen: list[Transfer | None] = []
        mine = Models(Settings(data_dir=str(tmp_path / "home")), breaking, seen.append)  # type: ignore[arg-type]
        holding = asyncio.create_task(mine.hold("faster-whisper", "tiny"))
        await asyncio.wait_for(breaking.reached.wait(), PATIENCE)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert seen[-1] is None
        breaking.go_on.set()
        breaking.read.clear()
        (await mine.hold("faster-whisper", "tiny")).close()
        assert breaking.read == ["manifest.json", "1", "0", "0", "0"]  # the last are other files
        assert mine.folder.damaged(TINY.key, manifest) == []
        done = [transfer for transfer in seen if transfer]
        assert (done[-1].here, done[-1].size) == (manifest.size, manifest.size)


def size_and_hash(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256_of(path)


@pytest.mark.parametrize("name", ["../../../stolen", "/etc/stolen", ".hidden", "a/b", ""])
async def test_a_manifest_cannot_write_outside_its_folder(tmp_path: Path, name: str) -> None:
    """Else whoever may share a model may write any file of every machine."""
    async with fleet(tmp_path / "nats") as (store, environment):
        rogue = Manifest(engine="faster-whisper", name="tiny", files=(ModelFile(name, 5, "0" * 64),), source="")
        await store.put("models/faster-whisper/tiny/manifest.json", msgspec.json.encode(rogue))
        machine = Machine(tmp_path / "home", {**environment, **no_hub(tmp_path)})
        told = await asyncio.to_thread(machine.run, "models", "pull", "tiny", code=1)
        assert "its manifest cannot be read" in told
        assert not list(tmp_path.rglob("stolen*"))


def test_a_name_that_leads_elsewhere_is_no_name(tmp_path: Path, web: Hub) -> None:
    """Else a slip of the hand removes what was never a model."""
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    for command in ("pull", "rm", "share"):
        assert "'../../x' is no model of faster-whisper" in machine.run("models", command, "../../x", code=1)
    assert not machine.home.exists()


def test_the_least_recently_used_gives_way(tmp_path: Path, web: Hub) -> None:
    """Else the disk fills; or what is used every day is fetched every day."""
    both = web.size("Systran/faster-whisper-tiny") * 2
    machine = Machine(tmp_path / "home", {**web.environment(tmp_path), "V2T_MODELS_BYTES": str(both + 200_000)})
    machine.run("models", "pull", "tiny")
    machine.run("models", "pull", "mine/tuned")
    machine.run("models", "pull", "tiny")  # used
    machine.run("models", "pull", "tiny", "--engine", "whisper-cpp")
    assert [kept.key for kept in machine.folder.kept()] == ["faster-whisper/tiny", "whisper-cpp/tiny"]
    machine.environment["V2T_MODELS_BYTES"] = "5000000"
    told = machine.run("models", "pull", "mine/tuned", code=1)
    assert "this one need 10.2 MB, but V2T_MODELS_BYTES allows 5.0 MB: raise it" in told
    assert len(machine.folder.kept()) == 2  # nothing is removed for nothing


async def test_a_model_in_use_does_not_give_way(tmp_path: Path, web: Hub) -> None:
    """Else the engine that restarts finds its model gone."""
    machine = Machine(tmp_path / "home", {**web.environment(tmp_path), "V2T_MODELS_BYTES": "12000000"})
    await asyncio.to_thread(machine.run, "models", "pull", "tiny")
    with closing(await Models(Settings(data_dir=str(tmp_path / "home"))).hold("faster-whisper", "tiny")):
        told = await asyncio.to_thread(machine.run, "models", "pull", "mine/tuned", code=1)
        assert "V2T_MODELS_BYTES allows 12.0 MB" in told
        assert machine.has_whole()
    await asyncio.to_thread(machine.run, "models", "pull", "mine/tuned")
    assert not machine.has_whole()


async def test_what_the_hubs_own_cache_holds_is_used_where_it_lies(tmp_path: Path, web: Hub) -> None:
    """Else who has a model already waits for it again, and has it twice."""
    fetch = "from huggingface_hub import snapshot_download; snapshot_download('Systran/faster-whisper-tiny')"
    environment = {**os.environ, **web.environment(tmp_path)}
    subprocess.run([sys.executable, "-c", fetch], env=environment, check=True, capture_output=True)
    async with fleet(tmp_path / "nats") as (store, reach):
        machine = Machine(tmp_path / "home", {**reach, **no_hub(tmp_path)})
        told = await asyncio.to_thread(machine.run, "models", "pull", "tiny")
        assert f"here already, and undamaged: {tmp_path / 'hf'}" in told
        (row,) = json.loads(await asyncio.to_thread(machine.run, "models", "list", "--json"))
        assert (row["model"], row["bytes"]) == ("tiny", web.size("Systran/faster-whisper-tiny"))
        assert "another program keeps one in" in await asyncio.to_thread(machine.run, "models", "rm", "tiny", code=1)
        await asyncio.to_thread(machine.run, "models", "share", "tiny")
        assert "faster-whisper/tiny" in await shared.shared(store)
    assert not (tmp_path / "home" / "models" / "faster-whisper" / "tiny").exists()


async def test_another_version_takes_the_place_of_what_was_shared(tmp_path: Path) -> None:
    """Else the store keeps every version there ever was, or a machine gets a mixture."""
    async with fleet(tmp_path / "nats") as (store, _):
        folder = tmp_path / "model"
        folder.mkdir()
        for content in (b"old" * 5_000_000, b"new" * 5_000_000):
            (folder / "model.bin").write_bytes(content)
            files = (ModelFile("model.bin", *size_and_hash(folder / "model.bin")),)
            manifest = Manifest(engine="faster-whisper", name="tiny", files=files, source="here")
            assert await shared.share(store, TINY.key, folder, manifest, lambda _: None)
            assert not await shared.share(store, TINY.key, folder, manifest, lambda _: None)
            found = await shared.shared(store)
            assert found == {TINY.key: manifest}
            assert len(await store.keys("models/")) == 3  # two parts and the manifest


async def test_a_full_disk_gives_a_sentence(tmp_path: Path, web: Hub) -> None:
    """Else a full disk looks like a network that is down."""
    with small_disk(tmp_path / "disk", "6m") as disk:
        machine = Machine(disk / "home", web.environment(tmp_path))
        told = await asyncio.to_thread(machine.run, "models", "pull", "tiny", code=1)
    assert "left: free space there" in told


async def test_without_a_fleet_the_sentence_speaks_of_none(tmp_path: Path) -> None:
    """Else a user with one machine is told to share models."""
    machine = Machine(tmp_path / "home", no_hub(tmp_path))
    told = await asyncio.to_thread(machine.run, "models", "pull", "tiny", code=1)
    assert "cannot fetch the model 'tiny' from the hub (http://127.0.0.1:9" in told
    machine.environment["NATS_URL"] = "nats://127.0.0.1:9"
    told = await asyncio.to_thread(machine.run, "models", "pull", "tiny", code=1)
    assert "this does not cover the fleet: " in told
    assert "from the hub" in told


def test_a_part_that_is_too_long_is_begun_again(tmp_path: Path, web: Hub) -> None:
    """Else what a crash of the disk left behind keeps the model away for ever."""
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    web.stop_after = 5_000_000
    with machine.start("models", "pull", "tiny") as process:
        assert web.stopped.wait(PATIENCE)
        process.kill()
    web.stop_after = None
    (part,) = machine.home.rglob("model.bin.*.part")
    part.write_bytes(bytes(20_000_000))
    machine.run("models", "pull", "tiny")
    assert machine.has_whole()


def test_a_read_only_folder_gives_a_sentence(tmp_path: Path, web: Hub) -> None:
    """Else a wrong owner looks like a bug."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "models").write_text("a file")
    machine = Machine(tmp_path / "home", web.environment(tmp_path))
    told = machine.run("models", "pull", "tiny", code=1)
    assert f"the model 'tiny' cannot be written to {tmp_path / 'home/models/faster-whisper/tiny'}: " in told

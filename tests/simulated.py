"""An engine with a given speed and given words, for tests of scheduling: it has no model.

The name of its model says what it does: "x30" runs 30 times faster than real time; "x30-de" also hears German;
"x30-poison7" refuses every chunk that is about 7 s long; "x30-deaf" hears no words; "x30-signed" names itself in each
sentence, so that a test can tell the words of two models apart. A test installs it like a third party's package.
"""

from pathlib import Path

_ENGINE = """
import re, time
from schemas.transcript import Segment
from v2t_stream.errors import Reject
from v2t_stream.transcription.transcriber import Transcription

class Simulated:
    def __init__(self, *, model, device, threads):
        self.signature = f" by {model.rpartition('/')[2]}" if "-signed" in model else ""
        self.speed = float(re.search(r"x([0-9.]+)", model).group(1))
        self.language = (re.findall(r"-([a-z][a-z])$", model) or ["en"])[0]
        self.deaf = "-deaf" in model
        self.poison = [float(found) for found in re.findall(r"-poison([0-9.]+)", model)]

    def transcribe(self, chunks, request):
        heard = []
        for chunk in chunks:
            seconds = len(chunk) / 16000
            if any(abs(seconds - length) < 0.01 for length in self.poison):
                raise Reject(f"{seconds:.0f} s are too much for me")
            time.sleep(seconds / self.speed)
            spoken = request.language or self.language
            heard.append(Transcription(tuple(self.said(seconds, spoken)), spoken))
        return heard

    def said(self, seconds, spoken):
        # A sentence every other second, as people speak: an engine that says less is heard again.
        parts = 0 if self.deaf else max(1, round(seconds / 2))
        for n in range(parts):
            text = f"{seconds:.3f} s, part {n} in {spoken}{self.signature}."
            yield Segment(start=seconds * n / parts, end=seconds * (n + 1) / parts, text=text)
"""


def install(folder: Path) -> dict[str, str]:
    """Install the engine `simulated` into `folder`; returns the variables for a process that uses it."""
    package = folder / "simulated-1.dist-info"
    package.mkdir(parents=True, exist_ok=True)
    (folder / "simulated.py").write_text(_ENGINE)
    (package / "METADATA").write_text("Name: simulated\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[v2t.transcribers]\nsimulated = simulated:Simulated\n")
    root = Path(__file__).parents[1]
    return {"PYTHONPATH": f"{folder}:{root}", "V2T_ENGINE": "simulated", "V2T_BATCH": "1"}

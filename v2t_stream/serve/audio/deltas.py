"""The words of a job in order, each as soon as it is final."""

from v2t_stream.jobs.state import Job
from v2t_stream.serve.audio.answers import between, text_of_chunk


class Deltas:
    def __init__(self) -> None:
        self._sent = ""
        self._next = 0  # the first chunk whose text was not sent

    def of(self, job: Job) -> str:
        """What has become final since the last call: a chunk waits for those before it."""
        text = ""
        while chunk := job.chunks.get(self._next):
            self._next += 1
            if said := text_of_chunk(chunk):
                text += (between(said) if self._sent or text else "") + said
        self._sent += text
        return text

    def rest(self, whole: str) -> str:
        """What is missing of the whole text. A retry may have changed what was sent: then nothing can be added."""
        return whole.removeprefix(self._sent) if whole.startswith(self._sent) else ""

"""The streams on the broker; `provision` creates what is declared here."""

from typing import Any, Final

from v2t_stream.broker.direct_get import stored_subject
from v2t_stream.topology.subjects import (
    ALL_DEAD,
    ALL_DONE,
    ALL_FACTS,
    ALL_KEYS,
    ALL_ONCE,
    ALL_TASKS,
    INBOX_SUBJECTS,
)

INBOX: Final = "V2T_INBOX"
JOBS: Final = "V2T_JOBS"
CHUNKS: Final = "V2T_CHUNKS"
DONE: Final = "V2T_DONE"
DEAD: Final = "V2T_DEAD"
ONCE: Final = "V2T_ONCE"
KEYS: Final = "V2T_KEYS"
NODES: Final = "KV_v2t_nodes"  # the stream of the key-value bucket v2t_nodes (ADR-8)


# Raise this with every change of STREAMS, STAGES or the buckets that a broker needs: an older release then leaves a
# newer set-up alone.
LAYOUT: Final = 5

# In the metadata of the stream JOBS.
STORE_KEY: Final = "v2t_store"  # where the jobs keep their files
LAYOUT_KEY: Final = "v2t_layout"

STORED_FACTS: Final = stored_subject(ALL_FACTS)  # where the server announces stored facts
STORED_KEYS: Final = stored_subject(ALL_KEYS)  # and keys

EPOCH_HEADER: Final = "V2t-Epoch"  # on a submission: the epoch that its sender used for the job's id

_NS: Final = 1_000_000_000

_DAY: Final = 86_400  # seconds
NODE_MAX_AGE: Final = 4  # seconds after which a silent process counts as gone
DEDUPE_WINDOW: Final = 120  # seconds in which a repeated submission makes one job

# Settings decide the age of JOBS, DONE and DEAD: see provision. People read the descriptions in `nats stream ls`.
STREAMS: Final[dict[str, dict[str, Any]]] = {
    # Submissions as they were sent, until intake takes them.
    INBOX: {
        "description": "submissions, until intake takes them",
        "subjects": list(INBOX_SUBJECTS),
        "retention": "workqueue",
        "duplicate_window": DEDUPE_WINDOW * _NS,
        "max_msg_size": 64 << 10,  # a URL and a few words; a dead letter must fit it and the reason
    },
    # The facts of every job. Only the latest per subject counts, so a replay is short.
    JOBS: {
        "description": "the facts of every job: the latest on each subject",
        "subjects": [ALL_FACTS],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        # Followers hear of each stored fact and read it, so they need no consumers.
        "republish": {"src": ALL_FACTS, "dest": STORED_FACTS, "headers_only": True},
    },
    # The work of transcription. One message per subject and no overwriting: a waiting chunk cannot be queued twice.
    CHUNKS: {
        "description": "chunks of speech that wait for an engine",
        "subjects": [ALL_TASKS],
        "retention": "workqueue",
        "max_msgs_per_subject": 1,
        "discard": "new",
        "discard_new_per_subject": True,
    },
    # Earlier transcripts: the latest job for each media and settings, for as long as transcripts stay.
    DONE: {
        "description": "which job transcribed which media with which options",
        "subjects": [ALL_DONE],
        "retention": "limits",
        "max_msgs_per_subject": 1,
    },
    DEAD: {
        "description": "what was given up, with the reason: v2t dead list",
        "subjects": [ALL_DEAD],
        "retention": "limits",
    },
    # For a client that repeats a request because it did not get the answer.
    ONCE: {
        "description": "which job a request with an Idempotency-Key has made, for a day",
        "subjects": [ALL_ONCE],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "max_age": _DAY * _NS,
    },
    # They stay for good, also as the note that a key was removed: servers hear of it, and keep those who have it out.
    KEYS: {
        "description": "the keys of the HTTP API, as hashes: v2t keys list",
        "subjects": [ALL_KEYS],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "republish": {"src": ALL_KEYS, "dest": STORED_KEYS, "headers_only": True},
    },
    # Live processes: each writes its key every second, and dead ones expire by age. It is in a file, though worthless
    # after a restart, because a restarted server forgets that a stream in memory ever existed.
    NODES: {
        "description": "the processes that are alive: v2t node list",
        "subjects": ["$KV.v2t_nodes.>"],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "max_age": NODE_MAX_AGE * _NS,
        "duplicate_window": NODE_MAX_AGE * _NS,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    },
}

"""The streams on the broker; `provision` creates what is declared here."""

from typing import Any, Final

from v2t_stream.broker.direct_get import stored_subject
from v2t_stream.topology.subjects import ALL_DEAD, ALL_DONE, ALL_FACTS, ALL_TASKS, INBOX_SUBJECTS

INBOX: Final = "V2T_INBOX"
JOBS: Final = "V2T_JOBS"
CHUNKS: Final = "V2T_CHUNKS"
DONE: Final = "V2T_DONE"
DEAD: Final = "V2T_DEAD"
NODES: Final = "KV_v2t_nodes"  # the stream of the key-value bucket v2t_nodes (ADR-8)


# To be raised with every change of STREAMS or STAGES that a broker must be told of: an older release then leaves alone
# what a newer one has set up.
LAYOUT: Final = 3

# In the metadata of the stream JOBS
STORE_KEY: Final = "v2t_store"  # what the jobs keep their files in
LAYOUT_KEY: Final = "v2t_layout"

STORED_FACTS: Final = stored_subject(ALL_FACTS)  # where the server says which fact it has stored

EPOCH_HEADER: Final = "V2t-Epoch"  # of a submission: the epoch by which its sender knows the job

_NS: Final = 1_000_000_000

NODE_MAX_AGE: Final = 4  # seconds after which a silent process counts as gone
DEDUPE_WINDOW: Final = 120  # seconds in which the same submission makes one job

# How long what is in JOBS, DONE and DEAD stays is a setting: see provision.
STREAMS: Final[dict[str, dict[str, Any]]] = {
    # What people send, untouched, until intake has taken it.
    INBOX: {
        "subjects": list(INBOX_SUBJECTS),
        "retention": "workqueue",
        "duplicate_window": DEDUPE_WINDOW * _NS,
        "max_msg_size": 64 << 10,  # a URL and a few words; a dead letter must hold it and its reason
    },
    # The facts of every job. The latest per subject is all there is to know, so a replay is short.
    JOBS: {
        "subjects": [ALL_FACTS],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        # Whoever follows hears of each fact once it is stored, and reads it: no consumer for each of them.
        "republish": {"src": ALL_FACTS, "dest": STORED_FACTS, "headers_only": True},
    },
    # The work of transcription. One message per subject and no overwriting: a chunk that waits cannot be queued twice.
    CHUNKS: {
        "subjects": [ALL_TASKS],
        "retention": "workqueue",
        "max_msgs_per_subject": 1,
        "discard": "new",
        "discard_new_per_subject": True,
    },
    # What was transcribed before: for each media and settings the latest job, for as long as transcripts stay.
    DONE: {
        "subjects": [ALL_DONE],
        "retention": "limits",
        "max_msgs_per_subject": 1,
    },
    DEAD: {
        "subjects": [ALL_DEAD],
        "retention": "limits",
    },
    # Who is alive: each process writes its key every second; one that is gone is forgotten by age. In a file, though
    # it is worth nothing after a restart: a server that restarts has forgotten that a stream in memory ever was.
    NODES: {
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

"""Sets up our buckets to expire old objects and to announce uploads to NATS, as far as the server can."""

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from minio import Minio
from minio.commonconfig import ENABLED, Filter, Tags
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.notificationconfig import QueueConfig

from v2t_stream.retention import DAY
from v2t_stream.store.minio_client import UNSUPPORTED, names_no_notifier

# The notifiers that MINIO_NOTIFY_NATS_ENABLE_V2T=on and …_V2TNOW=on create. With a queue folder, which keeps unsent
# events, MinIO sends every three seconds; without one it sends at once or never. So there may be both: V2T to lose
# nothing, V2TNOW for speed. An event that comes twice is one job.
_KEPT: Final = "arn:minio:sqs::V2T:nats"
_AT_ONCE_TOO: Final = "arn:minio:sqs::V2TNOW:nats"

_DAYS: Final = "v2t-days"  # a bucket's tag on a server without lifecycle rules: days until `expired` names an object

# The uploads that a server announces: those of the bucket; or those of all buckets or none, depending on its start
# options, which we cannot query; or none.
Announces = Literal["bucket", "server", "nothing"]


def create(client: Minio, bucket: str) -> bool:
    """Create the bucket; False if it already exists."""
    if client.bucket_exists(bucket_name=bucket):
        return False
    try:
        client.make_bucket(bucket_name=bucket)
    except S3Error as error:
        if error.code != "BucketAlreadyOwnedByYou":  # another node created it a moment ago
            raise
    return True


def expire(client: Minio, bucket: str, rule_id: str, max_age: float) -> None:
    """Expire the bucket's objects after this many seconds, rounded up to days; 0: never. Other rules stay."""
    days = math.ceil(max_age / DAY)
    try:
        _set_rule(client, bucket, rule_id, days)
    except S3Error as error:
        if error.code not in UNSUPPORTED:
            raise
        _set_tag(client, bucket, days)


def max_age(client: Minio, bucket: str, rule_id: str) -> float | None:
    """Seconds after which our rule expires objects, 0: never; None if the bucket does not exist."""
    if not client.bucket_exists(bucket_name=bucket):
        return None
    rules = _rules(client, bucket)
    if rules is None:
        return float(_tags(client, bucket).get(_DAYS, 0)) * DAY
    for rule in rules:
        if rule.rule_id == rule_id and rule.status == ENABLED and rule.expiration:
            return float(rule.expiration.days or 0) * DAY
    return 0.0


def expired(client: Minio, bucket: str) -> Iterator[str]:
    """The objects that lifecycle rules would have removed; none on a server that has such rules."""
    if _rules(client, bucket) is not None or not (days := int(_tags(client, bucket).get(_DAYS, 0))):
        return
    since = datetime.now(UTC) - timedelta(days=days)
    for entry in client.list_objects(bucket_name=bucket, recursive=True):
        if entry.object_name and entry.last_modified and entry.last_modified < since:
            yield entry.object_name


def announces(client: Minio, bucket: str) -> Announces:
    """What the server publishes to NATS about uploads to the bucket."""
    try:
        config = client.get_bucket_notification(bucket_name=bucket)
    except S3Error as error:
        if error.code not in UNSUPPORTED:
            raise
        return "server"
    is_told = any(queue.queue in (_KEPT, _AT_ONCE_TOO) for queue in config.queue_config_list)
    return "bucket" if is_told else "nothing"


def announce(client: Minio, bucket: str) -> None:
    """Have each notifier of the server publish uploads to the bucket; its other notifications stay.

    A server without such settings for a bucket stays unchanged.
    """
    if announces(client, bucket) == "server":
        return
    try:
        _announce_to(client, bucket, _KEPT, _AT_ONCE_TOO)
    except S3Error as error:
        if not names_no_notifier(error):
            raise
        _announce_to(client, bucket, _KEPT)


def _announce_to(client: Minio, bucket: str, *notifiers: str) -> None:
    config = client.get_bucket_notification(bucket_name=bucket)
    others = [queue for queue in config.queue_config_list if queue.queue not in (_KEPT, _AT_ONCE_TOO)]
    ours = [QueueConfig(queue=notifier, events=["s3:ObjectCreated:*"]) for notifier in notifiers]
    client.set_bucket_notification(bucket_name=bucket, config=replace(config, queue_config_list=others + ours))


def _set_rule(client: Minio, bucket: str, rule_id: str, days: int) -> None:
    rules = [rule for rule in _rules(client, bucket) or [] if rule.rule_id != rule_id]
    if days:
        expiration = Expiration(days=days)
        rules.append(Rule(status=ENABLED, rule_filter=Filter(prefix=""), rule_id=rule_id, expiration=expiration))
    if rules:
        client.set_bucket_lifecycle(bucket_name=bucket, config=LifecycleConfig(rules=rules))
    else:
        client.delete_bucket_lifecycle(bucket_name=bucket)


def _rules(client: Minio, bucket: str) -> list[Rule] | None:
    """All notifications of the bucket; None if the server does not support them."""
    try:
        config = client.get_bucket_lifecycle(bucket_name=bucket)
    except S3Error as error:
        if error.code not in UNSUPPORTED:
            raise
        return None
    return list(config.rules) if config else []


def _set_tag(client: Minio, bucket: str, days: int) -> None:
    tags = Tags.new_bucket_tags()
    tags.update(_tags(client, bucket) | {_DAYS: str(days)})
    client.set_bucket_tags(bucket_name=bucket, tags=tags)


def _tags(client: Minio, bucket: str) -> dict[str, Any]:
    return dict(client.get_bucket_tags(bucket_name=bucket) or {})

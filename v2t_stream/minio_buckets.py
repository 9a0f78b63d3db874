"""What our buckets of MinIO are set up to do: forget what is old, and announce uploads to NATS."""

import math
from dataclasses import replace
from typing import Final

from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.notificationconfig import QueueConfig

from v2t_stream.minio_client import names_no_notifier
from v2t_stream.retention import DAY

# What MINIO_NOTIFY_NATS_ENABLE_V2T=on and …_V2TNOW=on make in the server. With a queue folder, which keeps what cannot
# be sent, MinIO sends every three seconds; without one at once, or never. So there may be both: V2T for what must not
# be lost, V2TNOW for speed. What comes twice is one job.
_KEPT: Final = "arn:minio:sqs::V2T:nats"
_AT_ONCE_TOO: Final = "arn:minio:sqs::V2TNOW:nats"


def create(client: Minio, bucket: str) -> bool:
    """Whether it was not there."""
    if client.bucket_exists(bucket_name=bucket):
        return False
    try:
        client.make_bucket(bucket_name=bucket)
    except S3Error as error:
        if error.code != "BucketAlreadyOwnedByYou":  # by another node a moment ago
            raise
    return True


def expire(client: Minio, bucket: str, rule_id: str, max_age: float) -> None:
    """Have what is in the bucket expire after so many seconds, rounded up to days; 0: never. Rules of others stay."""
    rules = [rule for rule in _rules(client, bucket) if rule.rule_id != rule_id]
    if max_age:
        expiration = Expiration(days=math.ceil(max_age / DAY))
        rules.append(Rule(status=ENABLED, rule_filter=Filter(prefix=""), rule_id=rule_id, expiration=expiration))
    if rules:
        client.set_bucket_lifecycle(bucket_name=bucket, config=LifecycleConfig(rules=rules))
    else:
        client.delete_bucket_lifecycle(bucket_name=bucket)


def max_age(client: Minio, bucket: str, rule_id: str) -> float | None:
    """Seconds after which our rule has it expire, 0: never; None where there is no bucket."""
    if not client.bucket_exists(bucket_name=bucket):
        return None
    for rule in _rules(client, bucket):
        if rule.rule_id == rule_id and rule.status == ENABLED and rule.expiration:
            return float(rule.expiration.days or 0) * DAY
    return 0.0


def announces(client: Minio, bucket: str) -> bool:
    """Whether what is put into it is published to NATS."""
    config = client.get_bucket_notification(bucket_name=bucket)
    return any(queue.queue in (_KEPT, _AT_ONCE_TOO) for queue in config.queue_config_list)


def announce(client: Minio, bucket: str) -> None:
    """Have the server publish what is put into it, by each notifier it has; what else it publishes from there stays."""
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


def _rules(client: Minio, bucket: str) -> list[Rule]:
    config = client.get_bucket_lifecycle(bucket_name=bucket)
    return list(config.rules) if config else []

"""How we set up our buckets in MinIO: rules and announcements."""

import math
from typing import Any, cast

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.error import S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.notificationconfig import NotificationConfig, QueueConfig

from v2t_stream.store import minio_buckets

DAY = 86_400
NOTIFIERS = ("arn:minio:sqs::V2T:nats", "arn:minio:sqs::V2TNOW:nats")


class Settings:
    """A MinIO server that knows these notifiers, as far as one bucket's settings go."""

    def __init__(self, *notifiers: str) -> None:
        self._notifiers = notifiers
        self.lifecycle: LifecycleConfig | None = None
        self.notification = NotificationConfig()

    def bucket_exists(self, **_: str) -> bool:
        return True

    def get_bucket_lifecycle(self, **_: str) -> LifecycleConfig | None:
        return self.lifecycle

    def set_bucket_lifecycle(self, *, config: LifecycleConfig, **_: str) -> None:
        self.lifecycle = config

    def delete_bucket_lifecycle(self, **_: str) -> None:
        self.lifecycle = None

    def get_bucket_notification(self, **_: str) -> NotificationConfig:
        return self.notification

    def set_bucket_notification(self, *, config: NotificationConfig, **_: str) -> None:
        for queue in config.queue_config_list:
            if queue.queue not in (*self._notifiers, "arn:minio:sqs::OTHER:nats"):
                message = "A specified destination ARN does not exist"
                raise S3Error(cast("Any", None), "InvalidArgument", message, "", "", "")
        self.notification = config


def client(*notifiers: str) -> Minio:
    return cast("Minio", Settings(*notifiers))


@pytest.mark.parametrize("days", [0, 0.5, 30])
def test_minio_is_given_the_rules_and_keeps_those_of_others(days: float) -> None:
    """Else transcripts pile up in MinIO against the setting, or a rule of the bucket's owner is lost."""
    minio = client()
    owners = Rule(status=ENABLED, rule_filter=Filter(prefix="old/"), rule_id="mine", expiration=Expiration(days=9))
    minio.set_bucket_lifecycle(bucket_name="b", config=LifecycleConfig(rules=[owners]))
    for _ in range(2):
        minio_buckets.expire(minio, "b", "ours", days * DAY)
    config = minio.get_bucket_lifecycle(bucket_name="b")
    assert config
    rules = {rule.rule_id: rule.expiration and rule.expiration.days for rule in config.rules}
    assert rules == {"mine": 9, **({"ours": math.ceil(days)} if days else {})}
    assert minio_buckets.max_age(minio, "b", "ours") == math.ceil(days) * DAY
    assert not list(minio_buckets.expired(minio, "b"))  # it sees to that itself


def test_the_last_rule_goes_with_its_configuration() -> None:
    """Else MinIO refuses a configuration without rules, and media still expires."""
    minio = client()
    minio_buckets.expire(minio, "b", "ours", DAY)
    minio_buckets.expire(minio, "b", "ours", 0)
    assert minio.get_bucket_lifecycle(bucket_name="b") is None
    assert minio_buckets.max_age(minio, "b", "ours") == 0


@pytest.mark.parametrize("notifiers", [NOTIFIERS, NOTIFIERS[:1]])
def test_uploads_are_announced_by_each_notifier_there_is(notifiers: tuple[str, ...]) -> None:
    """Else uploads start no jobs, or the bucket's owner loses other notifications."""
    minio = client(*notifiers)
    other = QueueConfig(queue="arn:minio:sqs::OTHER:nats", events=["s3:ObjectRemoved:*"], config_id="mine")
    minio.set_bucket_notification(bucket_name="b", config=NotificationConfig(queue_config_list=[other]))
    assert minio_buckets.announces(minio, "b") == "nothing"
    for _ in range(2):
        minio_buckets.announce(minio, "b")
    assert minio_buckets.announces(minio, "b") == "bucket"
    told = minio.get_bucket_notification(bucket_name="b").queue_config_list
    assert [queue.queue for queue in told] == ["arn:minio:sqs::OTHER:nats", *notifiers]


def test_a_server_that_tells_nobody_is_named() -> None:
    """Else a user who started MinIO without its notifier waits in vain for jobs."""
    with pytest.raises(S3Error, match="ARN does not exist"):
        minio_buckets.announce(client(), "b")

"""Which broker a command speaks to."""

from v2t_stream.broker.embedded import find_running
from v2t_stream.errors import SettingsError
from v2t_stream.settings import Settings


def broker_url(settings: Settings) -> str:
    """The broker of NATS_URL, or the embedded one that runs on this machine. Raises SettingsError if there is none."""
    if url := settings.nats_url or find_running(settings.home):
        return url
    raise SettingsError("no broker is set up: set NATS_URL to one, or start the embedded one with v2t up")

"""Who runs a command, for what records who made it."""

import getpass

from v2t_stream.settings import Settings


def author() -> str:
    """The user and the node, such as `ann@m4`. Raises SettingsError."""
    return f"{getpass.getuser()}@{Settings.from_environment().node}"

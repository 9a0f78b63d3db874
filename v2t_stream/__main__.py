"""`python -m v2t_stream` is `v2t`."""

from v2t_stream.cli import main

main()

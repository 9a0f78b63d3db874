"""`v2t`, which is also `python -m v2t_stream`."""

from v2t_stream.host import signals


def main() -> None:
    """Run the command of sys.argv. Until it runs, a signal ends it at once, also in the middle of an import."""
    signals.handle(signals.leave)
    from v2t_stream.cli import main as run  # noqa: PLC0415  # it takes a while

    run()


if __name__ == "__main__":
    main()

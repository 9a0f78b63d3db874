"""Text from outside, made fit for one line of a terminal, a log or a message."""


def one_line(text: str, longest: int = 500) -> str:
    """`text` without line ends, control characters and runs of blanks, cut off after `longest` characters."""
    plain = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"

"""Text for a terminal."""


def plain(text: str) -> str:
    """Returns text that came from a file or a name, without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

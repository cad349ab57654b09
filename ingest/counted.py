"""Numbers with their noun, for messages: "1 file", "2 files". Pure."""


def counted(number: int, noun: str) -> str:
    """The number with thousands apart and the noun in its number: `counted(1, "class")`, `counted(2_000, "new row")`.

    Args:
        noun: singular; its plural is with "s", behind "s" with "es".
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def are(number: int) -> str:
    """The verb to a counted subject: "is" of one, else "are"."""
    return "is" if number == 1 else "are"

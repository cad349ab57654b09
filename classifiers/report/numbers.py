"""Numbers as people read them. Pure."""


def format_number(value: float | None, places: int = 3) -> str:
    """0.8125 -> '.812', -0.008 -> '-.008', -0.0001 -> '.000', None -> '–'."""
    if value is None:
        return "–"
    text = f"{value:z.{places}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def format_interval(interval: tuple[float, float] | None) -> str:
    """(0.78, 0.84) -> '.780 to .840'; '' where there is none."""
    return f"{format_number(interval[0])} to {format_number(interval[1])}" if interval else ""

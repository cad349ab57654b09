"""Touches the disk to read the page templates; a page has everything in it and needs no network."""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def render(template: Path | str, **values: Any) -> str:
    """A page from a template beside this file, or from one elsewhere that builds on those.

    Text is escaped; a name that is not given is an error.
    """
    import jinja2

    from classifiers.report.numbers import format_interval, format_number
    from ingest.counted import counted

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([FOLDER, (FOLDER / template).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": format_number, "interval": format_interval, "counted": counted}
    return environment.get_template(Path(template).name).render(**values)

"""How a command ends that has named each file it could do nothing with."""

import click

from ingest.errors import EarshotError


def end_with_failures(failed: int, of: int, what: str) -> None:
    """Leave with 1 where a file failed; say how many did, unless it was the only one, of which all is said.

    Args:
        what: could not be done with them, e.g. "drawn".
    """
    if failed and of == 1:
        raise click.exceptions.Exit(EarshotError.exit_code)
    if failed:
        raise EarshotError(f"{failed} of {of:,} files could not be {what}; each is named above")

"""Paths and addresses as the commands take them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ingest.arrow_folder import ArrowFolder
    from ingest.folder import LocalFolder


class StoreType(click.ParamType):
    """A folder: of this machine, or `s3://`, `gs://` ..."""

    name = "folder"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "LocalFolder | ArrowFolder":
        from ingest.folder import folder_at

        return folder_at(value)


class AudioType(click.ParamType):
    """A file or folder of this machine, or a folder at `s3://`, `gs://` ..."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Path | ArrowFolder":
        from ingest.folder import LocalFolder, folder_at

        folder = folder_at(value)
        return folder.path if isinstance(folder, LocalFolder) else folder

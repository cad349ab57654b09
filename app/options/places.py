"""Paths and addresses as the commands take them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ingest.places.arrow_folder import ArrowFolder
    from ingest.places.folder import LocalFolder


class HereType(click.Path):
    """A file or folder of this machine. Nothing at all is refused: Python would take it for the folder one is in."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not os.fspath(value):
            self.fail("names no file and no folder; write . for the folder you are in.", param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class WeightsType(HereType):
    """A folder with weight files of the user's own. One that is not there would be passed over without a word, and
    other weights taken."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        folder = super().convert(value, param, ctx).expanduser()
        if not folder.is_dir():
            self.fail(f"{folder} is no folder; name one that holds weight files, or leave it out.", param, ctx)
        return folder


class NameType(click.ParamType):
    """The name of something elsewhere: an address, a browser. Nothing at all is refused: it would mean the default."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("names nothing; leave the option out for its default.", param, ctx)
        return str(value)


class StoreType(click.ParamType):
    """A folder: of this machine, or `s3://`, `gs://` ..."""

    name = "folder"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "LocalFolder | ArrowFolder":
        from ingest.places.folder import folder_at

        return folder_at(value)


class AudioType(click.ParamType):
    """A file or folder of this machine, or a folder at `s3://`, `gs://` ..."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Path | ArrowFolder":
        from ingest.places.folder import LocalFolder, folder_at

        folder = folder_at(value)
        return folder.path if isinstance(folder, LocalFolder) else folder

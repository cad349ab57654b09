"""Touches the disk: the bundles that can be chosen, those that cannot run here, and why."""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from app.page.settings import PageSettings
from classifiers.bundle import MODEL_FILE, MODELS, BundleInfo, find_bundle, read_info
from classifiers.heads import head_row
from embeddings.encoders import encoder_row
from embeddings.weights import look_up
from ingest.counted import counted
from ingest.errors import EarshotError

SEARCHED = (Path("models"), Path(), MODELS)
"""Where bundles are looked for, beside those that were named: in these folders, one level deep."""

PACKAGES = {"tensorflow": "tensorflow", "tensorflow-hub": "tensorflow_hub", "litert": "ai_edge_litert"}
"""Engine of an encoder -> the package that it needs."""


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle that was found. missing: what keeps it from running on this machine, "" when nothing does."""

    folder: Path
    info: BundleInfo | None
    missing: str = ""

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def summary(self) -> str:
        """'10 sounds, attention on yamnet'."""
        if self.info is None:
            return ""
        return f"{counted(len(self.info.class_set.names), 'sound')}, {self.info.head} on {self.info.spec.encoder}"


def find_models(settings: PageSettings, searched: Iterable[Path] = SEARCHED) -> list[Model]:
    """Named bundles first, then those that lie around, each once."""
    folders = [MODELS / name if not name.exists() and (MODELS / name).is_dir() else name for name in settings.models]
    for place in searched:
        if place.is_dir():
            folders += sorted(file.parent for file in place.glob(f"*/{MODEL_FILE}"))
    by_place = {folder.resolve(): folder for folder in reversed(folders)}
    return [look_at(by_place[place], settings.weights_dir) for place in dict.fromkeys(f.resolve() for f in folders)]


def look_at(folder: Path, weights_dir: Path | None = None) -> Model:
    """What a bundle is and whether it can run here, without loading it."""
    try:
        folder = find_bundle(folder)
        info = read_info(folder)
        light, encoder = head_row(info.head).light_file, encoder_row(info.spec.encoder)
    except EarshotError as error:
        return Model(folder, None, str(error).removeprefix(f"{folder}: "))
    if not (folder / light).is_file():
        return Model(folder, info, f"{light} is missing; copy the whole folder again")
    package = PACKAGES.get(encoder.engine)
    if package and importlib.util.find_spec(package) is None:
        return Model(folder, info, f"{package} is not installed")
    lacking = [name for name in encoder.weights if look_up(name, weights_dir) is None]
    if lacking:
        return Model(folder, info, f"needs {' and '.join(lacking)}; run `earshot weights fetch {' '.join(lacking)}`")
    return Model(folder, info)

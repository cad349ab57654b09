"""Fixtures for the encoders' tests, made once a session: the checkpoint alone is 291 MB."""

from pathlib import Path

import pytest

from tests.embeddings.references import VggishReference, make_vggish_reference, save_vggish_hub, save_yamnet_hub


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> VggishReference:
    """VGGish weights in the official layout, and what tf-slim's definition makes of them."""
    return make_vggish_reference(tmp_path_factory.mktemp("vggish"))


@pytest.fixture(scope="session")
def yamnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with YAMNet's signature."""
    return save_yamnet_hub(tmp_path_factory.mktemp("yamnet-hub"))


@pytest.fixture(scope="session")
def vggish_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with VGGish's signature."""
    return save_vggish_hub(tmp_path_factory.mktemp("vggish-hub"))

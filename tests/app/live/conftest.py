"""A real model on real embeddings, made once a session."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from app.cli import main
from embeddings.embedding import Embedding
from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.store import EmbeddingStore
from ingest.audio.windows import read_clip

TRAINED_ON = ("001 - Dog bark", "003 - Sea waves", "009 - Rooster")


@pytest.fixture(scope="session")
def esc10(shared: Path) -> list[Path]:
    """Two clips of each class that the model has not seen."""
    return [path for folder in sorted((shared / "esc10").iterdir()) for path in sorted(folder.glob("*.ogg"))[-2:]]


@pytest.fixture(scope="session")
def model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An svc model of three ESC-10 classes on YAMNet."""
    folder = tmp_path_factory.mktemp("live")
    encoder = load_encoder("yamnet", EncoderSettings(weights_dir=shared / "models"))
    store = EmbeddingStore.create(folder / "emb", encoder.spec)
    with store.writer("0") as writer:
        for name in TRAINED_ON:
            for path in sorted((shared / "esc10" / name).glob("*.ogg"))[:12]:
                vectors = encoder.encode([read_clip(path).waveform])[0]
                writer.append(Embedding(path.name, path.name.split("-")[1], "", 0.0, 5.0, vectors, (name[6:],)))
    settings = ["--protocol", "none", "--set", "costs=[10.0]", "--set", "gammas=[1.0]"]
    with pytest.raises(SystemExit) as left:
        main(["train", str(folder / "emb"), "--head", "svc", "--out", str(folder / "model"), *settings])
    assert not left.value.code
    return folder / "model"


@pytest.fixture(scope="session")
def ten_seconds(esc10: list[Path]) -> list[npt.NDArray[np.int16]]:
    """Int16 [samples] at 44.1 kHz: two clips each, joined."""
    clips = [soundfile.read(path, dtype="int16")[0][:220_500] for path in esc10]
    return [np.concatenate(pair) for pair in zip(clips[::2], clips[1::2], strict=True)]

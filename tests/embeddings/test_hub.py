"""The TF-Hub rows, with SavedModels of the published signatures made here."""

from pathlib import Path

import numpy as np
import pytest

from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.logmel import YAMNET_OFFSET, log_mel
from ingest.errors import WeightsError

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

RATE = 16_000


def tone(hz: float, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_yamnet_equals_our_own(yamnet_folder: Path) -> None:
    """Same weights, same waveform: the SavedModel's vectors are ours, and its padded tail is left out."""
    from embeddings.encoding.yamnet_model import load_yamnet
    from embeddings.logmel import cut_patches

    encoder = load_encoder("yamnet-hub", EncoderSettings(model=str(yamnet_folder)))
    model = load_yamnet(yamnet_folder.parent / "yamnet.h5")
    for seconds, patches in ((10.0, 19), (3.3, 5), (0.975, 1)):
        waveform = tone(440, seconds)
        (found,) = encoder.encode([waveform])
        assert found.shape == (patches, 1024)
        ours = cut_patches(log_mel(waveform, log_offset=YAMNET_OFFSET), hop_frames=48)
        np.testing.assert_allclose(found, model(ours, training=False)[1], atol=2e-3)


def test_vggish(vggish_folder: Path) -> None:
    encoder = load_encoder("vggish-hub", EncoderSettings(model=str(vggish_folder)))
    found = encoder.encode([tone(440, 10.0), tone(440, 0.2)])
    assert [vectors.shape for vectors in found] == [(10, 128), (1, 128)]
    assert all(vectors.dtype == np.float32 for vectors in found)


def test_the_spec_tells_models_apart(vggish_folder: Path, yamnet_folder: Path) -> None:
    one = load_encoder("vggish-hub", EncoderSettings(model=str(vggish_folder))).spec
    again = load_encoder("vggish-hub", EncoderSettings(model=str(vggish_folder))).spec
    assert one == again
    assert set(one.weights) == {"saved_model"}
    assert one.weights != load_encoder("yamnet-hub", EncoderSettings(model=str(yamnet_folder))).spec.weights


def test_another_signature_is_refused(vggish_folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"\[1, 1024\].*\[1, 128\]") as error:
        load_encoder("yamnet-hub", EncoderSettings(model=str(vggish_folder)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["/no/such/folder", "http://127.0.0.1:9/google/yamnet/1"])
def test_what_cannot_be_had_is_one_line(model: str) -> None:
    with pytest.raises(WeightsError, match=r"cannot be loaded.*--model") as error:
        load_encoder("yamnet-hub", EncoderSettings(model=model))
    assert "\n" not in str(error.value)
    assert model in str(error.value)


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be loaded") as error:
        load_encoder("vggish-hub", EncoderSettings(model=str(tmp_path)))
    assert "\n" not in str(error.value)

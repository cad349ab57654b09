"""yamnet-native: YAMNet's own scores, at the classes of a class set."""

from pathlib import Path

import numpy as np
import pytest

from classifiers.heads import HEADS, TrainingData, fit_head, load_head
from classifiers.native import NativeHead, untrained, yamnet_indices
from embeddings.encoders import EncoderSettings, EncoderSpec, encoder_row, load_encoder
from embeddings.encoding.yamnet import Yamnet
from ingest.audio.windows import read_clip
from ingest.audioset.class_sets import ClassSet, SoundClass, find_class_set, with_children
from ingest.audioset.labels import load_labels, mid_of
from ingest.errors import UsageError

DOG, RAIN = mid_of("Dog"), mid_of("Rain")


@pytest.fixture(scope="module")
def yamnet(shared: Path) -> Yamnet:
    encoder = load_encoder("yamnet", EncoderSettings(weights_dir=shared / "models"))
    assert isinstance(encoder, Yamnet)
    return encoder


@pytest.fixture(scope="module")
def barks(shared: Path) -> list[np.ndarray]:
    return [read_clip(path).waveform for path in sorted((shared / "esc10" / "001 - Dog bark").glob("*.ogg"))[:6]]


def data_of(spec: EncoderSpec, mode: str, names: tuple[str, ...], mids: tuple[tuple[str, ...], ...]) -> TrainingData:
    vectors = np.zeros((2, 1, spec.dim), spec.dtype)
    mask, targets = np.ones((2, 1), bool), np.eye(2, len(names), dtype=np.float32)
    return TrainingData(vectors, mask, targets, ["a", "b"], [(), ()], names, mode, spec, mids)  # type: ignore[arg-type]


def fitted(shared: Path, spec: EncoderSpec, mode: str = "multi") -> NativeHead:
    data = data_of(spec, mode, ("Dog", "Rain"), ((DOG,), (RAIN,)))
    return fit_head("yamnet-native", data, 0, changes={"weights": str(shared / "models")})  # type: ignore[return-value]


@pytest.mark.slow
def test_it_says_what_yamnet_says(shared, yamnet, barks):
    head = fitted(shared, yamnet.spec)
    labels = load_labels().by_mid
    for waveform in barks:
        patches = yamnet.patches(waveform)
        vectors = yamnet.encode_patches(patches)[None]
        said = head.predict(vectors, np.ones(vectors.shape[:2], bool))
        for column, mid in enumerate((DOG, RAIN)):
            mids = with_children(SoundClass("", (mid,))).mids
            places = [i for m in mids if (i := labels[m].yamnet_index) is not None]
            own = yamnet.scores(patches)[:, places].max(axis=1)
            assert said.patch_scores[0, :, column] == pytest.approx(own, abs=1e-4)
            assert said.scores[0, column] == pytest.approx(own.mean(), abs=1e-4)


@pytest.mark.slow
def test_padding_changes_nothing_and_saving_changes_nothing(shared, yamnet, barks, tmp_path):
    head = fitted(shared, yamnet.spec, mode="single")
    vectors = np.stack([yamnet.encode([w])[0][:5] for w in barks])
    mask = np.arange(5) < np.array([1, 2, 3, 4, 5, 5])[:, None]
    head.save(tmp_path)
    for mode in ("light", "full"):
        loaded = load_head("yamnet-native", tmp_path, "single", mode)
        padded = np.pad(np.where(mask[..., None], vectors, 9), ((0, 0), (0, 3), (0, 0)), constant_values=7)
        said = loaded.predict(padded, np.pad(mask, ((0, 0), (0, 3))))
        for i, n in enumerate(mask.sum(axis=1)):
            alone = head.predict(vectors[i : i + 1, :n], np.ones((1, n), bool))
            assert said.scores[i] == pytest.approx(alone.scores[0], abs=1e-6)
            assert said.known[i] == pytest.approx(alone.known[0], abs=1e-6)
            assert not said.patch_scores[i, n:].any()
    assert said.scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert said.attention.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_every_class_of_the_class_sets_that_yamnet_can_know_has_a_score():
    for name in ("city10", "urbansound10", "esc10", "broad4", "human6", "speech", "music"):
        class_set = find_class_set(name)
        assert class_set is not None
        assert len(yamnet_indices(class_set.classes)) == len(class_set.classes)


def test_a_label_below_another_class_counts_for_its_own():
    classes = (SoundClass("Cough", (mid_of("Cough"),)), SoundClass("Throat", (mid_of("Throat clearing"),)))
    cough, throat = yamnet_indices(classes)
    assert throat == [load_labels().by_mid[mid_of("Throat clearing")].yamnet_index]
    assert not set(throat) & set(cough)


def test_a_data_sets_own_name_counts_where_audioset_has_it_too():
    rain = load_labels().by_mid[RAIN].yamnet_index
    assert rain in yamnet_indices((SoundClass("r", ("rain",)),))[0]
    with pytest.raises(UsageError, match="no score for 'r', 'f'"):
        yamnet_indices((SoundClass("r", ("my own rain",)), SoundClass("f", (mid_of("Funny music"),))))


def test_other_embeddings_are_refused(shared):
    spec = encoder_row("vggish-pca").spec()
    with pytest.raises(UsageError, match="--encoder yamnet"):
        fit_head("yamnet-native", data_of(spec, "single", ("Dog", "Rain"), ((DOG,), (RAIN,))), 0)
    other = encoder_row("yamnet").spec(weights={"yamnet.h5": "0" * 64})
    changes = {"weights": str(shared / "models")}
    with pytest.raises(UsageError, match="another file"):
        fit_head("yamnet-native", data_of(other, "single", ("Dog", "Rain"), ((DOG,), (RAIN,))), 0, changes=changes)


def test_a_model_without_any_data(shared):
    class_set = ClassSet("Two", "single", (SoundClass("Dog", (DOG,)), SoundClass("Rain", (RAIN,))))
    info, head = untrained(class_set, shared / "models")
    said = head.predict(np.zeros((1, 1, 1024), np.float32), np.ones((1, 1), bool))
    assert info.decision.decide(said).answer.shape == (1,)
    assert info.metrics is None
    assert info.spec.encoder == "yamnet"
    assert str(shared) not in str(info.to_json())


def test_the_row_has_one_file_for_both_forms():
    assert HEADS["yamnet-native"].full_file == HEADS["yamnet-native"].light_file

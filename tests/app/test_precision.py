"""A model run with its encoder in another precision: by the user's choice only, and only where the encoder has it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.cli import main
from app.predicting import encoder_for
from classifiers.bundle import Bundle
from embeddings.encoders import EncoderSettings, EncoderSpec, encoder_row, require_precision
from embeddings.features import features_spec
from ingest.errors import SpecMismatchError, UsageError


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[EncoderSettings]:
    """The settings that encoders are loaded with; VGGish's weights are not to be had, so only their specs are made."""
    settings: list[EncoderSettings] = []

    def load(name: str, said: EncoderSettings) -> SimpleNamespace:
        settings.append(said)
        return SimpleNamespace(spec=encoder_row(name).spec(precision=said.precision, weights={"w": "1" * 64}))

    monkeypatch.setattr("app.predicting.load_encoder", load)
    return settings


def bundle(spec: EncoderSpec) -> Bundle:
    return Bundle(Path("model"), SimpleNamespace(spec=spec), head=None, pca=None)  # type: ignore[arg-type]


def test_the_models_own_unless_said(loaded: list[EncoderSettings]) -> None:
    for own in ("float32", "bfloat16", "int8"):
        assert encoder_for(bundle(replace(features_spec(), precision=own)), None).spec.precision == own
    assert encoder_for(bundle(features_spec()), None, "int8").spec.precision == "int8"
    assert [said.precision for said in loaded] == ["float32", "bfloat16", "int8", "int8"]


def test_an_encoder_without_it_keeps_its_own(loaded: list[EncoderSettings]) -> None:
    """Of several models that are served, one may have it and the other not."""
    assert encoder_for(bundle(encoder_row("yamnet").spec()), None, "int8").spec.precision == "float32"


def test_other_weights_are_refused_all_the_same(loaded: list[EncoderSettings]) -> None:
    with pytest.raises(SpecMismatchError, match="weights w: 2222"):
        encoder_for(bundle(encoder_row("vggish").spec(weights={"w": "2" * 64})), None, "int8")


def test_one_that_no_encoder_has(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("serve", "app"):
        with pytest.raises(SystemExit) as left:
            main([command, "--model", "model", "--precision", "int4"])
        assert left.value.code == 2
        assert "--precision: encoders have float32 or bfloat16 or int8, not int4" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--precision: yamnet has float32, not int8"):
        require_precision("int8", ["yamnet"])

"""The attention family: what holds for each of its heads, and how one is trained."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from classifiers.heads import HEADS, FittedHead, TrainingData, fit_head, load_head
from classifiers.networks import attention, ensemble, training
from classifiers.networks.attention import fit_core
from classifiers.networks.attention_graph import _SelfAttention, average, build_graph
from classifiers.networks.attention_pooling import _for_each_class
from classifiers.networks.attention_settings import AttentionSettings, settings_for
from classifiers.networks.keras_head import InputScaling
from classifiers.networks.training import lesson, train
from classifiers.networks.training_layers import coarse_dropout, normalised_dense
from embeddings import mapped
from embeddings.runtimes.tf import import_keras, to_litert
from ingest.errors import UsageError
from tests.classifiers.generated import CLASSES, make_spec, make_table

tensorflow = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Keras 3.15 reads TensorFlow variables in a way that NumPy 2 asks it to change.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
SMALL = {"hidden": 48, "width": 48, "batch": 16, "learning_rate": 3e-3, "min_steps": 200, "epochs": 1}
HYBRID = {
    **SMALL,
    "branches": ["multihead", "decision", "statistics"],
    "narrow": 8,
    "output_spread": 0.15,
    "batch_norm": True,
    "mix_pooled": 0.5,
    "apart": 0.5,
    "input_dropout": 0.0,
    "coarse_dropout": True,
}
FAMILY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "decision": ("decision", "multi", SMALL),
    "decision-multi": ("decision-multi", "single", SMALL),
    "feature": ("feature", "single", SMALL),
    "multihead": ("multihead", "multi", SMALL),
    "transformer": ("transformer", "single", SMALL),
    "hybrid": ("attention", "multi", HYBRID),
    "two networks": ("attention", "multi", {**HYBRID, "branches": ["decision"], "networks": 2}),
    "statistics": ("attention", "single", {**SMALL, "branches": ["statistics"]}),
    "ensemble": ("ensemble", "single", {"members": ["decision", "feature"]}),
    "distilled": ("distilled", "single", {"members": ["decision", "feature"], "pupil": "decision"}),
}
"""Name of the test -> row of the table, mode, settings."""


def make_data(mode: str = "single", **changes: int) -> TrainingData:
    table = make_table(**changes)  # type: ignore[arg-type]
    targets = np.array([[name in mids for name in CLASSES] for mids in table.mids], np.float32)
    return TrainingData(table.vectors, table.mask, targets, table.sources, table.mids, CLASSES, mode, make_spec())  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[pytest.param(name, marks=tensorflow) for name in FAMILY])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[FittedHead, Any, Any]:
    """A head of the family, and what it is when saved and loaded: light, full."""
    name, mode, changes = FAMILY[request.param]
    head = fit_head(name, make_data(mode), 0, changes=changes)
    folder = tmp_path_factory.mktemp(request.param)
    head.save(folder)
    assert {path.name for path in folder.iterdir()} == {HEADS[name].full_file, HEADS[name].light_file}
    return head, *(load_head(name, folder, mode, runtime) for runtime in ("light", "full"))  # type: ignore[arg-type]


def test_every_row_of_the_family_is_tested() -> None:
    rows = {
        row.name
        for row in HEADS.values()
        if row.module in ("classifiers.networks.attention", "classifiers.networks.ensemble")
    }
    assert rows == {name for name, _, _ in FAMILY.values()}


def test_it_learns_and_says_the_same_when_loaded(trained: tuple[FittedHead, Any, Any]) -> None:
    head, *loaded = trained
    unseen = make_data(seed=1)
    said = head.predict(unseen.vectors, unseen.mask)
    assert (said.scores.argmax(axis=1) == unseen.targets.argmax(axis=1)).mean() > 0.9
    for one in loaded:
        other = one.predict(unseen.vectors, unseen.mask)
        for name in ("scores", "patch_scores", "attention"):
            np.testing.assert_allclose(getattr(other, name), getattr(said, name), atol=1e-5)


def test_what_is_masked_has_no_influence(trained: tuple[FittedHead, Any, Any]) -> None:
    data = make_data(seed=1)
    noise = np.random.default_rng(2).integers(0, 256, data.vectors.shape).astype(np.uint8)
    dirty = np.where(data.mask[..., None], data.vectors, noise)
    for one in trained:
        clean, noisy = one.predict(data.vectors, data.mask), one.predict(dirty, data.mask)
        np.testing.assert_array_equal(clean.scores, noisy.scores)
        assert clean.attention is not None
        assert clean.patch_scores is not None
        np.testing.assert_allclose(clean.attention.sum(axis=1), 1, atol=1e-5)
        assert not clean.attention[~data.mask].any()
        assert not clean.patch_scores[~data.mask].any()


def test_patch_scores_say_where_it_happens(
    trained: tuple[FittedHead, Any, Any], request: pytest.FixtureRequest
) -> None:
    """The first patch of a row is of its class, and scores above a patch that is noise: clearly so, unless patches have
    looked at each other, for then noise has seen the class beside it."""
    data = make_data(seed=1)
    right = data.targets.argmax(axis=1)
    said = trained[0].predict(data.vectors, data.mask).patch_scores
    assert said is not None
    of_class = said[np.arange(len(right)), :, right]
    loud = data.vectors[np.arange(len(right)), :, right] > 170
    clearly = 1.0 if request.node.callspec.params["trained"] == "transformer" else 1.3
    assert np.median(of_class[data.mask & loud]) > clearly * np.median(of_class[data.mask & ~loud])


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_self_attention_is_keras_own_with_the_same_weights() -> None:
    import keras

    hidden = np.random.default_rng(0).standard_normal((3, 5, 24)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 1, 0, 1]], bool)
    ours = _SelfAttention(AttentionSettings(hidden=24, self_attention=4))
    theirs = keras.layers.MultiHeadAttention(4, 6)
    seen = ours(hidden, keras.ops.convert_to_tensor(mask))
    theirs.build(hidden.shape, hidden.shape)
    weights = [w for layer in (ours._asks, ours._offers, ours._gives, ours._out) for w in layer.get_weights()]
    theirs.set_weights([np.reshape(w, v.shape) for w, v in zip(weights, theirs.weights, strict=True)])
    np.testing.assert_allclose(seen, theirs(hidden, hidden, attention_mask=mask[:, None]), atol=1e-5)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_head_without_weights_for_each_class_is_saved_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    weights = import_keras().Input(batch_shape=(1, 5, 4))
    to_litert(import_keras().Model([weights], _for_each_class(weights, 3)))
    assert "NodeDef" not in capfd.readouterr().err


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_batch_norm_is_settled_on_clean_patches() -> None:
    """The closed form of the variance is that of a forward pass."""
    data = make_data()
    scaling = InputScaling.of(data.vectors, data.mask)
    graph = build_graph(12, 3, AttentionSettings(hidden=8, batch_norm=True))
    graph.settle(scaling.correlation(data.vectors, data.mask))
    outputs = scaling.apply(data.vectors, data.mask)[data.mask] @ np.asarray(graph.core.get_layer("patch").kernel)
    normalise = graph.core.get_layer("normalise")
    np.testing.assert_allclose(np.asarray(normalise.moving_variance), outputs.var(axis=0), rtol=1e-3)
    np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=1e-3)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_early_stopping_chooses_the_epochs_on_held_out_sources() -> None:
    head = fit_head("decision", make_data(), 0, changes={**SMALL, "epochs": 300, "patience": 2})
    assert 1 <= head.settings["chosen"]["epochs"] < 300


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_early_stopping_judges_batch_norm_as_it_will_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training leaves its moments alone, so that they must be settled before each look at what is held out."""
    seen: list[Any] = []

    def look(graph: Any, data: TrainingData, scaling: InputScaling) -> float:
        seen.append(np.array(graph.core.get_layer("normalise").moving_variance))
        return float(len(seen))

    monkeypatch.setattr(training, "_loss_on", look)
    fit_head("attention", make_data("multi", n=24), 0, changes={**HYBRID, "min_steps": 20, "patience": 2})
    assert len(seen) == 3
    assert all((variance != 1).all() for variance in seen)
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_vectors_in_a_file_train_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data()
    monkeypatch.setattr(mapped, "IN_MEMORY_BYTES", 0)
    lying = mapped.zeros(data.vectors.shape, data.vectors.dtype)
    lying[:] = data.vectors
    short = {**SMALL, "min_steps": 20}
    heads = [fit_head("decision", replace(data, vectors=v), 0, changes=short) for v in (data.vectors, lying)]
    one, other = (head.predict(data.vectors, data.mask).scores for head in heads)
    np.testing.assert_array_equal(one, other)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.99])
def test_dropout_by_the_byte_is_dropout(rate: float) -> None:
    """A share of units near `rate`, new ones each time; the others grow so that the mean stays. Outside of training
    nothing. Units that no four bytes share evenly."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layer, x = coarse_dropout(rate), np.ones((211, 7, 11), np.float32)
    np.testing.assert_array_equal(layer(x, training=False), x)
    first, second = (np.asarray(layer(x, training=True)) for _ in range(2))
    assert np.mean(first == 0) == pytest.approx(rate, abs=0.015)
    assert first.mean() == pytest.approx(1, abs=0.12 if rate > 0.9 else 0.02)
    assert len(np.unique(first[first > 0])) == 1
    assert np.mean((first == 0) & (second == 0)) == pytest.approx(rate**2, abs=0.02)
    words = (first == 0).ravel()[: first.size // 4 * 4].reshape(-1, 4)
    assert np.mean(words.all(axis=1)) == pytest.approx(rate**4, abs=0.02)  # bytes of one word have nothing in common
    keras.utils.set_random_seed(0)
    np.testing.assert_array_equal(coarse_dropout(rate)(x, training=True), first)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_batch_norm_by_the_moments_of_the_inputs_is_batch_norm() -> None:
    """Keras's own layer, in training and with its mask, is the definition."""
    from embeddings.runtimes.tf import import_keras

    keras, rng = import_keras(), np.random.default_rng(0)
    mask = rng.random((20, 6)) < 0.7
    x = np.where(mask[..., None], rng.normal(0.3, 2.0, (20, 6, 12)), 0).astype(np.float32)
    dense, normalise = keras.layers.Dense(9, use_bias=False), keras.layers.BatchNormalization()
    normalise(dense(x))
    normalise.gamma.assign(rng.normal(size=9))
    normalise.beta.assign(rng.normal(size=9))
    ours = np.asarray(normalised_dense(dense, normalise)(x, mask))
    keras_own = np.asarray(normalise(dense(x), mask=mask, training=True))
    np.testing.assert_allclose(ours[mask], keras_own[mask], atol=1e-4)


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("apart", "weights"), [(0.0, (1,)), (0.5, (0.5, 0.25, 0.25)), (1.0, (0, 0.5, 0.5))])
def test_branches_apart_are_taught_one_by_one(apart: float, weights: tuple[float, ...]) -> None:
    """The loss is the share of what their mean says, and of what each says; the head remains their mean."""
    data, rng = make_data("multi", n=24), np.random.default_rng(0)
    settings = AttentionSettings(
        branches=("multihead", "decision"), hidden=8, width=8, dropout=0.0, input_dropout=0.0, apart=apart
    )
    graph = build_graph(data.spec.dim, 3, settings)
    assert graph.weights == pytest.approx(weights)
    x = [InputScaling.of(data.vectors, data.mask).apply(data.vectors, data.mask), data.mask]
    said = graph.trained(x, training=True)
    said = [np.asarray(one) for one in (said if isinstance(said, list) else [said])]
    np.testing.assert_allclose(graph.core(x)[0], said[0], atol=1e-5)
    if apart:
        np.testing.assert_allclose(said[0], np.mean(said[1:], axis=0), atol=1e-5)
        assert not np.allclose(said[1], said[2])

    def loss(logits: Any) -> float:
        return float(np.mean(np.logaddexp(0, logits) - data.targets * logits))

    expected = sum(weight * loss(logits) for weight, logits in zip(weights, said, strict=True))
    still = replace(settings, learning_rate=1e-12, epochs=1, min_steps=1, batch=24, mixup=0.0)
    losses: list[float] = []
    step = graph.trained.train_on_batch
    graph.trained.train_on_batch = lambda *batch: losses.append(np.ravel(step(*batch))[0])
    train(graph, data, InputScaling.of(data.vectors, data.mask), still, rng)
    assert losses == [pytest.approx(expected, rel=1e-4)]


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_head_of_several_networks_is_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    data, told, kept = make_data(n=24), [], []
    scaling, settings = InputScaling.of(data.vectors, data.mask), AttentionSettings(networks=3, epochs=1, min_steps=2)
    monkeypatch.setattr(attention, "average", lambda cores, dim: kept.extend(cores) or average(cores, dim))
    core, _ = fit_core(data, scaling, settings, 0, progress=lambda done, total: told.append(done / total))
    x = [scaling.apply(data.vectors, data.mask), data.mask]
    each = [[np.asarray(output) for output in one(x)] for one in kept]
    assert len(each) == 3 and not np.allclose(each[0][0], each[1][0])
    for output, parts in zip(core(x), zip(*each, strict=True), strict=True):
        np.testing.assert_allclose(output, np.mean(parts, axis=0), atol=1e-5)
    assert told == sorted(told) and told[-1] == 1


def test_a_teacher_is_asked_about_what_the_pupil_sees() -> None:
    data, rng = make_data(), np.random.default_rng(0)
    scaling, rows = InputScaling.of(data.vectors, data.mask), np.arange(20)
    asked: list[Any] = []

    def teacher(x: Any, mask: Any) -> Any:
        asked.append(x)
        return np.full((len(x), 3), 0.25, np.float32)

    settings = AttentionSettings(taught=1.0)
    (x, _), y = lesson(data, rows, scaling, settings, rng, pooled=False, teacher=teacher)
    np.testing.assert_array_equal(asked[0], x)
    assert not np.array_equal(x, scaling.apply(data.vectors[rows], data.mask[rows]))
    np.testing.assert_allclose(y, 0.25)


def test_a_step_mixes_inputs_or_what_was_pooled() -> None:
    data, rng = make_data(), np.random.default_rng(0)
    scaling, rows = InputScaling.of(data.vectors, data.mask), np.arange(20)
    plain = scaling.apply(data.vectors[rows], data.mask[rows])
    for mix_pooled in (0.0, 1.0):
        settings = AttentionSettings(mix_pooled=mix_pooled)
        (x, mask, partner, share), y = lesson(data, rows, scaling, settings, rng, pooled=True)
        assert np.array_equal(x, plain) == np.array_equal(mask, data.mask[rows]) == bool(mix_pooled)
        if mix_pooled:
            targets = data.targets[rows]
            np.testing.assert_allclose(y, share * targets + (1 - share) * targets[partner], atol=1e-6)
        else:
            np.testing.assert_array_equal(share, 1)


def test_settings_come_from_the_recipe_then_the_row_then_the_user() -> None:
    few = make_data(n=6)
    many = replace(few, mode="multi", targets=np.zeros((5000, 100), np.float32))
    assert settings_for(HEADS["attention"], {}, few).branches == ("decision",)
    assert settings_for(HEADS["attention"], {}, many).branches == ("multihead", "decision", "statistics")
    assert settings_for(HEADS["feature"], {}, many).branches == ("feature",)
    assert settings_for(HEADS["feature"], {"branches": ["decision"]}, many).branches == ("decision",)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"precision": "half"}, "float32 or bfloat16"),
        ({"networks": 0}, "1 or more, got 0"),
        ({"hidden": 0}, "1 or more, got 0"),
        ({"dropout": 1.0}, "0 to 0.99, got 1"),
        ({"apart": 1.5}, "0 to 1, got 1.5"),
        ({"output_spread": 0.0}, "0.001 or more, got 0"),
        ({"widht": 3}, "no such"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        settings_for(HEADS["attention"], changes, make_data(n=6))


def test_patches_look_at_each_other_where_they_are_few() -> None:
    rows, settings = make_data(n=6), {"self_attention": 4}
    longest = replace(rows, mask=np.ones((6, 600), bool))
    assert settings_for(HEADS["transformer"], {}, longest).self_attention == 8
    spectrogram = replace(rows, mask=np.ones((6, 998), bool))
    assert not settings_for(HEADS["attention"], {}, spectrogram).self_attention
    for head, changes in (("transformer", {}), ("attention", settings)):
        with pytest.raises(UsageError, match=rf"--head {head}: .* up to 998; use attention .* --head cnn"):
            settings_for(HEADS[head], changes, spectrogram)


def test_members_and_pupil_are_refused_before_any_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "fit_core", lambda *args, **how: pytest.fail("trained"))
    spectrogram = replace(make_data(n=6), vectors=np.zeros((6, 998, 12), np.uint8), mask=np.ones((6, 998), bool))
    given = {"members": ["attention", "transformer"]}, {"members": ["attention"], "pupil": "transformer"}
    for head, changes in zip(("ensemble", "distilled"), given, strict=True):
        with pytest.raises(UsageError, match=r"--head transformer: .* up to 998"):
            fit_head(head, spectrogram, 0, changes=changes)


@pytest.mark.parametrize("name", ["svc", "nobody"])
def test_an_ensemble_takes_heads_of_the_family_only(name: str) -> None:
    with pytest.raises(UsageError, match=f"--set members: .*attention family, got '{name}'"):
        fit_head("ensemble", make_data(n=6), 0, changes={"members": [name]})
    with pytest.raises(UsageError, match=f"--set pupil: .*attention family, got '{name}'"):
        fit_head("distilled", make_data(n=6), 0, changes={"pupil": name})


@pytest.mark.parametrize(("branches", "complaint"), [(("decision", "mean"), "got 'mean'"), (("decision",) * 2, "once")])
def test_branches_are_known_and_named_once(branches: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=f"--set branches: .*{complaint}"):
        build_graph(12, 3, AttentionSettings(branches=branches))


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_what_training_cannot_end_well_with_is_said() -> None:
    data, short = make_data(n=12), {"hidden": 4, "min_steps": 3, "epochs": 1}
    with pytest.raises(UsageError, match=r"--head decision: its training diverged.* smaller learning rate"):
        fit_head("decision", data, 0, changes={**short, "learning_rate": 1e30})
    with pytest.raises(UsageError, match=r"--set patience: .*a training part has one only"):
        fit_head("decision", replace(data, sources=["one"] * 12), 0, changes={**short, "patience": 1})
    said = fit_head("transformer", data, 0, changes=short).predict(data.vectors, data.mask)  # fewer units than heads
    assert np.isfinite(said.scores).all()

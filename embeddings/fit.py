"""Touches the disk, uses threads: the projection of `yamnet-128`, fitted on a sample of the audio to be embedded."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings.encoders import Encoder, EncoderSettings
from embeddings.stream import Embedded, WindowReader, encode_items
from ingest.audio.clip import AudioItem, Clip
from ingest.places.folder import AudioPath, Folder

PCA_FILE = "pca.npz"
SAMPLE_WINDOWS = 2_000
"""Windows that a projection is fitted on, at most: some 20,000 vectors for 128 directions."""


def sample_vectors(
    items: Sequence[AudioItem], encoder: Encoder, *, workers: int, read: WindowReader, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Vectors of up to SAMPLE_WINDOWS windows of the items, as many of each as there is room for; bad files are passed.

    Args:
        seed: chooses the items where there are more than SAMPLE_WINDOWS.
    Returns:
        float32 [n, dim]; the same for the same items and seed, with any number of workers.
    """
    chosen = _choose(items, seed)
    windows_each = max(1, SAMPLE_WINDOWS // max(1, len(chosen)))

    def read_some(path: AudioPath, **form: Any) -> Iterator[Clip]:
        return islice(read(path, **form), windows_each)

    with closing(encode_items(chosen, encoder, encoder.spec, workers=workers, read=read_some)) as events:
        vectors = [event.embedding.vectors for event in events if isinstance(event, Embedded)]
    return np.concatenate([np.zeros((0, encoder.spec.dim), np.float32), *vectors])


def fit_projection(
    items: Sequence[AudioItem], folder: Folder, settings: EncoderSettings, *, workers: int, resampler: str
) -> None:
    """Fit the projection that a store's rows are made with on `items`, into its folder; one that is there stays.

    Raises:
        UsageError: too little audio to fit one.
        WeightsError: YAMNet's weights are not to be had.
    """
    if folder.has(PCA_FILE):
        return
    from embeddings.encoding.yamnet import load_unprojected
    from embeddings.pca import fit_pca, save_pca
    from ingest.audio.windows import read_windows

    def read(path: AudioPath, **form: Any) -> Iterator[Clip]:
        return read_windows(path, **(form | {"resampler": resampler}))

    pca = fit_pca(sample_vectors(items, load_unprojected(settings), workers=workers, read=read))
    folder.make()
    with folder.write(PCA_FILE) as made:
        save_pca(pca, made)


def _choose(items: Sequence[AudioItem], seed: int) -> list[AudioItem]:
    if len(items) <= SAMPLE_WINDOWS:
        return list(items)
    rows = np.random.default_rng(seed).choice(len(items), SAMPLE_WINDOWS, replace=False)
    return [items[row] for row in sorted(rows)]

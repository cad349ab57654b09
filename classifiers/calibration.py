"""Making scores believable: temperature and Platt scaling. Numpy only, pure.

Sources: Guo et al., "On calibration of modern neural networks" (ICML 2017) for the temperature; Platt (1999) for the
sigmoid.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]

HISTOGRAM = 512
"""Cells that logits are counted in before a sigmoid is fitted to them: two parameters need no finer look."""
TINY = 1e-7
LOWEST, HIGHEST = 1 / 3, 10.0
"""Bounds of a temperature: beyond them a few lucky rows may speak, not the head."""
LOWEST_OF_FLAT = 1e-3
"""Of heads whose scores all lie close together, such as naive Bayes of many classes."""
LEAST_ROWS, CELLS = 500, 2_000_000
"""Rows, and rows x classes, that a temperature is fitted on: one number needs no more."""
LEAST_SLOPE = 1e-3
"""A sigmoid never turns the order of its scores around."""
MIN_STEP = 1e-8


def logit(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """log(p / (1 - p)) of scores in [0, 1], kept finite."""
    p = np.clip(np.asarray(scores, np.float64), TINY, 1 - TINY)
    return np.log(p / (1 - p))


def sigmoid(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-x)), without overflow, and exact where it is small."""
    x = np.asarray(logits, np.float64)
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e))


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def log_scores(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """log(p) of scores in [0, 1], kept finite."""
    return np.log(np.maximum(np.asarray(scores, np.float64), 1e-12))


def mean_nll(truth: npt.ArrayLike, logits: Floats, unsure: float = 0.0) -> float:
    """Mean of -log p of the right class; truth [n, classes] has one 1 in a row.

    Args:
        unsure: so much of each row's truth is shared out evenly among all classes.
    """
    highest = logits.max(axis=1)
    everything = (highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))).mean()
    right = logits[np.arange(len(logits)), np.asarray(truth).argmax(axis=1)].mean()
    return float(everything - (1 - unsure) * right - unsure * logits.mean())


def fit_temperature(truth: npt.ArrayLike, logits: Floats) -> float:
    """The temperature that logits are divided by for the lowest negative log likelihood; never worse than 1.

    Below LOWEST the truth is drawn in, the more the fewer rows there are, so that perfect separation keeps it above 0.

    Args:
        truth: [n, classes], one 1 in a row; n > 0.
    """
    truth = np.asarray(truth)
    if len(truth) > (most := max(LEAST_ROWS, CELLS // truth.shape[1])):
        some = np.linspace(0, len(truth) - 1, most).astype(int)
        truth, logits = truth[some], logits[some]
    found, loss = _lowest(truth, logits, (LOWEST, HIGHEST))
    if found < LOWEST * 1.01:
        sharper, _ = _lowest(truth, logits, (LOWEST_OF_FLAT, LOWEST), unsure=1 / (len(logits) + 2))
        found, loss = min((found, loss), (sharper, mean_nll(truth, logits / sharper)), key=lambda pair: pair[1])
    return found if loss < mean_nll(truth, logits) else 1.0


def _lowest(
    truth: npt.ArrayLike, logits: Floats, bounds: tuple[float, float], unsure: float = 0.0
) -> tuple[float, float]:
    """The temperature within bounds that has the lowest loss, and that loss."""
    low, high = np.log(bounds)
    for _ in range(3):  # a grid that zooms in: the likelihood has one valley
        grid = np.linspace(low, high, 25)
        losses = [mean_nll(truth, logits / np.exp(t), unsure) for t in grid]
        best = int(np.argmin(losses))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    return float(np.exp(grid[best])), losses[best]


def fit_sigmoid(truth: Flags, logits: Floats, weights: Floats | None = None) -> tuple[float, float]:
    """Slope and offset of Platt's sigmoid: p = sigmoid(slope * logit + offset). The slope is above 0.

    Targets are drawn in as Platt does, so that perfect separation keeps the sigmoid finite.

    Args:
        truth, logits: [n], with both kinds of truth, else (1, 0) comes back.
        weights: [n] of the rows, summing to anything; None for equal ones.
    """
    if truth.all() or not truth.any():
        return 1.0, 0.0
    heavy = np.ones(len(truth), np.float64) if weights is None else weights.astype(np.float64)
    x, positive, negative = _histogram(truth, np.asarray(logits, np.float64), heavy)
    n_positive, n_negative = positive.sum(), negative.sum()
    high, low = (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2)
    wanted, total = positive * high + negative * low, positive + negative

    def loss(slope: float, offset: float) -> float:
        z = slope * x + offset
        return float((total * np.logaddexp(0, z) - wanted * z).sum())

    slope, offset = 0.0, float(np.log((n_positive + 1) / (n_negative + 1)))
    for _ in range(100):  # Newton's steps, halved until the loss falls: the method of Lin, Lin and Weng (2007)
        p = sigmoid(slope * x + offset)
        error, curve = p * total - wanted, p * (1 - p) * total
        gradient = np.array([(error * x).sum(), error.sum()])
        hessian = np.array([[(curve * x * x).sum(), (curve * x).sum()], [(curve * x).sum(), curve.sum()]])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        here, part = loss(slope, offset), 1.0
        while part > MIN_STEP and loss(slope - part * step[0], offset - part * step[1]) > here:
            part /= 2
        slope, offset = slope - part * step[0], offset - part * step[1]
        if part <= MIN_STEP or np.abs(part * step).max() < MIN_STEP:
            break
    if slope < LEAST_SLOPE:  # worse than chance, as of few rows out of fold: then every score becomes about the share
        share = wanted.sum() / total.sum()
        slope, offset = LEAST_SLOPE, np.log(share / (1 - share)) - LEAST_SLOPE * (total * x).sum() / total.sum()
    return float(slope), float(offset)


def _histogram(
    truth: Flags, x: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean logit of each filled cell, and the weight of positives and of negatives in it."""
    low, high = float(x.min()), float(x.max())
    cell = np.minimum(((x - low) / max(high - low, 1e-12) * HISTOGRAM).astype(np.intp), HISTOGRAM - 1)
    positive: npt.NDArray[np.float64] = np.bincount(cell, weights * truth, HISTOGRAM).astype(np.float64)
    negative: npt.NDArray[np.float64] = np.bincount(cell, weights * ~truth, HISTOGRAM).astype(np.float64)
    centre: npt.NDArray[np.float64] = np.bincount(cell, weights * x, HISTOGRAM).astype(np.float64)
    filled = positive + negative > 0
    return centre[filled] / (positive + negative)[filled], positive[filled], negative[filled]

"""The ring holds the newest samples of a signal, whatever pieces it came in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.live.ring import Ring
from ingest.errors import UsageError


@given(st.integers(1, 50), st.lists(st.integers(0, 120), max_size=30), st.data())
def test_what_is_read_is_what_was_pushed(capacity: int, pieces: list[int], data: st.DataObject) -> None:
    signal = np.arange(sum(pieces), dtype=np.float32)
    ring, at = Ring(capacity), 0
    for piece in pieces:
        ring.push(signal[at : at + piece])
        at += piece
        assert (ring.begin, ring.end) == (max(0, at - capacity), at)
        begin = data.draw(st.integers(ring.begin, ring.end))
        end = data.draw(st.integers(begin, ring.end))
        assert np.array_equal(ring.read(begin, end), signal[begin:end])


def test_what_was_pushed_over_or_is_not_yet_there_cannot_be_read() -> None:
    ring = Ring(10)
    ring.push(np.arange(25, dtype=np.float32))
    for begin, end in ((14, 20), (20, 26), (20, 19)):
        with pytest.raises(IndexError, match="15 to 25 are held"):
            ring.read(begin, end)


def test_what_was_read_does_not_change_with_the_ring() -> None:
    ring = Ring(4)
    ring.push(np.ones(4, np.float32))
    read = ring.read(0, 4)
    ring.push(np.zeros(4, np.float32))
    assert read.all()


def test_no_capacity_is_refused() -> None:
    with pytest.raises(UsageError, match="capacity"):
        Ring(0)

"""How long networks are trained."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from classifiers.networks.attention_settings import AttentionSettings
from classifiers.networks.cnn import CnnSettings
from classifiers.networks.steps import Paced, epochs_for, steps_per_epoch

COUNTS = st.integers(1, 1000)


@dataclass(frozen=True)
class Pace:
    epochs: int
    batch: int
    min_steps: int
    max_steps: int


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.integers(1, 100_000))
def test_passes_are_whole_and_their_steps_within_the_bounds(
    epochs: int, batch: int, min_steps: int, max_steps: int, n: int
) -> None:
    pace = Pace(epochs, batch, min_steps, max_steps)
    a_pass, passes = steps_per_epoch(pace, n), epochs_for(pace, n)
    assert passes >= 1
    assert a_pass * batch >= n > (a_pass - 1) * batch
    assert (passes - 1) * a_pass < max_steps
    assert passes * a_pass >= min(min_steps, max_steps)
    if min_steps <= epochs * a_pass <= max_steps:
        assert passes == epochs


def test_the_networks_settings_are_paced() -> None:
    settings: list[Paced] = [AttentionSettings(), CnnSettings()]
    assert [epochs_for(one, 3200) for one in settings] == [60, 50]

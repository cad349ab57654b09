"""Five-second clips end to end with VGGish, against its bare engine on ready batches; all cores both.

Random weights of the official shapes: they cost the same. Expected before measuring: 85 to 92 %: a clip's patches
take some 40 ms of a core in the engine and 4 ms on the way there.
"""

from bench.embed import end_to_end
from bench.result import Result
from bench.weights import random_vggish


def run() -> list[Result]:
    encoder = random_vggish()
    return end_to_end("vggish", encoder, encoder, rounds=3)

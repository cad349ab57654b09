"""Five-second clips end to end with VGGish, against its bare engine on ready batches; all cores both.

Random weights of the official shapes: they cost the same. The engine as it comes is TensorFlow's own convolutions, ours
at its best is Winograd's. Expected before measuring: 160 and 85 %: a clip's five patches take 75 ms of a core in the
one and 41 in the other, and 6 ms on the way there.
"""

from bench.embed import end_to_end
from bench.result import Result
from bench.weights import random_vggish


def run() -> list[Result]:
    return end_to_end("vggish", random_vggish(), random_vggish(plain=True), rounds=3)

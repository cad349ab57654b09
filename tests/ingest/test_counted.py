"""Numbers with their noun."""

import pytest

from ingest.counted import counted


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [(0, "row", "0 rows"), (1, "class", "1 class"), (2, "class", "2 classes"), (12_345, "new row", "12,345 new rows")],
)
def test_a_noun_stands_in_its_number(number, noun, said):
    assert counted(number, noun) == said

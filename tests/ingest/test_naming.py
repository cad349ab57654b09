"""File names: one for each key, on disks that fold case too."""

import re
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from ingest.youtube.naming import audio_path

YOUTUBE = st.text("ABCXYZabcxyz019_-", min_size=1, max_size=11)


def test_readable_and_in_a_folder_of_the_first_two_characters() -> None:
    assert audio_path("dQw4w9WgXcQ_30000", "flac") == PurePosixPath("audio/dq/dQw4w9WgXcQ_30000~542.flac")


@given(st.sets(st.one_of(YOUTUBE, st.text(min_size=1, max_size=8)).map(lambda name: f"{name}_0"), min_size=2))
def test_different_keys_never_collide_even_when_case_is_folded(keys: set[str]) -> None:
    assert len({str(audio_path(key, "flac")).casefold() for key in keys}) == len(keys)


@given(st.text(max_size=12))
def test_no_key_leaves_the_folder_or_looks_like_an_option(name: str) -> None:
    path = audio_path(f"{name}_0", "wav")
    assert len(path.parts) == 3
    assert path.parts[0] == "audio"
    assert re.fullmatch(r"[a-z0-9_%-]{2}", path.parts[1])
    assert re.fullmatch(r"[A-Za-z0-9_%-]+~[0-9a-f]+\.wav", path.parts[2])

"""The cut, proved on a chirp whose frequency tells the time, in every container."""

import io

import numpy as np
import pytest

from ingest.errors import FetchError
from ingest.youtube.cut import MISSING_AT_END_S, cut_audio
from ingest.youtube.remote import MediaStream, RemoteFile
from tests.ingest.media import CONTAINERS, chirp, chirp_file, encode, time_error_s, wav
from tests.ingest.media_server import serve

ALLOWED_S = 0.005


def errors_s(samples: np.ndarray, rate: int, start_s: float) -> tuple[float, float]:
    """How far off the first and the last quarter of a second are."""
    edge = rate // 4
    end_s = start_s + (len(samples) - edge) / rate
    return time_error_s(samples[:edge], rate, start_s), time_error_s(samples[-edge:], rate, end_s)


def test_the_measure_sees_a_shift_of_a_millisecond() -> None:
    samples = chirp(20.0, 48_000)
    early, late = errors_s(samples[48_048 : 48_048 + 480_000], 48_000, 1.0)
    assert early == pytest.approx(0.001, abs=2e-4)
    assert late == pytest.approx(0.001, abs=2e-4)


@pytest.mark.parametrize("start_s", [0.0, 17.3, 29.99])
@pytest.mark.parametrize("name", CONTAINERS)
def test_first_and_last_sample_are_right_over_http(name: str, start_s: float) -> None:
    file_name = f"chirp.{name.rpartition('.')[2]}"
    with (
        serve({file_name: chirp_file(name)}) as server,
        RemoteFile(MediaStream(f"{server.url}/ok/{file_name}"), timeout_s=5, deadline_s=30) as file,
    ):
        cut = cut_audio(file, start_s, start_s + 10)
        assert cut.samples.shape == (1, 10 * cut.sample_rate)
        first, last = errors_s(cut.samples[0], cut.sample_rate, start_s)
        assert abs(first) < ALLOWED_S
        assert abs(last) < ALLOWED_S
        assert file.bytes_read == server.bytes_sent


@pytest.mark.parametrize("name", ["opus.webm", "aac-moov-first.m4a", "aac-moov-last.m4a", "aac-dash.mp4"])
def test_only_what_is_needed_is_read(name: str) -> None:
    data, file_name = chirp_file(name, 60.0), f"chirp.{name.rpartition('.')[2]}"
    segment_bytes = len(data) * 10 / 60
    with (
        serve({file_name: data}) as server,
        RemoteFile(MediaStream(f"{server.url}/ok/{file_name}"), timeout_s=5, deadline_s=30) as file,
    ):
        cut_audio(file, 33.0, 43.0)
        assert file.bytes_read < 2.2 * segment_bytes + 100_000
        assert server.requests.total() <= 6


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("ipod", "aac")])
def test_silence_is_silence_behind_a_lossy_codec_too(container: str, codec: str) -> None:
    silence = encode(np.zeros(48_000 * 12, np.float32), 48_000, container, codec)
    with pytest.raises(FetchError) as caught:
        cut_audio(io.BytesIO(silence), 1.0, 11.0)
    assert caught.value.failure == "silent"


def test_channels_are_kept() -> None:
    cut = cut_audio(io.BytesIO(chirp_file("opus.webm", 12.0, channels=2)), 1.0, 3.0)
    assert cut.samples.shape == (2, 96_000)


def test_an_end_that_the_video_nearly_reaches_is_taken_as_it_is() -> None:
    cut = cut_audio(io.BytesIO(wav(chirp(9.9, 16_000))), 5.0, 9.9 + MISSING_AT_END_S - 0.01)
    assert cut.duration_s == pytest.approx(4.9, abs=1e-3)


def test_start_behind_the_end_of_the_index_is_no_excuse() -> None:
    """A file of one cluster: the seek cannot land before the start, decoding from the beginning can."""
    cut = cut_audio(io.BytesIO(chirp_file("opus.webm", 3.0)), 1.5, 2.5)
    assert max(map(abs, errors_s(cut.samples[0], 48_000, 1.5))) < ALLOWED_S


@pytest.mark.parametrize(
    ("data", "start_s", "known_s", "failure"),
    [
        (b"<html>no</html>" * 100, 0, None, "undecodable"),
        (b"", 0, None, "undecodable"),
        (wav(chirp(8.0, 16_000)), 5, None, "too-short"),
        (wav(chirp(8.0, 16_000)), 50, None, "too-short"),
        (wav(chirp(8.0, 16_000)), 5, 60.0, "truncated"),
        (wav(np.zeros(16_000 * 20, np.float32)), 5, None, "silent"),
    ],
    ids=["html", "nothing", "ends within", "ends before", "shorter than the site says", "silence"],
)
def test_what_is_not_the_segment_is_refused(data: bytes, start_s: float, known_s: float | None, failure: str) -> None:
    with pytest.raises(FetchError) as caught:
        cut_audio(io.BytesIO(data), start_s, start_s + 10, known_s)
    assert caught.value.failure == failure


@pytest.mark.parametrize("name", ["opus.webm", "aac-moov-first.m4a"])
def test_a_file_cut_off_by_the_server_is_truncated_not_short(name: str) -> None:
    data = chirp_file(name)
    with pytest.raises(FetchError) as caught:
        cut_audio(io.BytesIO(data[: len(data) // 2]), 25.0, 35.0)
    assert caught.value.failure in ("truncated", "undecodable")


def test_video_without_sound_says_so() -> None:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        out.mux(stream.encode(None))
    with pytest.raises(FetchError) as caught:
        cut_audio(io.BytesIO(buffer.getvalue()), 0.0, 1.0)
    assert caught.value.failure == "no-audio"


def test_a_playlist_opens_no_other_address() -> None:
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/hostname\n"
    with pytest.raises(FetchError):
        cut_audio(io.BytesIO(playlist), 0.0, 1.0)


def test_loud_audio_is_not_wrapped() -> None:
    square = np.where(np.arange(48_000 * 3) % 480 < 240, 1.0, -1.0).astype(np.float32)
    cut = cut_audio(io.BytesIO(encode(square, 48_000, "webm", "libopus")), 0.5, 2.5)
    assert np.abs(cut.samples).max() > 0.9

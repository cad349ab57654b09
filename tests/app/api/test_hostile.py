"""Uploads that mean no good: each gets an answer at once, and the server is as it was."""

import io
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from app.api.schema import ErrorOut
from tests.app.api.conftest import Server
from tests.app.api.test_limits import flac
from tests.ingest.sounds import tone, write, write_av

CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """Every test leaves the server alive, with no place taken, and hardly larger."""
    before = server.memory_mb()
    yield
    server.wait_until(lambda health: health["requests"] == 0)
    assert server.process.poll() is None
    assert server.memory_mb() < before + 150


def refused(server: Server, audio: bytes, *codes: str, seconds: float = 20) -> str:
    begin = time.monotonic()
    answer = server.post(audio)
    assert time.monotonic() - begin < seconds
    error = ErrorOut.model_validate_json(answer.content).error
    assert error.code in codes, answer.text
    assert "/tmp" not in error.message and "earshot-serve" not in error.message, "it tells of our disk"
    return error.message


def riff(
    rate: int = 16_000, channels: int = 1, bits: int = 16, data: bytes = bytes(3_200), size: int | None = None
) -> bytes:
    """A WAV that claims what it likes."""
    block = channels * bits // 8
    form = struct.pack("<IHHIIHH", 16, 1, channels & 0xFFFF, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = len(data) if size is None else size
    total = struct.pack("<I", (36 + size) & 0xFFFFFFFF)
    return b"RIFF" + total + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + data


@pytest.mark.parametrize(
    "audio",
    [b"", b"\0", b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3", b"hello", bytes(100_000), b"\xff" * 10_000],
    ids=lambda audio: repr(audio[:6]),
)  # fmt: skip
def test_what_is_no_audio(server: Server, audio: bytes) -> None:
    refused(server, audio, "not_audio", "damaged_audio")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a", "webm"])
def test_cut_anywhere(server: Server, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sound.{suffix}"
    if suffix in ("m4a", "webm"):
        write_av(path, tone(2.0, 48_000), {"m4a": "aac", "webm": "libopus"}[suffix])
    else:
        write(path, tone(2.0, 48_000), 48_000)
    whole = path.read_bytes()
    for share in (0.01, 0.3, 0.7, 0.99):
        answer = server.post(whole[: int(len(whole) * share)])
        assert answer.status_code in (200, 415, 422), answer.text


def test_a_zip_bomb_called_wav(server: Server) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sound.wav", bytes(200_000_000))
    refused(server, file.getvalue(), "not_audio", seconds=5)


@pytest.mark.parametrize(
    "audio",
    [
        riff(channels=10_000),
        riff(channels=0),
        riff(channels=65_535, rate=4_294_967_295),
        riff(rate=0),
        riff(rate=1, data=bytes(120_000)),  # 60,000 s of audio; at 16 kHz it would be 4 GB
        riff(rate=4_294_967_295),
        riff(bits=65_535),
        riff(size=0xF0000000),  # 4 GB that are not there
        riff(size=0x70000000),
    ],
    ids=lambda audio: audio[20:36].hex() if isinstance(audio, bytes) else "",
)
def test_wav_headers_that_lie(server: Server, audio: bytes) -> None:
    refused(server, audio, "not_audio", "damaged_audio", seconds=5)


def test_a_thousand_channels_are_just_many(server: Server) -> None:
    assert server.post(riff(channels=1_000, data=bytes(2_000 * 1_600))).status_code == 200


def test_samples_that_are_no_numbers(server: Server) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([0.0, np.nan, np.inf] * 1_000), 16_000, format="WAV", subtype="FLOAT")
    assert "not a finite number" in refused(server, file.getvalue(), "damaged_audio")


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """A sound on the disk and on the web, and the addresses that were asked for."""
    asked: list[str] = []
    sound = write(tmp_path / f"{CANARY}.wav", tone(1.0, 16_000), 16_000)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(sound.read_bytes())

        def log_message(self, *_: object) -> None: ...

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    yield sound, f"http://127.0.0.1:{web.server_port}/{CANARY}.wav", asked
    web.shutdown()
    thread.join()
    web.server_close()


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{place}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {place}\nduration 1\n",
    "concat": "file '{place}'\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/wav"><Representation id="1" bandwidth="1">'
    "<BaseURL>{place}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na=control:{place}\n",
    "pls": "[playlist]\nFile1={place}\nNumberOfEntries=1\nVersion=2\n",
    "asx": '<asx version="3.0"><entry><ref href="{place}"/></entry></asx>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist><Id>urn:uuid:1</Id><Path>{place}</Path></CompositionPlaylist>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_opens_nothing(server: Server, canary: tuple[Path, str, list[str]], kind: str) -> None:
    sound, url, asked = canary
    assert server.post(sound.read_bytes()).status_code == 200
    local = (str(sound), f"file:{sound}", f"file://{sound}", f"concat:{sound}", f"subfile,,start,0,end,0,,:{sound}")
    for place in (*local, url):
        refused(server, PLAYLISTS[kind].format(place=place).encode(), "not_audio")
    assert asked == []


def test_a_quicktime_reference_opens_nothing(
    server: Server, canary: tuple[Path, str, list[str]], tmp_path: Path
) -> None:
    """An mp4 whose samples are said to lie in another file (`dref` with a `url `/`alis` entry)."""
    sound, url, asked = canary
    whole = write_av(tmp_path / "a.mov", tone(1.0, 48_000), "pcm_s16le").read_bytes()
    at = whole.index(b"dref")
    for place in (str(sound).encode(), url.encode()):
        body = b"url " + bytes(4) + place + b"\0"  # flags 0: not in this file
        changed = whole[: at + 12] + struct.pack(">I", len(body) + 4) + body + whole[at + 12 + 12 :]
        answer = server.post(changed)
        assert answer.status_code in (200, 415, 422)
    assert asked == []


def part(name: str, value: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"


FORM, END = "multipart/form-data; boundary=x", b"--x--\r\n"
FORMS = {
    "no boundary": ("multipart/form-data", b"--x\r\n"),
    "another boundary": ("multipart/form-data; boundary=y", part("file", b"RIFF") + END),
    "huge boundary": ("multipart/form-data; boundary=" + "y" * 5_000, b"--y\r\n"),
    "breaks off": (FORM, part("file", b"RIFF")),
    "no file": (FORM, part("top", b"3") + END),
    "strange part": (FORM, part("z", b"3") + END),
    "huge field": (FORM, part("top", b"3" * 100_000) + END),
    "strange top": (FORM, part("top", b"\xff\xfe") + part("file", b"RIFF") + END),
    "huge header": (FORM, b"--x\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n"),
    "many headers": (FORM, b"--x\r\n" + b"X: y\r\n" * 10_000 + b"\r\n"),
    "two files": (FORM, part("file", b"a") * 2 + END),
    "many fields": (FORM, part("top", b"3") * 100_000 + END),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_that_are_none(server: Server, case: str) -> None:
    kind, body = FORMS[case]
    answer = server.post(body, headers={"Content-Type": kind})
    assert ErrorOut.model_validate_json(answer.content).error.code == "bad_request", answer.text


def test_the_clients_file_name_goes_nowhere(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "written"
    files = {"file": (f"../../../../../../{target}", flac(1))}
    assert httpx.post(f"{server.url}/v1/predictions", files=files, timeout=60).status_code == 200
    assert not target.exists()

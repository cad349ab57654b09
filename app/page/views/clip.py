"""The clip view: a recording of any length, window by window."""

import tempfile
from pathlib import Path

from app.page import clip
from app.page.clip import Analysis
from app.page.parts import clip as parts
from app.page.session import Session
from embeddings.encoders import encoder_row
from ingest.audio.decode import declared_seconds
from ingest.errors import AudioError

MOST_CLASSES = 3
LONGER = "Larger than a file may be here? As FLAC or MP3 it is smaller; `earshot predict` takes any size."
KINDS = ["wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "mp4", "webm", "aif", "aiff", "wma", "amr", "mkv", "3gp"]


def show(session: Session) -> None:
    import streamlit as st

    left, right = st.columns(2)
    with left:
        uploaded = st.file_uploader("A recording of any length", type=KINDS, help=LONGER)
    with right:
        recorded = st.audio_input("Or record one here", sample_rate=16_000)
    sound = uploaded or recorded
    if sound is not None:
        _analyse(session, sound.file_id, sound.name, sound.getvalue())
    held = st.session_state.get("clip")
    if held is None:
        st.html(parts.welcome())
        return
    _result(session, held[1], held[2])


def _analyse(session: Session, file_id: str, name: str, data: bytes) -> None:
    """Score it, once for each file and model."""
    import streamlit as st

    key = (file_id, session.engine.bundle.folder)
    if st.session_state.get("clip", (None,))[0] == key:
        return
    bar = st.progress(0.0, "Listening to it \u2026")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{Path(name).suffix[:8]}"
        path.write_bytes(data)
        in_all = declared_seconds(path)

        def progress(seconds: float) -> None:
            bar.progress(*parts.progress(seconds, in_all))

        try:
            analysis = clip.analyse(path, name, session.engine, progress=progress)
        except AudioError as error:
            st.session_state.pop("clip", None)
            bar.empty()
            st.error(str(error).replace(str(path), name))
            st.stop()
    bar.empty()
    st.session_state["clip"] = key, analysis, data


def _result(session: Session, analysis: Analysis, data: bytes) -> None:
    import streamlit as st

    st.html(parts.summary(analysis))
    with st.container(key=parts.PLAYER):
        st.audio(data, format=parts.mime_of(analysis.name))
    st.html(parts.windows(analysis))
    left, right = st.columns([7, 5])
    with left:
        st.html(parts.when(_focus(session, analysis), analysis.seconds))
        st.html(parts.pictures(analysis))
    with right:
        st.html(parts.confidence(analysis))
        model, stem = str(session.engine.bundle.folder), Path(analysis.name).stem
        with st.container(horizontal=True):
            st.download_button("CSV", clip.as_csv(analysis), f"{stem}.csv", "text/csv", icon=":material/download:")
            st.download_button(
                "JSON", clip.as_json(analysis, model), f"{stem}.json", "application/json", icon=":material/download:"
            )


def _focus(session: Session, analysis: Analysis) -> list[tuple[clip.Focus, list[float]]]:
    """The answered classes, or the likeliest one when nothing was answered."""
    names = analysis.answers[:MOST_CLASSES]
    if not names:
        best = max(analysis.predictions, key=lambda p: float(p.scores.max()))
        names = [best.top(1)[0][0]]
    spec = encoder_row(session.engine.bundle.spec.encoder)
    found = [clip.focus(analysis, name, spec.hop_s, spec.patch_s) for name in names]
    return [(focus, clip.moments(focus)) for focus in found]

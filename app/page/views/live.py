"""The live view: what is heard now, and what was heard in this session."""

from datetime import UTC, datetime
from pathlib import Path

from app.live.recording import save
from app.page.clip import analyse
from app.page.parts import clip as clip_parts
from app.page.parts.heard import activity, cards, timeline
from app.page.parts.live import bars, hero, recorder, state_line
from app.page.parts.sound import now_pictures
from app.page.parts.words import FLOWING, hero_of
from app.page.session import Session, recent_cards
from app.page.standing import Standing, stand
from ingest.errors import AudioError
from ingest.places.files import write_whole

REFRESH_S, SLOW_REFRESH_S = 0.5, 2.0
RECORD_S = 10.0
STREAM, WAV = "Stream", "Ten seconds (wav)"


def show(session: Session) -> None:
    import streamlit as st

    mode = st.segmented_control(
        "Mode",
        [STREAM, WAV],
        default=st.session_state.get("mode-chosen", STREAM),
        required=True,
        label_visibility="collapsed",
        key="mode",
        help="Listen all the time, or record ten seconds, keep them as a file and classify them.",
    )
    st.session_state["mode-chosen"] = mode or STREAM
    if mode == WAV:
        _wav(session)
    else:
        _stream(session)


def _stand(session: Session) -> Standing:
    return stand(session.intake, turn=bool(session.ice.turn), window_s=session.engine.bundle.spec.window_s)


def _stream(session: Session) -> None:
    import streamlit as st

    on = session.intake.microphone.on

    @st.fragment(run_every=REFRESH_S if on else None)
    def now() -> None:
        standing = _stand(session)
        snapshot, info = standing.snapshot, session.engine.bundle.info
        window_s = session.engine.bundle.spec.window_s
        left, right = st.columns([7, 5])
        with left:
            st.html(hero(standing.status, standing.prediction, standing.filled))
            st.html(now_pictures(snapshot.pictures if snapshot and standing.hearing else None, window_s))
        with right:
            live = standing.prediction is not None
            st.html(bars(session.engine.class_names, standing.prediction, info.decision, live, info.known_apart))
        counters = snapshot.counters if snapshot and standing.hearing else None
        filled_s, level = (snapshot.filled_s, snapshot.level_dbfs) if snapshot else (0.0, -120.0)
        st.html(state_line(counters, filled_s, window_s, level))

    @st.fragment(run_every=SLOW_REFRESH_S if on else None)
    def session_so_far() -> None:
        standing = _stand(session)
        snapshot = standing.snapshot
        st.html(cards(recent_cards(session, session.intake.listening, snapshot)))
        left, right = st.columns(2)
        with left:
            st.html(timeline(snapshot.events if snapshot else (), standing.now_s))
        with right:
            grid = snapshot.activity if snapshot else None
            st.html(activity(grid, snapshot.started_at if snapshot else None))

    now()
    session_so_far()


def _wav(session: Session) -> None:
    import streamlit as st

    left, right = st.columns([7, 5])
    with left:
        _record(session)
    with right:
        sound = st.audio_input("No connection for live sound? Record with the browser", sample_rate=16_000)
        if sound is not None and st.session_state.get("wav-input") != sound.file_id:
            st.session_state["wav-input"] = sound.file_id
            _keep(session, sound.getvalue())
    if session.recorded:
        _result(session)


def _record(session: Session) -> None:
    import streamlit as st

    intake = session.intake
    ready = intake.microphone.on

    @st.fragment(run_every=REFRESH_S if ready else None)
    def desk() -> None:
        recording, done = intake.recording, intake.take_recording()
        if done is not None:
            path = _path(session)
            save(done, path)
            session.recorded.append(path)
            st.rerun()
        standing = _stand(session)
        if recording is None:
            words = "Ready to record" if standing.hearing else hero_of(standing.status, None).title
            st.html(recorder(words, standing.status, None))
        else:
            words = "Recording \u2026" if standing.status.state in FLOWING else "Waiting for sound"
            st.html(recorder(words, standing.status, recording.recorded_s / RECORD_S))
        pressed = st.button(
            "Record ten seconds",
            icon=":material/fiber_manual_record:",
            disabled=not standing.hearing or recording is not None,
            type="primary",
        )
        if pressed:
            intake.record(RECORD_S)
            st.rerun(scope="fragment")

    desk()


def _keep(session: Session, data: bytes) -> None:
    """A recording of the browser's own, as a file like the others."""
    path = _path(session)
    write_whole(path, data)
    session.recorded.append(path)


def _path(session: Session) -> Path:
    folder = session.settings.keep_dir / "recordings"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%f')[:-3]}Z.wav"


def _result(session: Session) -> None:
    """The newest recording, scored and to be played."""
    import streamlit as st

    path = session.recorded[-1]
    key = (path, session.engine.bundle.folder)
    if st.session_state.get("wav-result", (None,))[0] != key:
        try:
            st.session_state["wav-result"] = key, analyse(path, path.name, session.engine)
        except AudioError as error:
            st.error(str(error))
            return
    analysis = st.session_state["wav-result"][1]
    left, right = st.columns([7, 5])
    with left:
        st.html(clip_parts.summary(analysis))
        with st.container(key=clip_parts.PLAYER):
            st.audio(path.read_bytes(), format="audio/wav")
        st.caption(f"Kept as `{path}`")
        st.html(clip_parts.pictures(analysis))
    with right:
        info, said = session.engine.bundle.info, analysis.predictions[0]
        st.html(bars(session.engine.class_names, said, info.decision, True, info.known_apart))
        st.download_button("Download the recording", path.read_bytes(), path.name, "audio/wav")

"""The teach view: answers are marked, and kept for the next training."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from app.live.chunks import from_waveform
from app.live.recording import to_segment
from app.page import teaching
from app.page.candidates import Candidate, of_listener, of_recording, unmarked_first
from app.page.parts.teach import moment_card, note, taught
from app.page.pictures import mel_of, mel_picture
from app.page.session import Session
from ingest.audio.clip import Waveform
from ingest.audioset.class_sets import NONE_OF_THESE
from ingest.errors import UsageError

# What a popover shows lies outside of the app's own element, and page.css does not reach it: no primary buttons there.
OTHER, UNKNOWN = "Another sound \u2026", "I do not know"
SIGN = {True: "\u2713 ", False: ""}


def show(session: Session) -> None:
    import streamlit as st

    folder = session.settings.keep_dir / "taught"
    left, right = st.columns([7, 5])
    with left:
        found = _steady_candidates(session)
        if found:
            _mark(session, found)
        else:
            st.html(note("Nothing to teach yet", "Listen for a while, or bring a clip: its answers show here."))
    with right:
        last = st.session_state.get("kept-last", "")
        st.html(taught(teaching.counts(folder), str(folder), last))
        st.html('<h2 class="section">Train with them</h2>')
        st.caption(_what_it_does(session, folder))
        st.code("\n".join(teaching.commands(folder, session.engine.bundle)), language="sh", wrap_lines=True)


def _what_it_does(session: Session, folder: Path) -> str:
    bundle = session.engine.bundle
    old = (
        "Adds the clips to the sounds that this model learnt from"
        if teaching.old_store(bundle)
        else "Learns from the clips alone, as the embeddings that this model learnt from are not here"
    )
    new = teaching.strangers(folder, bundle)
    left_out = f" Left out until --classes names them: {', '.join(new)}." if new else ""
    return f"{old}. Makes a new model where Earshot runs; the old one stays.{left_out}"


def _steady_candidates(session: Session) -> list[Candidate]:
    """The list as it was when the view was opened: what is marked must not change under the hand that marks it."""
    import streamlit as st

    if st.session_state.pop("view-opened", False) or "candidates" not in st.session_state:
        st.session_state["candidates"] = _candidates(session)
    if st.button("Newer answers", icon=":material/refresh:", key="newer"):
        st.session_state["candidates"] = _candidates(session)
    found: list[Candidate] = st.session_state["candidates"]
    return found


def _candidates(session: Session) -> list[Candidate]:
    import streamlit as st

    listening, spec = session.intake.listening, session.engine.bundle.spec
    found = of_listener(listening, listening.snapshot() if listening is not None else None)
    if (clip := st.session_state.get("clip")) is not None:
        found += of_recording(clip[1], clip[2], spec)
    if (recording := st.session_state.get("wav-result")) is not None:
        found += of_recording(recording[1], recording[0][0].read_bytes(), spec)
    names = session.engine.class_names  # of another model that was chosen before: its answers cannot be marked here
    found = [candidate for candidate in found if candidate.prediction.class_names == names]
    return unmarked_first({c.key: c for c in found}.values(), st.session_state.setdefault("marked", set()))


def _mark(session: Session, found: list[Candidate]) -> None:
    import streamlit as st

    by_key = {candidate.key: candidate for candidate in found}
    marked: set[str] = st.session_state["marked"]
    key = st.selectbox(
        "Which answer?", list(by_key), format_func=lambda key: SIGN[key in marked] + by_key[key].title, key="which"
    )
    candidate = by_key[key]
    waveform = candidate.read()
    if waveform is None:
        st.html(note("Its sound is gone", "Only the last five minutes of a session are kept."))
        return
    st.html(moment_card(candidate.answer, candidate.detail, mel_picture(mel_of(waveform))))
    st.audio(np.clip(waveform, -1, 1), sample_rate=candidate.sample_rate)
    right, wrong = st.columns(2)
    there = ", ".join(candidate.prediction.names_present) or candidate.answer
    pressed = right.button(f"Right: {there}", icon=":material/check:", width="stretch", type="primary", key="right")
    if pressed:
        _keep(session, candidate, waveform, teaching.mark_right(candidate.prediction))
    with wrong.popover("Wrong \u2026", icon=":material/close:", width="stretch", key="wrong"):
        (_ask_several if session.engine.bundle.info.class_set.mode == "multi" else _ask)(session, candidate, waveform)
    if key in marked:
        st.success("Kept. Choose the next one, or say it again to keep it twice.")


def _ask(session: Session, candidate: Candidate, waveform: Waveform) -> None:
    import streamlit as st

    said = candidate.prediction.answer
    options = [name for name in session.engine.class_names if name != said]
    options += [*([NONE_OF_THESE] if said is not None else []), OTHER, UNKNOWN]
    truth: str | None = st.selectbox("What was it?", options, key="truth")
    if truth == OTHER:
        truth = st.text_input("Its name", key="other", max_chars=teaching.MOST_NAME)
    if st.button("Keep it", key="keep"):
        _keep_instead(session, candidate, waveform, [] if truth == UNKNOWN else [truth or ""])


def _ask_several(session: Session, candidate: Candidate, waveform: Waveform) -> None:
    """Of a model whose classes may stand together: what is not named was not there."""
    import streamlit as st

    unknown = st.checkbox(UNKNOWN, key="unknown")
    names = st.multiselect(
        "What was in it?", session.engine.class_names, candidate.prediction.names_present,
        key=f"truths {candidate.key}", placeholder=NONE_OF_THESE, disabled=unknown,
    )  # fmt: skip
    other = st.text_input(OTHER, key="other", max_chars=teaching.MOST_NAME, disabled=unknown)
    if st.button("Keep it", key="keep"):
        truths = [*names, *([other] if other.strip() else [])] or [NONE_OF_THESE]
        _keep_instead(session, candidate, waveform, [] if unknown else truths)


def _keep_instead(session: Session, candidate: Candidate, waveform: Waveform, truths: list[str]) -> None:
    import streamlit as st

    try:
        mark = teaching.mark_wrong(*truths)
    except UsageError as error:
        st.error(str(error))
        return
    _keep(session, candidate, waveform, mark)


def _keep(session: Session, candidate: Candidate, waveform: Waveform, mark: teaching.Mark) -> None:
    import streamlit as st

    try:
        path = teaching.keep(
            session.settings.keep_dir / "taught",
            to_segment(from_waveform(waveform, candidate.sample_rate)),
            mark,
            candidate.prediction,
            session.engine.bundle,
            source=candidate.source,
            at=datetime.now(UTC),
        )
    except UsageError as error:
        st.error(str(error))
        return
    st.session_state["marked"].add(candidate.key)
    st.session_state["kept-last"] = str(path)
    st.rerun()

"""The whole page: what is always there, and the view that was chosen. Layout only."""

import uuid
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.page.engines import shared_engines
from app.page.intake import Intake
from app.page.line import keep_rendered
from app.page.microphone import Microphone
from app.page.models import Model, find_models
from app.page.session import Session
from app.page.settings import SECRETS, IceServers, PageSettings, ice_servers
from app.page.views import clip, live, models, teach
from ingest.errors import EarshotError

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

VIEWS: dict[str, tuple[str, Callable[[Session], None]]] = {
    "Live": (":material/graphic_eq:", live.show),
    "Clip": (":material/audio_file:", clip.show),
    "Teach": (":material/school:", teach.show),
    "Models": (":material/neurology:", models.show),
}
"""Name of a view -> its sign, and what draws it."""

SOUND = "sound"
"""The connection's component."""
CONSTRAINTS = {
    "video": False,
    "audio": {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False},
}
"""The sound as it is: what browsers do for speech takes away what we listen for."""

MIC_HTML = (
    '<button type="button" disabled><span class="dot" aria-hidden="true"></span><span class="label"></span></button>'
)
MIC_CSS = """
button { font: 600 1.05rem var(--st-font); min-height: 2.9rem; padding: 0 1.4rem; border-radius: 999px; cursor: pointer;
  border: 2px solid var(--st-primary-color); background: var(--st-primary-color); color: var(--st-background-color);
  display: inline-flex; align-items: center; gap: .6rem; white-space: nowrap; }
button[data-on="true"] { background: transparent; color: var(--st-text-color); }
button:focus-visible { outline: 3px solid var(--st-text-color); outline-offset: 2px; }
button:disabled, button[aria-disabled="true"] { opacity: .6; cursor: wait; }
.dot { width: .8rem; height: .8rem; border-radius: 50%; background: currentColor; }
button[data-on="true"] .dot { border-radius: 2px; background: var(--st-primary-color); }
"""


def show(settings: PageSettings) -> None:
    """Draw the page; called by Streamlit for every change."""
    import streamlit as st

    st.set_page_config(page_title="Earshot", page_icon="\U0001f442", layout="wide")
    st.html(f"<style>{_file('page.css')}</style>")
    try:
        session = _session(settings)
    except EarshotError as error:
        st.html(_file("no_model.html").replace("{reason}", escape(str(error))))
        return
    with st.container(key="top", horizontal=True, vertical_alignment="center"):
        st.html('<p class="brand"><b>Earshot</b></p>', width="content")
        view = _choose_view()
        _microphone(session)
    if session.trouble:
        st.warning(session.trouble)
    VIEWS[view][1](session)
    _component("earshot_behaviour", js=_file("behaviour.js"))(key="behaviour", height=1)


def _session(settings: PageSettings) -> Session:
    """This browser's session; the model is loaded with the first one."""
    import streamlit as st

    held = st.session_state.get("earshot")
    if held is not None:
        return held
    engines = shared_engines(settings)
    model = _first(find_models(settings))
    engine = engines.engine(model.folder)
    ice, trouble = _ice()
    session = Session(settings, engine, Intake(engines.hub(engine), uuid.uuid4().hex), ice, trouble)
    st.session_state["earshot"] = session
    return session


def _first(found: list[Model]) -> Model:
    for model in found:
        if not model.missing:
            return model
    reasons = "; ".join(f"{model.name}: {model.missing}" for model in found)
    raise EarshotError(reasons or "no model was named, and none lies in models/, here or in data/models")


def _ice() -> tuple[IceServers, str]:
    import streamlit as st
    from streamlit.errors import StreamlitSecretNotFoundError

    try:
        secrets: dict[str, Any] = dict(st.secrets.get(SECRETS, {}))
    except StreamlitSecretNotFoundError:
        secrets = {}
    try:
        return ice_servers(secrets), ""
    except EarshotError as error:
        return IceServers(), str(error)


def _choose_view() -> str:
    """The view of the address, `?view=clip`, and then the one that is chosen."""
    import streamlit as st

    names = {name.lower(): name for name in VIEWS}
    first = names.get(str(st.query_params.get("view", "live")).lower(), "Live")
    chosen = st.segmented_control(
        "View",
        list(VIEWS),
        default=first,
        required=True,
        format_func=lambda name: f"{VIEWS[name][0]} {name}",
        label_visibility="collapsed",
        key="view",
    )
    view = str(chosen or first)
    if st.session_state.get("view-shown") != view:
        st.session_state["view-shown"], st.session_state["view-opened"] = view, True
    if st.query_params.get("view") != view.lower() and (view != "Live" or "view" in st.query_params):
        st.query_params["view"] = view.lower()
    return view


def _microphone(session: Session) -> None:
    """The button, and the connection that it opens; both are there in every view, so that listening goes on."""
    import streamlit as st
    from streamlit_webrtc import WebRtcMode, create_audio_sink_track, webrtc_streamer
    from streamlit_webrtc.component import generate_frontend_component_key

    said = getattr(st.session_state.get("mic"), "said", None)
    microphone = Microphone.of(said)
    turn = bool(session.ice.turn)
    session.intake.set_microphone(microphone, turn=turn)
    mic = _component("earshot_mic", html=MIC_HTML, css=MIC_CSS, js=_file("mic.js"))
    mic(
        key="mic",
        data={"on": microphone.on, "start": "Listen", "stop": "Stop"},
        on_said_change=_nothing,
        width="content",
    )
    session.line.see(st.session_state.get(generate_frontend_component_key(SOUND)))
    keep_rendered(st.session_state, SOUND)
    with st.container(key="webrtc"):
        webrtc_streamer(
            key=SOUND,
            mode=WebRtcMode.SENDONLY,
            rtc_configuration=session.ice.to_rtc(),
            media_stream_constraints=CONSTRAINTS,
            sink_audio_track=create_audio_sink_track(session.intake.take, key="sound-sink"),
            desired_playing_state=session.line.wanted(microphone.on),
        )
    if session.line.settled():
        st.rerun()


def _nothing() -> None:
    """A component's state needs a callback to be kept."""


@cache
def _component(
    name: str, *, html: str | None = None, css: str | None = None, js: str | None = None
) -> "ComponentRenderer":
    import streamlit as st

    return st.components.v2.component(name, html=html, css=css, js=js)


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")

"""The models view: choose a bundle, see its card and its report."""

from pathlib import Path

from app.page.engines import shared_engines
from app.page.models import Model, find_models
from app.page.parts.models import missing_models
from app.page.session import Session
from ingest.errors import EarshotError

REPORT_HEIGHT = 900


def show(session: Session) -> None:
    import streamlit as st

    found = find_models(session.settings)
    can, cannot = [m for m in found if not m.missing], [m for m in found if m.missing]
    folders = [model.folder.resolve() for model in can]
    chosen = session.engine.bundle.folder.resolve()
    by_folder = dict(zip(folders, can, strict=True))
    folder = st.selectbox(
        "The model that listens",
        folders,
        index=folders.index(chosen) if chosen in folders else None,
        format_func=lambda folder: f"{by_folder[folder].name}: {by_folder[folder].summary}",
        key="model",
    )
    if folder is not None and folder != chosen:
        _take(session, by_folder[folder])
    if cannot:
        st.html(missing_models([(model.name, model.missing) for model in cannot]))
    _about(session.engine.bundle.folder)


def _take(session: Session, model: Model) -> None:
    import streamlit as st

    try:
        with st.spinner("Loading the model \u2026"):
            engine = shared_engines(session.settings).engine(model.folder)
    except EarshotError as error:
        st.error(str(error))
        return
    session.engine = engine
    session.intake.set_engine(engine)
    st.toast(f"{model.name} listens now")


def _about(folder: Path) -> None:
    import streamlit as st

    card, report = folder / "card.md", folder / "report.html"
    if card.is_file():
        with st.container(key="card"):
            st.markdown(card.read_text(encoding="utf-8"))
    if report.is_file():
        text = report.read_text(encoding="utf-8")
        with st.expander("The whole report"):
            st.download_button("Download it", text, "report.html", "text/html", icon=":material/download:")
            st.iframe(text, height=REPORT_HEIGHT)

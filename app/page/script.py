"""What `earshot app` lets Streamlit run, once for every session and change; importing it does nothing."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = str(Path(__file__).resolve().parents[2])
    if root not in sys.path:  # `streamlit run` of a clone that is not installed, as hosts do it
        sys.path.insert(0, root)
    from app.page.layout import show
    from app.page.settings import PageSettings

    show(PageSettings.from_text(sys.argv[1]) if len(sys.argv) > 1 else PageSettings())

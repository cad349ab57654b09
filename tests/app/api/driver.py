"""A server whose settings are a test's: `python -m tests.app.api.driver '{"models": [...], "settings": {...}}'`."""

import json
import sys
from pathlib import Path

from app.api.models import load_models
from app.api.server import open_port, serve
from app.api.settings import ApiSettings

if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    weights = Path(wanted["weights"]) if wanted["weights"] else None
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in wanted["settings"].items()}
    models = load_models(wanted["models"], weights)
    with open_port("127.0.0.1", 0) as listener:
        line = f"serving on http://127.0.0.1:{listener.getsockname()[1]} "
        serve(models, ApiSettings(**settings), listener, announce=lambda: print(line, flush=True))

"""Touches disk, network and processes: what works on this machine, what would fail, and how to mend it.

Each check looks at one thing and never raises. Nothing heavy is imported here: TensorFlow is tried in a process of its
own.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from ingest.counted import counted

State = Literal["ok", "warn", "fail"]

PYTHONS = ((3, 11), (3, 14))
"""From, and below."""
OLD_YTDLP_DAYS = 60
"""YouTube changes what it asks of clients every few weeks; older releases mostly fail."""
LITTLE_DISK, NO_DISK = 10e9, 200e6
"""Bytes. Balanced is some 4 GB as FLAC; under the second not even a model can be written."""
TENSORFLOW_TIMEOUT_S = 120.0
_TRY_TENSORFLOW = """
import tensorflow
gpus = len(tensorflow.config.list_physical_devices("GPU"))
print(tensorflow.__version__, "with", f"{gpus} GPUs" if gpus > 1 else "a GPU" if gpus else "no GPU")
"""

PACKAGES = {
    "numpy": "everything",
    "scipy": "everything",
    "pyarrow": "manifests and stores",
    "soundfile": "reading and writing audio",
    "soxr": "reading audio",
    "av": "reading audio that soundfile does not know, and `earshot ingest youtube`",
    "requests": "fetching weights and metadata",
    "sklearn": "training",
    "xgboost": "the head xgboost",
    "matplotlib": "`earshot plot`",
    "ai_edge_litert": "YAMNet",
    "yt_dlp": "`earshot ingest youtube`",
}
"""Import name -> what fails without it."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found. fails: what would fail for it. remedy: how to mend it. Both empty when the state is ok."""

    name: str
    state: State
    seen: str
    fails: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """folder: where audio will go. offline: leave the network alone. weights_dir: a folder of the user's own."""

    folder: Path = Path()
    offline: bool = False
    weights_dir: Path | None = None
    timeout_s: float = 5.0


def examine(settings: DoctorSettings) -> list[Check]:
    """All checks, run at the same time, in a fixed order."""
    checks: list[Callable[[], Iterable[Check]]] = [
        lambda: [check_python(sys.version_info[:3])],
        lambda: [check_packages(PACKAGES)],
        lambda: [check_tensorflow()],
        lambda: check_weights(settings.weights_dir),
        lambda: [check_litert()],
        lambda: [check_ytdlp(datetime.now(UTC).date())],
        lambda: [check_javascript()],
        lambda: [] if settings.offline else check_network(settings.timeout_s),
        lambda: [check_disk(settings.folder)],
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [check for found in pool.map(lambda check: list(check()), checks) for check in found]


def check_python(version: tuple[int, ...]) -> Check:
    seen = ".".join(map(str, version))
    if PYTHONS[0] <= version[:2] < PYTHONS[1]:
        return Check("python", "ok", seen)
    low, below = (".".join(map(str, bound)) for bound in PYTHONS)
    return Check("python", "fail", seen, "anything may", f"install Python from {low}, below {below}, and make setup")


def check_packages(packages: dict[str, str]) -> Check:
    missing = [name for name in packages if util.find_spec(name) is None]
    if not missing:
        return Check("packages", "ok", f"{len(packages)} of {len(packages)}")
    fails = "; ".join(f"{name}: {packages[name]}" for name in missing)
    return Check("packages", "fail", f"missing: {', '.join(missing)}", fails, "make setup, or pip install -e .")


def check_tensorflow(
    command: tuple[str, ...] = (sys.executable, "-c", _TRY_TENSORFLOW),
) -> Check:
    """Tried in a process of its own: an import that crashes or hangs must not take this one along."""
    fails = "VGGish, and training the attention heads"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TENSORFLOW_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("tensorflow", "warn", f"does not import: {error}", fails, "make setup")
    if done.returncode:
        reason = next(iter(reversed(done.stderr.strip().splitlines())), f"exit code {done.returncode}")
        return Check("tensorflow", "warn", f"does not import: {reason[:200]}", fails, "make setup")
    return Check("tensorflow", "ok", done.stdout.strip())


def check_weights(weights_dir: Path | None = None) -> list[Check]:
    from embeddings.weights import WEIGHTS, look_up

    checks = []
    for name, file in WEIGHTS.items():
        found, fetch = look_up(name, weights_dir), f"earshot weights fetch {name}"
        if found is None:
            fails = f"what is done with {file.summary}"
            checks.append(Check(name, "warn", "not here", fails, f"{fetch} ({max(file.size / 1e6, 0.1):,.1f} MB)"))
        elif not found.official:
            fails = "nothing, but scores may differ from published ones"
            remedy = f"{fetch}, after moving {found.path} away"
            checks.append(Check(name, "warn", f"{found.path}, not the official file", fails, remedy))
        else:
            checks.append(Check(name, "ok", str(found.path)))
    return checks


def check_litert() -> Check:
    """The cache of converted models: its folder must be writable; that it is empty is no trouble."""
    from embeddings.weights import cache_folder

    folder = cache_folder() / "litert"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fails = "YAMNet, whose converted form is kept there"
        return Check("litert cache", "fail", f"{folder}: {error.strerror}", fails, f"make {folder} writable")
    models = len(list(folder.glob("*.tflite")))
    holds = counted(models, "model") if models else "filled at first use, 15 s"
    return Check("litert cache", "ok", f"{folder}: {holds}")


def check_ytdlp(today: date) -> Check:
    """yt-dlp's versions are dates."""
    fails, remedy = "`earshot ingest youtube`", "pip install --upgrade 'yt-dlp[default]'"
    try:
        version = metadata.version("yt-dlp")
        released = date(*map(int, version.split(".")[:3]))
    except metadata.PackageNotFoundError:
        return Check("yt-dlp", "warn", "not installed", fails, remedy)
    except (ValueError, TypeError):
        return Check("yt-dlp", "ok", f"{version}, age unknown")
    days = max(0, (today - released).days)
    if days > OLD_YTDLP_DAYS:
        return Check("yt-dlp", "warn", f"{version}, {days} days old", f"{fails}, sooner or later", remedy)
    return Check("yt-dlp", "ok", f"{version}, {days} days old")


def check_javascript() -> Check:
    """yt-dlp solves YouTube's challenges with a JavaScript runtime and the scripts of yt-dlp-ejs."""
    fails = "`earshot ingest youtube`: YouTube then offers few formats or none (Requested format is not available)"
    remedy = "install deno 2 or node 22, and pip install 'yt-dlp[default]'"
    try:
        seen, usable = _runtimes()
    except Exception as error:  # what yt-dlp has inside changes with its releases
        return Check("javascript", "warn", f"cannot be told: {error}", fails, remedy)
    scripts = "" if util.find_spec("yt_dlp_ejs") else ", yt-dlp-ejs not installed"
    state: State = "ok" if usable and not scripts else "warn"
    return Check("javascript", state, seen + scripts, *((fails, remedy) if state != "ok" else ()))


def _runtimes() -> tuple[str, bool]:
    """The runtimes that yt-dlp would use, for people, and whether one of them will do."""
    from yt_dlp.globals import supported_js_runtimes

    from ingest.youtube.streams import YouTubeSettings, ytdlp_options

    enabled = ytdlp_options(YouTubeSettings()).get("js_runtimes", {"deno": {}})
    known = {name: supported_js_runtimes.value[name]() for name in enabled if name in supported_js_runtimes.value}
    found = {name: runtime.info for name, runtime in known.items() if runtime.info}
    seen = [f"{name} {info.version}{'' if info.supported else ' (too old)'}" for name, info in found.items()]
    return ", ".join(seen) or f"none of {', '.join(enabled)}", any(info.supported for info in found.values())


SITES = {
    "YouTube": ("https://www.youtube.com/generate_204", "`earshot ingest youtube`"),
    "official files": (
        "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/class_labels_indices.csv",
        "`earshot ingest metadata` and `earshot weights fetch`",
    ),
}
"""Name -> address to try, and what fails when it does not answer."""


def check_network(timeout_s: float, sites: dict[str, tuple[str, str]] | None = None) -> list[Check]:
    import requests

    checks = []
    for name, (url, fails) in (sites or SITES).items():
        remedy = "connect to the network, or set HTTPS_PROXY"
        try:
            answer = requests.head(url, timeout=timeout_s, allow_redirects=True)
            ok = answer.status_code < 400
            seen = f"answers {answer.status_code}"
        except requests.RequestException as error:
            ok, seen = False, f"does not answer ({type(error).__name__})"
        checks.append(
            Check(f"network: {name}", "ok", seen) if ok else Check(f"network: {name}", "warn", seen, fails, remedy)
        )
    return checks


def check_disk(folder: Path) -> Check:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    seen = f"{free / 1e9:,.1f} GB free at {existing}"
    if free >= LITTLE_DISK:
        return Check("disk", "ok", seen)
    state: State = "fail" if free < NO_DISK else "warn"
    return Check("disk", state, seen, "writing audio and embeddings", "free some, or name another disk with --out")

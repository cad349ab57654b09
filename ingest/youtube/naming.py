"""The file names of segments. Pure."""

import re
from pathlib import PurePosixPath


def audio_path(key: str, suffix: str) -> PurePosixPath:
    """Where the audio of `key` lies in its output folder: `audio/dq/dQw4w9WgXcQ_30000~542.flac`.

    A disk that folds case (macOS, Windows, exFAT) takes ids that differ only in case for one file, and AudioSet has
    such ids. So `~` and a number follow the key: which of its letters are capitals, as bits, in hexadecimal. Two keys
    then give two names even when case is folded, the key stays readable, and the tree is the same on every disk. The
    folder is the first two characters in lower case. Characters that are not letters, digits, `_` or `-` become
    `%` and two hexadecimal digits each.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]", lambda match: "".join(f"%{byte:02x}" for byte in match[0].encode()), key)
    capitals = sum(1 << position for position, character in enumerate(safe) if character.isupper())
    return PurePosixPath("audio", safe[:2].lower(), f"{safe}~{capitals:x}.{suffix}")

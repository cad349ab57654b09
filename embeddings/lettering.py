"""Touches the disk: how the name of a file, which may be in any script, is written in a picture.

matplotlib's own font knows Latin, Greek, Cyrillic, Arabic and some more. For other letters this machine's fonts are
asked; nothing is downloaded.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

MOST_LETTERS = 90
"""Of a title, which would else run out of the picture."""
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Not printable, and yet a part of words: Persian and Hindi are spelt with them."""
REGULAR = 400
_OWN = "sans-serif"
"""What matplotlib takes by itself: DejaVu Sans, which comes with it, unless its user has chosen another."""


@dataclass(frozen=True, slots=True)
class Lettering:
    """A title on one line.

    text: all of it, for what is drawn elsewhere, by a browser. families: matplotlib's fonts for it, the first first.
    missing: its letters that no font here has, each once.
    """

    text: str
    families: tuple[str, ...]
    missing: str

    @property
    def drawable(self) -> str:
        """The text with `[…]` in place of what could only be drawn as boxes."""
        if not self.missing:
            return self.text
        one = f"[{re.escape(self.missing)}]"
        return re.sub(rf"{one}(?:\s*{one})*", "[…]", self.text)


def letter(title: str) -> Lettering:
    """Choose the fonts of a title; of a long one the beginning and the end are shown."""
    text = _on_one_line(title)
    families, missing = _fonts_for(frozenset(text))
    return Lettering(text, families, "".join(one for one in dict.fromkeys(text) if one in missing))


def _on_one_line(title: str) -> str:
    """With a sign in place of what has no shape: line breaks, control characters, half of a surrogate pair."""
    shown = "".join(one if one.isprintable() or one in _JOINERS else "\N{REPLACEMENT CHARACTER}" for one in title)
    half = MOST_LETTERS // 2
    return shown if len(shown) <= MOST_LETTERS else f"{shown[:half]} … {shown[-half:]}"


@cache
def _fonts_for(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """As few of the installed families as have the letters, each the one that has most of what is left; and what is
    left at the end."""
    left, families = letters - _letters_of(_own_font(), letters), [_OWN]
    for look_for_new in (False, True):
        if look_for_new and left:
            _add_new_fonts()
        while left and (best := _best(left))[1]:
            families.append(best[0])
            left -= best[1]
    return tuple(families), frozenset(left)


def _best(letters: frozenset[str]) -> tuple[str, frozenset[str]]:
    """The installed family that has most of the letters, and which of them it has."""
    best, most = "", frozenset[str]()
    for family, font in _installed():
        found = _letters_of(font, letters)
        if len(found) > len(most):
            best, most = family, found
        if most == letters:
            break
    return best, most


def _own_font() -> Any:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties(family=[_OWN])))


def _installed() -> Iterator[tuple[str, Any]]:
    """Name and font of each upright family, those without serifs first, as ours is; of its weights that nearest to the
    regular one. Some have no other than a thin one: a variable font, as Noto's for Chinese, is listed as what it is at
    one end.

    matplotlib brings others: for formulas, and one of a box for every letter there is. They are for no name.
    """
    from matplotlib import get_data_path
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    upright = {
        entry.name: entry.fname
        for entry in sorted(fontManager.ttflist, key=lambda entry: -abs(int(entry.weight) - REGULAR))
        if entry.style == "normal" and not entry.fname.startswith(get_data_path())
    }
    for family in sorted(upright, key=lambda name: ("sans" not in name.lower(), name)):
        try:
            yield family, FT2Font(upright[family])
        except (OSError, RuntimeError):  # gone or changed since matplotlib made its list
            continue


def _add_new_fonts() -> None:
    """matplotlib keeps its list of fonts, and does not see by itself what has been installed since."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    for path in sorted(set(findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}):
        with suppress(Exception):  # as matplotlib does it: a font that cannot be read is none
            fontManager.addfont(path)


def _letters_of(font: Any, letters: frozenset[str]) -> frozenset[str]:
    return frozenset(letter for letter in letters if font.get_char_index(ord(letter)))

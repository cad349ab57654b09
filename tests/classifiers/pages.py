"""What holds for every page we write."""

import re
from html.parser import HTMLParser

VOID = ("meta", "br", "input")
LINK = re.compile(r"https://www\.youtube\.com/watch\?v=[\w-]{11}&t=\d+s")


class Page(HTMLParser):
    """Follows the tags: all that are opened are closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "xlink:href", "data", "poster") or (name == "href" and tag != "a"):
                self.loads.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(text: str) -> Page:
    """One whole file that loads nothing: players stand in it, and links lead to a second on YouTube or nowhere."""
    page = Page()
    page.feed(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(load.startswith("data:audio/mpeg;base64,") for load in page.loads), page.loads
    assert all(LINK.fullmatch(link) for link in page.links), page.links
    assert "url(" not in text
    assert "@import" not in text
    assert "NaN" not in text
    return page

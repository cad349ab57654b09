"""The page says an answer only when it hears, and never trusts a name."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from app.live.activity import Activity
from app.live.events import Event
from app.live.snapshot import Counters, Pictures
from app.live.states import State
from app.page.parts import heard, live, models, sound, words
from app.page.parts.heard import Card
from classifiers.decision import Decision
from tests.app.page.doubles import DECISION, NAMES, make_prediction, make_status


class Balanced(HTMLParser):
    """Counts tags, so that a forgotten end tag fails."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def text_of(html: str) -> str:
    parser = Balanced()
    parser.feed(html)
    assert not parser.open
    return " ".join(parser.text)


@pytest.mark.parametrize("state", list(State))
def test_an_answer_is_given_only_while_sound_is_heard(state: State) -> None:
    hero = words.hero_of(make_status(state), make_prediction())
    assert ("Dog" in hero.title) == (state in (State.LISTENING, State.OVERLOADED))
    assert hero.title
    assert text_of(live.hero(make_status(state), make_prediction(), 0.42))


def test_every_state_has_a_name_beside_its_colour() -> None:
    assert set(words.SIGNS) == set(State)
    names = [name for _, name in words.SIGNS.values()]
    assert len(set(names)) == len(names)
    for state in State:
        assert words.SIGNS[state][1] in text_of(live.hero(make_status(state), None))


def test_nothing_known_is_said_so_with_the_closest() -> None:
    hero = words.hero_of(make_status(State.LISTENING), make_prediction((0.5, 0.3, 0.2), None))
    assert hero.title == "Nothing I know"
    assert "Dog at 50 %" in hero.detail


def test_a_class_that_is_likely_only_among_the_classes_is_not_said_to_be_likely() -> None:
    rejected = replace(make_prediction((0.99, 0.005, 0.005), None), known=0.014)
    hero = words.hero_of(make_status(State.LISTENING), rejected)
    assert hero.detail == "Only 1 % sure that it is any of my sounds; of these, Dog is the closest"
    assert words.sureness(rejected) == 0.014
    assert words.sureness(make_prediction()) == pytest.approx(0.9)


def test_sound_that_is_cut_off_at_full_scale_is_said_to_be_too_loud() -> None:
    def said(full: int) -> str:
        wave = np.tile(np.float32([-0.3, 0.3]), (50, 1))
        wave[:full] = -1, 1
        return sound.now_pictures(Pictures(0, 10, wave, np.zeros((100, 64), np.float32)), 10)

    assert "Too loud" in said(10)
    assert "Too loud" not in said(2), "peaks of a recording that was brought to full scale"


def test_the_message_and_remedy_are_shown_when_something_is_wrong() -> None:
    said = text_of(live.hero(make_status(State.MUTED), make_prediction()))
    assert "Muted" in said
    assert "message of muted" in said
    assert "a remedy & more" in said


def test_bars_mark_what_a_class_needs_and_tick_what_has_it() -> None:
    html = live.bars(NAMES, make_prediction(), DECISION, live=True)
    assert html.count("left:70.0%") == len(NAMES)
    assert html.count("\u2713") == 1
    assert "Under 70 % sure, the line, it says" in text_of(html)
    assert "<b>" not in html.partition("Rain")[2][:10], "names are escaped"
    idle = live.bars(NAMES, make_prediction(), DECISION, live=False)
    assert "90 %" not in idle
    assert "\u2713" not in idle


def test_being_any_of_the_classes_is_a_bar_of_its_own_with_the_only_line() -> None:
    rejected = replace(make_prediction((0.75, 0.125, 0.125), None), known=0.011)
    html = live.bars(NAMES, rejected, DECISION, live=True, known_apart=True)
    assert html.count("<u ") == 1
    first, *classes = html.split("<li ")[1:]
    assert "Any of these" in first
    assert "left:70.0%" in first
    assert ">1 %<" in first
    assert ">75 %<" in classes[0]
    assert "\u2713" not in html
    assert live.bars(NAMES, make_prediction(), DECISION, live=True, known_apart=True).count("\u2713") == 2
    assert "Any of these" in live.bars(NAMES, None, DECISION, live=False, known_apart=True)


def test_many_classes_show_the_likeliest_in_their_own_order() -> None:
    names = tuple(f"class{i:02}" for i in range(40))
    prediction = make_prediction()
    scores = np.linspace(0, 1, 40, dtype=np.float32)
    many = type(prediction)("k", 0, 10, names, scores, 1.0, scores > 0.9, names[-1])
    decision = Decision.neutral("multi", 40)
    shown = [word for word in text_of(live.bars(names, many, decision, live=True)).split() if word[:5] == "class"]
    assert shown == list(names[-live.MOST_BARS :])


def test_the_state_line_counts() -> None:
    counters = Counters(windows=12, window_ms=8.4, latency_s=0.2, skipped=3, dropped_s=1.5)
    line = text_of(live.state_line(counters, 4.24, 10, -33))
    for part in ("4.2 of 10 s", "-33 dBFS", "12 windows", "8 ms a window", "3 skipped", "1.5 s dropped"):
        assert part in line
    assert "digital silence" in live.state_line(counters, 10, 10, -120)


def test_pictures_say_how_much_they_enlarge() -> None:
    quiet = Pictures(0, 5, np.tile(np.float32([-0.1, 0.1]), (50, 1)), np.zeros((100, 64), np.float32))
    html = sound.now_pictures(quiet, 10)
    assert "\u00d710" in text_of(html) or "\u00d79" in text_of(html)
    assert "width:50.0%" in html
    assert text_of(sound.now_pictures(None, 10))


def event(number: int, name: str, start_s: float, end_s: float, open_: bool = False) -> Event:
    return Event(number, name, start_s, end_s, 0.8, start_s, 3, open_)


def test_the_timeline_has_a_lane_a_class_and_forgets() -> None:
    events = [event(1, "Dog", 10, 20), event(2, NAMES[1], 100, 130), event(3, "Dog", 180, 200, True)]
    html = heard.timeline(events, now_s=200)
    assert html.count("<li>") == 2
    assert html.count('title="Dog') == 1, "what is older than the span is gone"
    assert "to now" in html
    assert "Rain &lt;b&gt;" in html
    assert "No events yet" in heard.timeline([], 0)


def test_the_grid_tells_heard_from_not_heard_from_not_listened() -> None:
    session = Activity(NAMES)
    for second in (5, 15, 25, 130):
        session.add(second, np.zeros(3, np.float32), np.array([second < 20, False, False]))
    html = heard.activity(session.grid(), 0.0)
    assert html.count('scope="row"') == 1, "only classes that were heard have a row"
    assert "Dog, minute 1: 66 % of 3 windows" in html
    assert "Dog, minute 2: not listened" in html
    assert "Dog, minute 3: 0 % of 1 window" in html
    assert html.count('class="later"') == 2 * 12
    text_of(html)
    assert "Fills as you listen" in heard.activity(None, None)


def test_cards_can_be_played_and_read_aloud() -> None:
    html = heard.cards(
        [Card(NAMES[1], "14:00:01", 0.93, True, "data:image/png;base64,", "data:audio/mpeg;base64,", 6.2)]
    )
    assert 'aria-label="Play Rain &lt;b&gt;, 14:00:01"' in html
    assert "93 %" in text_of(html)
    assert "now" in text_of(html)


def test_sure_is_never_said_of_what_is_not() -> None:
    assert [words.percent(value) for value in (0, 0.005, 0.0199, 0.999, 1.0)] == ["0 %", "0 %", "1 %", "99 %", "100 %"]


def test_a_model_that_cannot_run_says_what_to_type() -> None:
    said = models.missing_models([("<city>", "needs a.ckpt; run `earshot weights fetch a.ckpt` & wait")])
    assert "<b>&lt;city&gt;</b> needs a.ckpt; run <code>earshot weights fetch a.ckpt</code> &amp; wait" in said

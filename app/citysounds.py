"""A small synthesiser of labelled city sounds, for the demo and for tests: no download, no licence, any amount.

Ten kinds of sound, the classes of `data/class_sets/city10.toml`, each a *recording* with its own random pitch, pace,
room, background and level; takes of one recording differ in timing only, as takes of a real one do, so they share a
source and must stay on one side of a split. The sounds are caricatures: numbers measured on them say that the road
works, nothing about real streets.

All functions are pure: a generator in, float64 [samples] out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.fft import next_fast_len

from ingest.audio.clip import Waveform

SAMPLE_RATE = 22_050

Signal = npt.NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True)
class CitySound:
    """One synthetic take: `name` is a file name stem, unique and telling; `waveform` has SAMPLE_RATE."""

    name: str
    label: str
    source: str
    waveform: Waveform


def synthesise(
    *, seed: int, recordings: int, takes: int = 2, duration_s: float = 5.0, labels: tuple[str, ...] = ()
) -> Iterator[CitySound]:
    """Yield `takes` takes of each of `recordings` recordings of each label (all of KINDS by default).

    The same seed gives the same samples, whichever labels are asked for.
    """
    for kind, (label, sound) in enumerate(KINDS.items()):
        if labels and label not in labels:
            continue
        for recording in range(recordings):
            source = f"synthetic-{seed}-{kind}-{recording}"
            for take in range(takes):
                voice = np.random.default_rng([seed, kind, recording])
                timing = np.random.default_rng([seed, kind, recording, take])
                samples = _on_location(sound(round(duration_s * SAMPLE_RATE), voice, timing), voice, timing)
                name = f"{label.split(',')[0].lower().replace(' ', '-')}-{seed}-{recording:03d}{chr(ord('a') + take)}"
                yield CitySound(name, label, source, samples.astype(np.float32))


# --- the ten sounds: (samples, voice, timing) -> signal; `voice` is the recording's, `timing` the take's ---


def _siren(samples: int, voice: Rng, timing: Rng) -> Signal:
    low, high = voice.uniform(450, 750), voice.uniform(1000, 1600)
    cycle = _phase(np.full(samples, voice.choice([0.2, 0.35, 3.0])), timing)
    style = voice.choice(["wail", "hi-lo"])
    sweep = (1 - np.cos(cycle)) / 2 if style == "wail" else (np.sin(cycle) > 0).astype(float)
    return _tone(low + (high - low) * sweep, harmonics=6, tilt=1.0, rng=timing)


def _horn(samples: int, voice: Rng, timing: Rng) -> Signal:
    pitch = voice.uniform(300, 520)
    blast = _tone(np.full(samples, pitch), 14, 0.5, timing) + _tone(np.full(samples, pitch * 1.26), 14, 0.5, timing)
    gate = np.zeros(samples)
    for start in _times(samples, timing, rate_hz=voice.uniform(0.4, 1.0), jitter=0.5):
        gate[start : start + round(timing.uniform(0.15, 0.9) * SAMPLE_RATE)] = 1
    return blast * _smooth(gate, 0.01)


def _jackhammer(samples: int, voice: Rng, timing: Rng) -> Signal:
    blow = _burst(0.04, voice.uniform(0.006, 0.015), timing, low_hz=300, high_hz=7000)
    blow += 0.7 * _ring(0.04, voice.uniform(900, 2500), 0.01)
    blows = _place(samples, blow, _times(samples, timing, rate_hz=voice.uniform(14, 28), jitter=0.04), timing, 0.2)
    return blows + 0.15 * _noise(samples, timing, low_hz=40, high_hz=400)


def _footsteps(samples: int, voice: Rng, timing: Rng) -> Signal:
    heel = _ring(0.12, voice.uniform(70, 160), 0.03) + 0.5 * _burst(0.12, 0.012, timing, low_hz=800, high_hz=6000)
    scuff = voice.uniform(0.05, 0.25) * _burst(0.12, 0.05, timing, low_hz=2000, high_hz=8000)
    times = _times(samples, timing, rate_hz=voice.uniform(1.4, 2.4), jitter=0.06)
    return _place(samples, heel + scuff, times, timing, 0.35)


def _dog(samples: int, voice: Rng, timing: Rng) -> Signal:
    pitch, length = voice.uniform(280, 750), round(voice.uniform(0.12, 0.28) * SAMPLE_RATE)
    arc = np.sin(np.linspace(0, np.pi, length))
    bark = _formants(_tone(pitch * (0.75 + 0.5 * arc), 16, 0.6, timing), voice.uniform(0.9, 1.5)) * arc**0.5
    bark += 0.25 * _noise(length, timing, low_hz=500, high_hz=5000) * arc
    times = _times(samples, timing, rate_hz=voice.uniform(1.0, 2.8), jitter=0.3, keep=0.7)
    return _place(samples, bark, times, timing, 0.3)


def _bird(samples: int, voice: Rng, timing: Rng) -> Signal:
    centre, span, notes = voice.uniform(2600, 5500), voice.uniform(300, 1500), voice.integers(2, 7)
    length = round(voice.uniform(0.05, 0.14) * SAMPLE_RATE)
    curve = np.sin(np.linspace(0, np.pi * voice.choice([1, 2, 4]), length) + voice.uniform(0, np.pi))
    note = _tone(centre + span * curve, 2, 1.5, timing) * np.hanning(length)
    song = np.concatenate([np.concatenate([note, np.zeros(length // 2)]) for _ in range(notes)])
    return _place(samples, song, _times(samples, timing, rate_hz=voice.uniform(0.7, 1.4), jitter=0.4), timing, 0.4)


def _subway(samples: int, voice: Rng, timing: Rng) -> Signal:
    rumble = _noise(samples, timing, low_hz=25, high_hz=voice.uniform(140, 260))
    swell = 0.4 + 0.6 * np.sin(np.linspace(timing.uniform(0, 1), timing.uniform(2, 3), samples)) ** 2
    clack = _burst(0.08, 0.015, timing, low_hz=200, high_hz=3000)
    pair = np.concatenate([clack, np.zeros(round(0.12 * SAMPLE_RATE)), 0.8 * clack])
    clacks = _place(samples, pair, _times(samples, timing, rate_hz=voice.uniform(0.8, 1.6), jitter=0.05), timing, 0.2)
    squeal = _tone(voice.uniform(2500, 4200) + 40 * _noise(samples, timing, low_hz=1, high_hz=6), 2, 1.0, timing)
    return rumble * swell + 0.35 * clacks + voice.uniform(0, 0.12) * squeal * _smooth(swell > 0.8, 0.2)


def _traffic(samples: int, voice: Rng, timing: Rng) -> Signal:
    seconds = np.arange(samples) / SAMPLE_RATE
    road = 0.5 * _noise(samples, timing, low_hz=60, high_hz=900)
    for _ in range(timing.integers(2, 5)):
        passing = np.exp(-(((seconds - timing.uniform(0, seconds[-1])) / timing.uniform(0.5, 1.2)) ** 2))
        engine = _tone(voice.uniform(50, 110) * (1.05 - 0.1 * passing.cumsum() / passing.sum()), 12, 0.8, timing)
        tyres = _noise(samples, timing, low_hz=300, high_hz=voice.uniform(1500, 3500))
        road += passing * (0.8 * tyres + 0.5 * engine)
    return road


def _voices(
    samples: int,
    voice: Rng,
    timing: Rng,
    *,
    people: tuple[int, int],
    pitch_hz: tuple[float, float],
    size: float,
    lift: float,
) -> Signal:
    crowd = np.zeros(samples)
    for _ in range(voice.integers(*people)):
        melody = 1 + lift * _smooth(_steps(samples, timing, rate_hz=3.5), 0.05)
        syllables = np.clip(_smooth(_steps(samples, timing, rate_hz=7), 0.04), 0, 1)
        vowel = _formants(_tone(voice.uniform(*pitch_hz) * melody, 24, 0.7, timing), size * voice.uniform(0.85, 1.15))
        hiss = 0.15 * _noise(samples, timing, low_hz=3000, high_hz=8000) * np.roll(syllables, 1500)
        crowd += voice.uniform(0.4, 1) * (vowel * syllables + hiss)
    return crowd


KINDS: dict[str, Callable[[int, Rng, Rng], Signal]] = {
    "Vehicle horn, car horn, honking": _horn,
    "Children playing": partial(_voices, people=(2, 4), pitch_hz=(280, 460), size=1.35, lift=0.35),
    "Dog": _dog,
    "Jackhammer": _jackhammer,
    "Siren": _siren,
    "Traffic noise, roadway noise": _traffic,
    "Subway, metro, underground": _subway,
    "Walk, footsteps": _footsteps,
    "Chatter": partial(_voices, people=(5, 9), pitch_hz=(95, 230), size=1.0, lift=0.12),
    "Bird": _bird,
}
"""AudioSet display name -> sound."""


# --- building blocks ---


def _phase(frequency_hz: Signal, rng: Rng) -> Signal:
    return 2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE + rng.uniform(0, 2 * np.pi)


def _tone(frequency_hz: Signal, harmonics: int, tilt: float, rng: Rng) -> Signal:
    """A harmonic tone, k-th partial at k^-tilt, nothing above the Nyquist frequency.

    Partials follow from the two before, sin (k + 1)x = 2 cos x sin kx - sin (k - 1)x: sines took most of the time.
    """
    phase, out = _phase(frequency_hz, rng), np.zeros(len(frequency_hz))
    before, partial, twice_cos = np.zeros(len(phase)), np.sin(phase), 2 * np.cos(phase)
    for k in range(1, harmonics + 1):
        out += partial * (k * frequency_hz < 0.48 * SAMPLE_RATE) / k**tilt
        before, partial = partial, twice_cos * partial - before
    return out


def _noise(samples: int, rng: Rng, *, low_hz: float, high_hz: float) -> Signal:
    """Gaussian noise of unit power with soft band edges."""
    return _unit(
        _filtered(rng.standard_normal(samples), lambda f: 1 / (1 + (low_hz / f) ** 4) / (1 + (f / high_hz) ** 4))
    )


def _formants(signal: Signal, size: float) -> Signal:
    """The resonances of a mouth or muzzle; `size` > 1 is a smaller one."""

    def gain(frequency_hz: Signal) -> Signal:
        peaks = ((600, 120, 1.0), (1300, 200, 0.6), (2600, 300, 0.35))
        return sum((g / (1 + ((frequency_hz - size * f) / (size * b)) ** 2) for f, b, g in peaks), np.full(1, 0.03))

    return _filtered(signal, gain)


def _filtered(signal: Signal, gain: Callable[[Signal], Signal]) -> Signal:
    spectrum = np.fft.rfft(signal)
    frequency_hz = np.maximum(np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE), 1.0)
    return np.fft.irfft(spectrum * gain(frequency_hz), len(signal))


def _ring(duration_s: float, frequency_hz: float, decay_s: float) -> Signal:
    seconds = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    return np.sin(2 * np.pi * frequency_hz * seconds) * np.exp(-seconds / decay_s)


def _burst(duration_s: float, decay_s: float, rng: Rng, *, low_hz: float, high_hz: float) -> Signal:
    samples = round(duration_s * SAMPLE_RATE)
    return _noise(samples, rng, low_hz=low_hz, high_hz=high_hz) * np.exp(-np.arange(samples) / SAMPLE_RATE / decay_s)


def _times(samples: int, rng: Rng, *, rate_hz: float, jitter: float, keep: float = 1.0) -> list[int]:
    """Sample positions of events, `rate_hz` a second and off by up to `jitter` periods; at least one."""
    period = SAMPLE_RATE / rate_hz
    grid = np.arange(rng.uniform(0, 0.5) * period, samples, period)
    kept = grid[rng.random(len(grid)) < keep] if keep < 1 else grid
    moved = (kept if len(kept) else grid[:1]) + rng.uniform(-jitter, jitter, max(len(kept), 1)) * period
    return [int(t) for t in np.clip(moved, 0, samples - 1)]


def _place(samples: int, event: Signal, times: list[int], rng: Rng, unevenness: float) -> Signal:
    """Copies of `event` at `times`, each a little louder or softer; the last may be cut off."""
    out = np.zeros(samples + len(event))
    for time in times:
        out[time : time + len(event)] += event * (1 + unevenness * rng.uniform(-1, 1))
    return out[:samples]


def _steps(samples: int, rng: Rng, *, rate_hz: float) -> Signal:
    """Random levels in [-1, 1], held for 1 / rate_hz on average."""
    levels = rng.uniform(-1, 1, max(2, round(samples / SAMPLE_RATE * rate_hz)))
    return levels[(np.arange(samples) * len(levels)) // samples]


def _smooth(signal: npt.NDArray[np.generic], time_s: float) -> Signal:
    width = max(1, round(time_s * SAMPLE_RATE))
    total = np.cumsum(np.concatenate([np.zeros(width), signal.astype(float)]))
    return (total[width:] - total[:-width]) / width


def _unit(signal: Signal) -> Signal:
    return signal / (np.sqrt(np.mean(signal**2)) + 1e-12)


def _on_location(dry: Signal, voice: Rng, timing: Rng) -> Signal:
    """Put a sound into a room, with a background, at a distance: peak 0.03 to 0.9, 8 dB below the noise to 15 above."""
    tail_s, wet = voice.uniform(0.05, 0.5), voice.uniform(0.05, 0.5)
    room = voice.standard_normal(round(tail_s * SAMPLE_RATE)) * np.exp(
        -np.linspace(0, 6.9, round(tail_s * SAMPLE_RATE))
    )
    size = next_fast_len(len(dry) + len(room), real=True)  # a length with large prime factors takes many times as long
    echo = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(room, size), size)[: len(dry)]
    sound = _unit(_unit(dry) + wet * _unit(echo))
    street = _noise(len(dry), timing, low_hz=20, high_hz=voice.uniform(300, 4000))
    scene = sound + street * 10 ** (-voice.uniform(-8, 15) / 20)
    return scene / np.abs(scene).max() * 10 ** voice.uniform(np.log10(0.03), np.log10(0.9))

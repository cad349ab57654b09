"""Small copies of data sets with sounds in them, for recipes to run on."""

import json
from pathlib import Path

import numpy as np
import soundfile

from app.citysounds import KINDS, SAMPLE_RATE, synthesise

URBAN = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
    "jackhammer", "siren", "street_music",
)  # fmt: skip
VOCAL = ("cough", "laughter", "sigh", "sneeze", "sniff", "throatclearing")


def urbansound8k(folder: Path, folds: int = 2) -> Path:
    """UrbanSound8K's layout: a recording of each class in each fold, two slices a recording, 1.2 s each."""
    (folder / "metadata").mkdir(parents=True)
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for number, sound in enumerate(synthesise(seed=3, recordings=folds, takes=2, duration_s=1.2)):
        class_id, fold, take = number // (2 * folds), number // 2 % folds + 1, number % 2
        name = f"{1000 + number // 2}-{class_id}-0-{take}.wav"
        write(folder / "audio" / f"fold{fold}" / name, sound.waveform)
        rows.append(f"{name},{1000 + number // 2},{take}.0,{take + 1}.2,1,{fold},{class_id},{URBAN[class_id]}")
    (folder / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    return folder


def vocalsound(folder: Path, speakers: int = 6) -> Path:
    """VocalSound's layout: six sounds of each speaker, 0.8 s each, a kind of city sound for each."""
    kinds = tuple(KINDS)[: len(VOCAL)]
    for number, sound in enumerate(synthesise(seed=5, recordings=speakers, takes=1, duration_s=1.0, labels=kinds)):
        speaker, vocal = number % speakers, VOCAL[number // speakers]
        write(folder / "audio_16k" / f"{'fm'[speaker % 2]}{speaker:04}_0_{vocal}.wav", sound.waveform)
    people = [[f"{'fm'[s % 2]}{s:04}", ("female", "male")[s % 2], 20 + 10 * s, "Peru", "Quechua", "no"]
              for s in range(speakers)]  # fmt: skip
    (folder / "meta").mkdir()
    (folder / "meta" / "all_meta.json").write_text(json.dumps(people))
    return folder


def write(path: Path, waveform: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, SAMPLE_RATE)

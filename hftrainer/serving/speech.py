"""Speech to sentences, by a whisper that whoever runs the server has in a folder."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.serving.refusals import Refusal

#: Samples a second that whisper hears, and the longest that it hears at once, seconds.
RATE, LONGEST = 16_000, 30.0
#: Loudness (root of the mean square, of 1) below which nobody spoke; whisper makes up words for silence.
_SILENCE = 1e-3


class Speech:
    """Whisper in a folder, as ``transformers`` reads it; loaded when it is first spoken to.

    A whisper of many languages translates to English, as the page of the original MotionGPT has it do.

    Args:
        folder: of a whisper: ``config.json``, ``model.safetensors``, its words and its preprocessor. Nothing is
            downloaded.
        device: where it runs.

    Raises:
        ValueError: the folder holds no whisper.
        ModuleNotFoundError: transformers is not installed.

    Source:
        Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        self.folder, self.device = Path(folder), device
        if importlib.util.find_spec("transformers") is None:
            raise ModuleNotFoundError(
                "speech needs the package transformers; it is not installed. pip install 'hftrainer[speech]'."
            )
        wanted = ("config.json", "model.safetensors", "preprocessor_config.json")
        absent = [name for name in wanted if not (self.folder / name).is_file()]
        if absent:
            raise ValueError(f"{folder} must hold a whisper for transformers; {', '.join(absent)} is absent. Download "
                             "one first, for example openai/whisper-base.")  # fmt: skip
        try:
            config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{folder}: config.json must be JSON; {error}.") from error
        kind = config.get("model_type") if isinstance(config, dict) else None
        if kind != "whisper":
            raise ValueError(f"{folder} must hold a whisper; got a model of type {kind!r}. Name another folder.")
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def words(self, sound: np.ndarray) -> str:
        """What is said.

        Args:
            sound: ``(N,)`` float32, -1 to 1, ``RATE`` a second, ``LONGEST`` seconds at most.

        Raises:
            ValueError, OSError: the whisper cannot be loaded.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            model, processor = self._loaded
            heard = processor(sound, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
            several = getattr(model.generation_config, "is_multilingual", False)
            tokens = model.generate(
                heard.input_features.to(model.device, model.dtype),
                attention_mask=heard.attention_mask.to(model.device),
                **({"task": "translate"} if several else {}),
            )  # fmt: skip
            return str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()

    def _load(self) -> tuple[Any, Any]:
        whispers: Any = importlib.import_module("transformers")
        whispers.utils.logging.disable_progress_bar()
        model = whispers.WhisperForConditionalGeneration.from_pretrained(
            self.folder, use_safetensors=True, local_files_only=True
        )
        processor = whispers.WhisperProcessor.from_pretrained(self.folder, local_files_only=True)
        return model.to(self.device).eval(), processor


def sound_of(content: bytes) -> np.ndarray:
    """The sound in a WAV file.

    Args:
        content: of the file: 16 bits, one channel, ``RATE`` a second.

    Returns:
        ``(N,)`` float32, -1 to 1.

    Raises:
        Refusal: 422; no such file, one in which nobody speaks, or one that is too long.
    """
    form = f"file must be a WAV of 16 bits, one channel and {RATE} samples a second"
    try:
        with wave.open(io.BytesIO(content)) as file:
            got = (file.getsampwidth(), file.getnchannels(), file.getframerate())
            frames = file.readframes(int(RATE * LONGEST) + 1)
    except (wave.Error, EOFError) as error:
        raise Refusal(422, f"{form}; {error or 'it ends too soon'}. Send such a one.") from error
    if got != (2, 1, RATE):
        raise Refusal(422, f"{form}; got {8 * got[0]} bits, {got[1]} channels, {got[2]} a second. Send such a one.")
    sound = np.frombuffer(frames[: len(frames) // 2 * 2], "<i2").astype(np.float32) / 32768
    if len(sound) > RATE * LONGEST:
        raise Refusal(422, f"file must be at most {LONGEST:g} s; got more. Say less at once.")
    if not len(sound) or float(np.sqrt(np.mean(sound**2))) < _SILENCE:
        raise Refusal(422, "nothing was to be heard. Speak closer to the microphone, or type.")
    return sound

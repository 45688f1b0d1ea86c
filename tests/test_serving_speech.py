"""Speech over HTTP: with a whisper of our own size in a folder, with a stand-in, and without one."""

import io
import json
import wave

import numpy as np
import pytest
from starlette.testclient import TestClient

from hftrainer.cli import main
from hftrainer.serving.app import create_app
from hftrainer.serving.limits import Limits
from hftrainer.serving.models import Models
from hftrainer.serving.speech import RATE, Speech

TONE = 0.3 * np.sin(np.arange(RATE) / 20)


def wav(sound=TONE, rate=RATE, width=2, channels=1):
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes((np.asarray(sound) * 32767).astype("<i2").tobytes())
    return content.getvalue()


class Ear:
    """Understands the same of whatever is said."""

    def __init__(self, text="a person waves"):
        self.text, self.heard = text, []

    def words(self, sound):
        self.heard.append(sound)
        return self.text


def ask(speech, content, **limits):
    with TestClient(create_app(Models(), Limits(**limits), speech=speech), base_url="http://127.0.0.1") as web:
        return web.post("/api/transcribe", files={"file": ("speech.wav", content)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whisper of four words that says one of them whatever it hears."""
    transformers = pytest.importorskip("transformers", reason="speech needs the speech extra")
    folder = tmp_path_factory.mktemp("whisper")
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
               "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
    ids = {word: at for at, word in enumerate(["a", "Ġperson", "Ġwalks", "Ġwaves", *special])}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    end = special[0]
    transformers.WhisperTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), unk_token=end, bos_token=end, eos_token=end,
        additional_special_tokens=special[1:],
    ).save_pretrained(folder)  # fmt: skip
    transformers.WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    marks = {"decoder_start_token_id": ids[special[1]], **dict.fromkeys(
        ("eos_token_id", "pad_token_id", "bos_token_id"), ids[end])}  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(
        vocab_size=len(ids), num_mel_bins=8, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, decoder_ffn_dim=16, max_target_positions=12, **marks,
    ))  # fmt: skip
    last = model.model.decoder.layer_norm
    last.weight.data.zero_()
    last.bias.data.copy_(model.model.decoder.embed_tokens.weight.data[ids["Ġwaves"]] * 100)
    model.generation_config = transformers.GenerationConfig(
        is_multilingual=True, lang_to_id={"<|en|>": ids["<|en|>"], "<|de|>": ids["<|de|>"]}, max_length=8,
        task_to_id={"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"], suppress_tokens=[], begin_suppress_tokens=[], **marks,
    )  # fmt: skip
    model.save_pretrained(folder)
    return folder


def test_a_whisper_in_a_folder_is_heard(folder):
    said = ask(Speech(folder), wav())
    assert said.status_code == 200 and set(said.json()["text"].split()) == {"waves"}


def test_a_stand_in_gets_the_sound_and_health_says_so():
    ear = Ear()
    with TestClient(create_app(Models(), speech=ear), base_url="http://127.0.0.1") as web:
        assert web.get("/api/health").json()["speech"] is True
        said = web.post("/api/transcribe", files={"file": ("speech.wav", wav())})
    assert said.json() == {"text": "a person waves"}
    (sound,) = ear.heard
    assert sound.dtype == np.float32 and np.abs(sound - TONE).max() < 1e-4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "must be a WAV"), (b"RIFF broken", "must be a WAV"), (wav()[:30], "must be a WAV"),
        (wav(rate=44100), "got 16 bits, 1 channels, 44100"), (wav(channels=2), "got 16 bits, 2 channels"),
        (wav(TONE * 0), "nothing was to be heard"), (wav([]), "nothing was to be heard"),
        (wav(np.tile(TONE, 31)), "at most 30 s"),
    ],
)  # fmt: skip
def test_other_sound_is_422_in_words(content, says):
    answer = ask(Ear(), content)
    assert answer.status_code == 422 and says in answer.json()["error"]["message"]


def test_nothing_understood_too_much_and_no_whisper():
    assert "no words were understood" in ask(Ear(""), wav()).json()["error"]["message"]
    assert ask(Ear(), wav(np.tile(TONE, 9)), upload=1000).status_code == 413
    answer = ask(None, wav())
    assert answer.status_code == 404 and "--whisper FOLDER" in answer.json()["error"]["message"]


def test_what_fails_in_it_is_said():
    class Broken(Ear):
        def words(self, sound):
            raise RuntimeError("the whisper must be mended.")

    answer = ask(Broken(), wav())
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "the whisper must be mended.")


def test_folders_that_hold_no_whisper_are_refused_at_once(folder, tmp_path, capsys, monkeypatch):
    assert main(["serve", "--port", "0", "--whisper", str(tmp_path / "none")]) == 2
    assert "config.json, model.safetensors, preprocessor_config.json is absent" in capsys.readouterr().err
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_text('{"model_type": "bert"}')
    assert main(["serve", "--port", "0", "--whisper", str(tmp_path)]) == 2
    assert "must hold a whisper; got a model of type 'bert'" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"hftrainer\[speech\]"):
        Speech(folder)

// Speech: a microphone, and its sound as the WAV file that the server takes.
import { Trouble, transcribe } from "./api.js";
import { button } from "./widgets.js";

const RATE = 16000, LONGEST = 28; // samples a second; seconds

/** A recording, in whatever form this browser has, as one channel of 16 bits. */
async function wav(recording) {
  const any = new OfflineAudioContext(1, 1, RATE), heard = await any.decodeAudioData(await recording.arrayBuffer());
  const mix = new OfflineAudioContext(1, Math.max(1, Math.ceil(heard.duration * RATE)), RATE), source = mix.createBufferSource();
  source.buffer = heard;
  source.connect(mix.destination);
  source.start();
  const samples = (await mix.startRendering()).getChannelData(0), view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const write = (at, text) => [...text].forEach((letter, k) => view.setUint8(at + k, letter.charCodeAt(0)));
  write(0, "RIFF"); write(8, "WAVEfmt "); write(36, "data");
  const numbers = [[4, 36 + 2 * samples.length], [16, 16], [24, RATE], [28, 2 * RATE], [40, 2 * samples.length]];
  for (const [at, value] of numbers) view.setUint32(at, value, true);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) view.setUint16(at, value, true);
  samples.forEach((value, k) => view.setInt16(44 + 2 * k, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

/** A button that listens: `heard` gets the words, `complain` what went wrong, `say` what is going on. */
export function microphone({ heard, complain, say }) {
  let recorder = null;
  const state = (name, called) => { mic.dataset.state = name; mic.title = called; mic.setAttribute("aria-label", called); mic.setAttribute("aria-pressed", String(name === "listening")); };
  const done = async (stream, parts) => {
    recorder = null;
    stream.getTracks().forEach((track) => track.stop());
    state("writing", "writing down what you said");
    say("Writing down what you said");
    try {
      heard(await transcribe(await wav(new Blob(parts))));
    } catch (error) {
      complain(error instanceof Trouble ? error.message : "The recording could not be read. Try again, or type.");
    }
    state("ready", "speak");
  };
  const mic = button("icon.mic", "mic", "speak", async () => {
    if (recorder) return recorder.stop();
    if (mic.dataset.state === "writing") return null;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true }), parts = [], mine = new MediaRecorder(stream);
      recorder = mine;
      mine.ondataavailable = (event) => parts.push(event.data);
      mine.onstop = () => done(stream, parts);
      mine.start();
      setTimeout(() => mine.state === "recording" && mine.stop(), 1000 * LONGEST);
      state("listening", "stop listening");
      say("Listening. Press again when you are done.");
    } catch (error) {
      complain(`The microphone could not be used: ${error.message}.`);
    }
    return null;
  });
  state("ready", "speak");
  return mic;
}

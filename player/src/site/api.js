// What is asked of the server, and what goes wrong in words.

const KEY = "hftrainer.key";
let asker = async () => null;

/** A refusal: `status` 0 when nobody answered, `after` in seconds when the server says when to come back. */
export class Trouble extends Error {
  constructor(message, status = 0, after = null) {
    super(message);
    Object.assign(this, { status, after });
  }
}

/** Who is asked for the key of a server that wants one. */
export function keyFrom(ask) { asker = ask; }

const headers = () => {
  const key = localStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
};

const words = async (answer) => {
  const said = await answer.json().catch(() => null);
  if (said?.error?.message) return said.error.message;
  return `The server answered ${answer.status} ${answer.statusText || ""}`.trim() + ". Try again.";
};

/** A request and its answer, whatever that is. */
export async function fetched(path, how = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...how, headers: { ...headers(), ...how.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server does not answer. Is it still running? Your conversation is kept here; try again when it is back.");
  }
  if (answer.status === 401) {
    const key = await asker(localStorage.getItem(KEY) !== null);
    if (!key) throw new Trouble("This server asks for a key. Without one it does nothing.", 401);
    localStorage.setItem(KEY, key);
    return fetched(path, how);
  }
  if (answer.ok) return answer;
  const after = Number(answer.headers.get("Retry-After")) || null;
  throw new Trouble(await words(answer), answer.status, after);
}

export const get = async (path) => (await fetched(path)).json();
export const bytes = async (path) => (await fetched(path)).arrayBuffer();
export const post = async (path, body) => (await fetched(path, {
  method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } })).json();
export const drop = async (path) => { await fetched(path, { method: "DELETE" }); };

/** A file for the server to read; the motion it found in it. */
export async function upload(file, name, about = {}) {
  const form = new FormData();
  form.append("file", file, name);
  for (const [field, value] of Object.entries(about)) if (value) form.append(field, String(value));
  return (await fetched("/api/motions", { method: "POST", body: form })).json();
}

/** What was said, as text; `sound` is a WAV file. */
export async function transcribe(sound) {
  const form = new FormData();
  form.append("file", sound, "speech.wav");
  return (await (await fetched("/api/transcribe", { method: "POST", body: form })).json()).text;
}

const over = (job) => ["done", "failed", "cancelled"].includes(job.state);
const pause = (ms) => new Promise((go) => setTimeout(go, ms));

/** Tell `seen` each state of a job until it is over; the last one is returned. */
export async function follow(id, seen) {
  let job = await get(`/api/jobs/${id}`);
  seen(job);
  for (let tries = 0; !over(job); tries++) {
    try {
      const answer = await fetched(`/api/jobs/${id}/events`, { headers: { Accept: "text/event-stream" } });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = "", part; !(part = await reader.read()).done;) {
        const blocks = (text += part.value).split(/\r?\n\r?\n/);
        text = blocks.pop();
        for (const block of blocks) {
          const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
          if (!data) continue;
          seen(job = JSON.parse(data));
        }
        if (over(job)) break;
      }
      reader.cancel().catch(() => {});
    } catch (error) {
      if (error.status || tries > 20) throw error; // an answer in words, or nobody there for long
    }
    if (over(job)) break;
    await pause(Math.min(400 * (tries + 1), 3000)); // a stream that broke off
    seen(job = await get(`/api/jobs/${id}`));
  }
  return job;
}

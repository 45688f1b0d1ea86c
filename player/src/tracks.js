// The packed numbers of hftrainer/rendering/player_tracks.py, and a body at any moment of them.

/** The header and a reader of its arrays. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  const read = ({ at, size, kind, width }) => {
    const from = start + at;
    if (kind === "f4") return new Float32Array(buffer, from, size);
    if (kind === "u2") return new Uint16Array(buffer, from, size);
    if (kind === "u1") return new Uint8Array(buffer, from, size);
    // d2: differences in time, column by column, low bytes and then high bytes
    const low = new Uint8Array(buffer, from, size), high = new Uint8Array(buffer, from + size, size);
    const out = new Int16Array(size), frames = size / width;
    for (let column = 0, k = 0; column < width; column++)
      for (let frame = 0, sum = 0; frame < frames; frame++, k++) {
        sum = (sum + (low[k] | (high[k] << 8))) & 65535;
        out[frame * width + column] = sum;
      }
    return out;
  };
  return { header, read };
}

/** One motion: `at(seconds)` fills `points` (x, y, z of every ball) and `turns` (x, y, z, w of every joint). */
export class Track {
  constructor(about, read) {
    Object.assign(this, about);
    this.rootOf = read(about.root);
    this.pointsOf = read(about.points);
    this.turnsOf = read(about.turns);
    this.bind = read(about.bind);
    const packed = read(about.skin);
    this.skin = Float32Array.from(packed, (v, k) => about.skin_from[k % 3] + v * about.skin_step[k % 3]);
    this.balls = about.points.width / 3;
    this.joints = about.turns.width / 4;
    this.points = new Float32Array(3 * this.balls);
    this.turns = new Float32Array(4 * this.joints);
    this.duration = (this.frames - 1) / this.fps;
    this.shift = [0, 0];
    this.now = -1;
    this.calm();
  }

  /** The way of the pelvis with the steps taken out (for the camera), and what room the motion takes. */
  calm() {
    const { frames, rootOf } = this, half = Math.min(Math.round(0.6 * this.fps), frames - 1);
    this.path = new Float32Array(2 * frames);
    this.low = [Infinity, Infinity];
    this.high = [-Infinity, -Infinity];
    for (const axis of [0, 1]) {
      const sums = new Float64Array(frames + 1);
      for (let f = 0; f < frames; f++) sums[f + 1] = sums[f] + rootOf[3 * f + 2 * axis];
      for (let f = 0; f < frames; f++) {
        const reach = Math.min(half, f, frames - 1 - f);
        this.path[2 * f + axis] = (sums[f + reach + 1] - sums[f - reach]) / (2 * reach + 1);
        this.low[axis] = Math.min(this.low[axis], rootOf[3 * f + 2 * axis]);
        this.high[axis] = Math.max(this.high[axis], rootOf[3 * f + 2 * axis]);
      }
    }
    this.tall = 0;
    for (let f = 0; f < frames; f++) this.tall = Math.max(this.tall, rootOf[3 * f + 1]);
  }

  /** Frame, next frame and share of the way between them. */
  between(seconds) {
    const exact = Math.min(Math.max(seconds * this.fps, 0), this.frames - 1);
    const nearest = Math.round(exact);
    if (Math.abs(exact - nearest) < 1e-4) return [nearest, nearest, 0];
    const first = Math.floor(exact);
    return [first, Math.min(first + 1, this.frames - 1), exact - first];
  }

  at(seconds) {
    if (seconds === this.now) return this;
    this.now = seconds;
    const [a, b, share] = this.between(seconds), keep = 1 - share;
    const { rootOf, pointsOf, turnsOf, points, turns, step, shift } = this;
    const root = [0, 1, 2].map((k) => keep * rootOf[3 * a + k] + share * rootOf[3 * b + k]);
    root[0] += shift[0];
    root[2] += shift[1];
    const wide = 3 * this.balls;
    for (let k = 0; k < wide; k++)
      points[k] = root[k % 3] + step * (keep * pointsOf[a * wide + k] + share * pointsOf[b * wide + k]);
    const many = 4 * this.joints;
    for (let j = 0; j < many; j += 4) {
      const p = a * many + j, q = b * many + j;
      let dot = 0;
      for (let k = 0; k < 4; k++) dot += turnsOf[p + k] * turnsOf[q + k];
      const sign = dot < 0 ? -share : share;
      const w = keep * turnsOf[p] + sign * turnsOf[q], x = keep * turnsOf[p + 1] + sign * turnsOf[q + 1];
      const y = keep * turnsOf[p + 2] + sign * turnsOf[q + 2], z = keep * turnsOf[p + 3] + sign * turnsOf[q + 3];
      const size = Math.hypot(w, x, y, z) || 1;
      turns[j] = x / size; turns[j + 1] = y / size; turns[j + 2] = z / size; turns[j + 3] = w / size;
    }
    return this;
  }

  /** x and z of the calm way at a moment. */
  way(seconds) {
    const [a, b, share] = this.between(seconds);
    return [0, 1].map((k) => this.shift[k] + (1 - share) * this.path[2 * a + k] + share * this.path[2 * b + k]);
  }

  /** Position of one ball in one frame. */
  ball(frame, ball) {
    const k = 3 * (frame * this.balls + ball);
    return [0, 1, 2].map((axis) => this.rootOf[3 * frame + axis] + this.step * this.pointsOf[k + axis]
      + (axis === 1 ? 0 : this.shift[axis / 2]));
  }

  /** Whether a foot (0 left, 1 right) is down at a moment. */
  down(foot, seconds) {
    const frame = Math.min(Math.floor(Math.max(seconds, 0) * this.fps + 1e-3), this.frames - 1);
    return this.contacts[foot].some(([first, after]) => frame >= first && frame < after);
  }
}

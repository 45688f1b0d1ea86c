// Time of the page: one for all motions, in frames of the quickest of them.

export class Clock {
  constructor(tracks) {
    this.fps = Math.max(...tracks.map((track) => track.fps));
    this.duration = Math.max(...tracks.map((track) => track.duration));
    this.last = Math.max(0, Math.round(this.duration * this.fps));
    this.seconds = 0;
    this.speed = 1;
    this.loop = true;
    this.playing = false;
    this.hold = 0;
  }

  get frame() {
    return Math.min(this.last, Math.round(this.seconds * this.fps));
  }

  seek(frame) {
    this.seconds = Math.min(Math.max(Math.round(frame), 0), this.last) / this.fps;
    this.hold = 0;
  }

  play(yes) {
    if (yes && this.seconds >= this.last / this.fps - 1e-6) this.seconds = 0;
    if (!yes) this.seek(this.seconds * this.fps); // stopped on a whole frame
    this.playing = yes && this.last > 0;
    this.hold = 0;
  }

  /** Time goes on by `passed` seconds; at the end it rests for half a second before it begins again. */
  tick(passed) {
    if (!this.playing) return;
    const end = this.last / this.fps;
    if (this.seconds < end) {
      this.seconds = Math.min(this.seconds + Math.min(passed, 0.25) * this.speed, end);
      if (this.seconds >= end && !this.loop) this.playing = false;
    } else if ((this.hold += passed) > 0.5) {
      this.seconds = 0;
      this.hold = 0;
    }
  }
}

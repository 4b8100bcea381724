// The microphone: its last seconds, one channel, as raw as the browser gives them.

import { Resampler } from "./resample.js";
import { Unusable } from "./sound.js";

const REFUSED = {
  NotAllowedError:
    "The microphone was refused. Allow it for this page (the sign beside the address), then press the button again, or choose a file.",
  NotFoundError: "This device has no microphone that the browser can find. Plug one in, or choose a file.",
  NotReadableError: "The microphone does not answer; another program may be using it. Close that, or choose a file.",
};

export class Microphone {
  /** Ask for the microphone and begin to record. */
  static async open(model) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Unusable(
        `Browsers give the microphone to pages from https:// or localhost only, and this one is from ${location.origin}. ` +
          "Open it through one of them, or choose a file.",
      );
    }
    let stream;
    try {
      // What calls are improved by is damage here: the networks learnt from sound as it is.
      const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
    } catch (error) {
      throw new Unusable(REFUSED[error.name] ?? `The microphone cannot be used: ${error.message || error.name}.`);
    }
    const microphone = new Microphone(stream, model);
    try {
      await microphone.record();
    } catch (error) {
      await microphone.close();
      throw error;
    }
    return microphone;
  }

  constructor(stream, model) {
    this.stream = stream;
    this.model = model;
    this.heard = 0; // samples since the beginning
    this.ended = new Promise((done) => stream.getTracks()[0].addEventListener("ended", done, { once: true }));
  }

  async record() {
    this.context = new AudioContext(); // at the device's own rate
    this.rate = this.context.sampleRate;
    const { sample_rate_hz, samples, resampler } = this.model;
    const [first, last] = new Resampler(this.rate, sample_rate_hz, resampler).needs(0, samples);
    this.ring = new Float32Array(last - first);
    await this.context.audioWorklet.addModule("recorder.js");
    const recorder = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    recorder.port.onmessage = ({ data }) => this.keep(data);
    this.context.createMediaStreamSource(this.stream).connect(recorder);
    await this.context.resume();
  }

  keep(block) {
    let at = this.heard % this.ring.length;
    for (const sample of block) {
      this.ring[at] = sample;
      at = at + 1 === this.ring.length ? 0 : at + 1;
    }
    this.heard += block.length;
  }

  get seconds() {
    return this.heard / this.rate;
  }

  /** `count` samples from `start`, counted since the beginning; what is no longer or not yet known is 0. */
  stretch(start, count) {
    const found = new Float32Array(count);
    const first = Math.max(start, this.heard - this.ring.length, 0);
    for (let i = first; i < Math.min(start + count, this.heard); i++) found[i - start] = this.ring[i % this.ring.length];
    return found;
  }

  /** How much must have been heard for one window. */
  get secondsNeeded() {
    return this.ring.length / this.rate;
  }

  /** The last window, as the worker takes it. */
  window() {
    const stretch = this.stretch(this.heard - this.ring.length, this.ring.length);
    return { stretch, rate: this.rate, start: 0, count: this.model.samples };
  }

  async close() {
    for (const track of this.stream.getTracks()) track.stop();
    await this.context?.close();
  }
}

// Another sample rate, with the filters that Python takes, so that both hear the same.

const MOST_TAPS = 4e6; // of one table: rates without a common divisor would need more

/** From one rate to another by a windowed sinc; the waveform is 0 beyond its ends. */
export class Resampler {
  /** `kind` is "soxr_hq" or "sinc_hann", as in the front end. */
  constructor(from, to, kind) {
    const common = divisor(from, to);
    this.step = from / common;
    this.phases = to / common;
    this.kernel = kernelOf(kind, Math.min(1, to / from));
    this.reach = from === to ? 0 : Math.ceil(this.kernel.reach);
    this.taps = 2 * this.reach + 1;
    this.possible = Number.isInteger(this.step) && this.taps * this.phases <= MOST_TAPS;
  }

  /** First and last input sample (exclusive) that so many outputs are made of. */
  needs(start, count) {
    const first = Math.floor((start * this.step) / this.phases);
    const last = Math.floor(((start + count - 1) * this.step) / this.phases);
    return [first - this.reach, last + this.reach + 1];
  }

  /** `count` output samples from `start`, out of the input that they need. */
  resampled(stretch, start, count) {
    if (this.reach === 0) return stretch;
    this.table ??= this.filters();
    const { step, phases, taps, table } = this;
    const base = Math.floor((start * step) / phases);
    const found = new Float32Array(count);
    for (let n = 0; n < count; n++) {
      const place = (start + n) * step;
      const first = Math.floor(place / phases) - base;
      const filter = (place % phases) * taps;
      let sum = 0;
      for (let i = 0; i < taps; i++) sum += table[filter + i] * stretch[first + i];
      found[n] = sum;
    }
    return found;
  }

  /** One filter for each place that an output can have between two inputs. */
  filters() {
    const table = new Float32Array(this.taps * this.phases);
    for (let phase = 0; phase < this.phases; phase++) {
      for (let i = 0; i < this.taps; i++) {
        table[phase * this.taps + i] = this.kernel.at(i - this.reach - phase / this.phases);
      }
    }
    return table;
  }
}

/** What follows a sound that is too short: silence, or itself from its start again. */
export function filledUp(waveform, samples, pad) {
  if (waveform.length >= samples) return waveform;
  const filled = new Float32Array(samples);
  for (let at = 0; at < samples; at += waveform.length) {
    filled.set(waveform.subarray(0, samples - at), at);
    if (pad !== "repeat") break;
  }
  return filled;
}

/** Filter over time, in input samples; `low` is the lower rate over that of the input. */
function kernelOf(kind, low) {
  if (kind === "sinc_hann") {
    const cutoff = 0.99 * low;
    const reach = 6 / cutoff;
    const at = (t) => (Math.abs(t) < reach ? cutoff * sinc(cutoff * t) * Math.cos((Math.PI * t) / (2 * reach)) ** 2 : 0);
    return { reach, at };
  }
  // libsoxr at quality HQ: 20 bits of rejection, a band that passes up to 91.4 % of the lower rate's half.
  const rejection = 120.4;
  const passed = 0.9136;
  const cutoff = (low * (1 + passed)) / 2;
  const reach = (rejection - 7.95) / (2.285 * Math.PI * low * (1 - passed)) / 2;
  const beta = 0.1102 * (rejection - 8.7);
  const whole = bessel(beta);
  const at = (t) =>
    Math.abs(t) < reach ? (cutoff * sinc(cutoff * t) * bessel(beta * Math.sqrt(1 - (t / reach) ** 2))) / whole : 0;
  return { reach, at };
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** The modified Bessel function of order 0, by its series. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

// A picture of a sound: time to the right, frequency upwards (logarithmic), level as colour.

const RANGE_DB = 75;
const LIVE_TOP_DB = -25;
const LOWEST_HZ = 60;
const TICKS_HZ = [100, 300, 1000, 3000, 10000];

export class Spectrogram {
  constructor(canvas, ticks) {
    this.canvas = canvas;
    this.ticks = ticks;
    this.pen = canvas.getContext("2d");
    this.redraw = () => {};
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    let width = 0;
    new ResizeObserver(([{ contentRect }]) => {
      if (Math.abs(contentRect.width - width) < 1) return; // phones change the height while they scroll
      width = contentRect.width;
      this.redraw();
    }).observe(canvas);
  }

  /** Draw a whole sound into the width that there is. */
  drawWhole(waveform, rate) {
    this.redraw = () => {
      const { width } = this.prepare(rate);
      const columns = Array.from({ length: width }, (_, x) => this.column(waveform, ((x + 0.5) / width) * waveform.length));
      const top = columns.reduce((most, column) => column.reduce((a, b) => Math.max(a, b), most), -Infinity);
      columns.forEach((column, x) => this.paint(column, x, top));
    };
    this.redraw();
  }

  /** Begin a picture that moves to the left, and shows so many seconds. */
  begin(rate, seconds) {
    this.redraw = () => {
      const { width } = this.prepare(rate);
      this.hop = (seconds * rate) / width;
      this.drawn = -Infinity;
    };
    this.redraw();
  }

  /** Append what a microphone has heard since the last time. */
  append(microphone) {
    const { width, height } = this.canvas;
    const last = Math.floor((microphone.heard - this.length / 2) / this.hop);
    const due = Math.min(Math.max(0, last - this.drawn), width);
    this.drawn = last;
    if (!due) return;
    this.pen.drawImage(this.canvas, due, 0, width - due, height, 0, 0, width - due, height);
    for (let x = 0; x < due; x++) {
      const middle = Math.round((last - due + 1 + x) * this.hop);
      const heard = microphone.stretch(middle - this.length / 2, this.length);
      this.paint(this.column(heard, this.length / 2), width - due + x, LIVE_TOP_DB);
    }
  }

  prepare(rate) {
    const scale = Math.min(devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * scale));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * scale));
    Object.assign(this.canvas, { width, height });
    this.length = 2 ** Math.round(Math.log2(rate * 0.04)); // 2048 at 44.1 kHz
    this.fourier = new Fourier(this.length);
    this.bands = bandsOf(height, rate, this.length);
    this.colours = coloursOf(getComputedStyle(this.canvas));
    this.pen.fillStyle = `rgb(${this.colours.slice(0, 3).join()})`;
    this.pen.fillRect(0, 0, width, height);
    this.strip = this.pen.createImageData(1, height);
    this.showTicks(rate);
    return { width };
  }

  /** Level of each row in dB, top row first, around one sample. */
  column(waveform, middle) {
    const first = Math.round(middle) - this.length / 2;
    const power = this.fourier.power((i) => waveform[first + i] ?? 0);
    return this.bands.map(([low, high]) => {
      let most = 0;
      for (let bin = low; bin <= high; bin++) most = Math.max(most, power[bin]);
      return 10 * Math.log10(most + 1e-12);
    });
  }

  paint(column, x, top) {
    const { data } = this.strip;
    column.forEach((level, y) => {
      const place = Math.max(0, Math.min(255, Math.round((255 * (level - top + RANGE_DB)) / RANGE_DB)));
      for (let part = 0; part < 3; part++) data[4 * y + part] = this.colours[3 * place + part];
      data[4 * y + 3] = 255;
    });
    this.pen.putImageData(this.strip, x, 0);
  }

  showTicks(rate) {
    const marks = TICKS_HZ.filter((frequency) => frequency < 0.4 * rate).map((frequency) => {
      const mark = document.createElement("span");
      mark.textContent = frequency < 1000 ? `${frequency} Hz` : `${frequency / 1000} kHz`;
      mark.style.bottom = `${(100 * Math.log(frequency / LOWEST_HZ)) / Math.log(rate / 2 / LOWEST_HZ)}%`;
      return mark;
    });
    this.ticks.replaceChildren(...marks);
  }
}

/** First and last bin of each row. */
function bandsOf(height, rate, length) {
  const ratio = rate / 2 / LOWEST_HZ;
  const bin = (y) => (LOWEST_HZ * ratio ** (1 - y / height) * length) / rate;
  return Array.from({ length: height }, (_, y) => {
    const low = Math.round(bin(y + 1));
    return [low, Math.max(low, Math.min(length / 2, Math.round(bin(y)) - 1))];
  });
}

/** 256 colours from the page's own: quiet is its background, loud its accent, and louder its ink. */
function coloursOf(style) {
  const stops = ["--raised", "--accent", "--ink"].map((name) => {
    const digits = style.getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16));
  });
  const colours = new Uint8Array(3 * 256);
  for (let place = 0; place < 256; place++) {
    const at = (place / 255) ** 1.3 * 2;
    const [from, to] = at < 1 ? [stops[0], stops[1]] : [stops[1], stops[2]];
    const share = at < 1 ? at : at - 1;
    for (let part = 0; part < 3; part++) colours[3 * place + part] = from[part] + share * (to[part] - from[part]);
  }
  return colours;
}

/** Power spectrum of a frame under a Hann window, by the fast Fourier transform of radix 2. */
class Fourier {
  constructor(length) {
    this.length = length;
    this.real = new Float64Array(length);
    this.imaginary = new Float64Array(length);
    this.cosine = Float64Array.from({ length: length / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / length));
    this.sine = Float64Array.from({ length: length / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / length));
    this.window = Float64Array.from({ length }, (_, i) => (1 - Math.cos((2 * Math.PI * i) / length)) * (2 / length));
    const bits = Math.log2(length);
    this.order = Uint32Array.from({ length }, (_, i) => {
      let turned = 0;
      for (let bit = 0; bit < bits; bit++) turned |= ((i >> bit) & 1) << (bits - 1 - bit);
      return turned;
    });
  }

  power(sample) {
    const { length, real, imaginary, cosine, sine } = this;
    for (let i = 0; i < length; i++) real[this.order[i]] = sample(i) * this.window[i];
    imaginary.fill(0);
    for (let half = 1; half < length; half *= 2) {
      const step = length / (2 * half);
      for (let start = 0; start < length; start += 2 * half) {
        for (let i = 0; i < half; i++) {
          const [a, b] = [start + i, start + i + half];
          const [c, s] = [cosine[i * step], sine[i * step]];
          const turnedReal = real[b] * c - imaginary[b] * s;
          const turnedImaginary = real[b] * s + imaginary[b] * c;
          real[b] = real[a] - turnedReal;
          imaginary[b] = imaginary[a] - turnedImaginary;
          real[a] += turnedReal;
          imaginary[a] += turnedImaginary;
        }
      }
    }
    return real.subarray(0, length / 2 + 1).map((value, i) => value * value + imaginary[i] * imaginary[i]);
  }
}

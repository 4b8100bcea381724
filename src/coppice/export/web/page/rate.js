// The sample rate that a file has itself: browsers tell it only after they have changed it.

const MP3_HZ = [44100, 48000, 32000];

/** Rate in Hz of a WAV, FLAC, OGG or MP3 file; undefined where it does not say so plainly. */
export function rateOf(buffer) {
  const view = new DataView(buffer);
  try {
    return wavRate(view) ?? oggRate(view) ?? flacRate(view) ?? mp3Rate(view);
  } catch (error) {
    if (error instanceof RangeError) return undefined; // a file that ends too early; decoding says what is wrong
    throw error;
  }
}

const text = (view, at, length) => String.fromCharCode(...new Uint8Array(view.buffer, at, length));

function wavRate(view) {
  if (!["RIFF", "RF64"].includes(text(view, 0, 4))) return undefined;
  let at = 12;
  while (text(view, at, 4) !== "fmt ") at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2);
  return view.getUint32(at + 12, true);
}

function flacRate(view, at = tagged(view)) {
  if (text(view, at, 4) !== "fLaC") return undefined;
  return view.getUint32(at + 18) >>> 12;
}

function oggRate(view) {
  if (text(view, 0, 4) !== "OggS") return undefined;
  const first = 27 + view.getUint8(26);
  if (text(view, first, 7) === "\x01vorbis") return view.getUint32(first + 12, true);
  if (text(view, first, 8) === "OpusHead") return 48000;
  if (text(view, first, 5) === "\x7fFLAC") return flacRate(view, first + 9);
  return undefined;
}

function mp3Rate(view) {
  const at = tagged(view);
  const head = view.getUint32(at);
  const [version, layer, rate] = [(head >>> 19) & 3, (head >>> 17) & 3, (head >>> 10) & 3];
  if (head >>> 21 !== 0x7ff || version === 1 || layer === 0 || rate === 3) return undefined;
  return MP3_HZ[rate] / [4, 1, 2, 1][version];
}

/** Where a file begins behind the tags that may stand before it. */
function tagged(view) {
  if (text(view, 0, 3) !== "ID3") return 0;
  const bytes = [6, 7, 8, 9].map((at) => view.getUint8(at));
  return 10 + bytes.reduce((size, byte) => size * 128 + byte, 0);
}

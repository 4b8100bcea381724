// From a file to what the networks hear: one channel, in windows of their length.

import { rateOf } from "./rate.js";
import { Resampler } from "./resample.js";

export const MOST_SECONDS = 20 * 60;
const MOST_BYTES = 500e6;
// As in Python: a recorder that was too loud cuts crests off, so that some samples in a row stand at full scale.
const FULL_SCALE = 0.9999;
const FLAT = 3;

/** A sound that cannot be used, with the sentence that says why. */
export class Unusable extends Error {}

/** Length of what a media element plays in seconds: NaN where it cannot play it, infinite where the file does not say. */
export function secondsOf(player) {
  return new Promise((done) => {
    const end = () => done(player.error ? NaN : player.duration);
    for (const event of ["loadedmetadata", "error"]) player.addEventListener(event, end, { once: true });
    setTimeout(() => done(NaN), 5000);
  });
}

/**
 * Decode a file at its own rate: the mean over its channels, that rate, and remarks. Where the file does not say its
 * rate, or it is an odd one, the browser brings it to the networks' rate in its own way.
 */
export async function decode(file, model) {
  if (file.size === 0) throw new Unusable(`${file.name} is empty: it has 0 bytes.`);
  if (file.size > MOST_BYTES) {
    throw new Unusable(`${file.name} has more than 500 MB, too much for a page; use “coppice classify”.`);
  }
  const content = await file.arrayBuffer();
  const context = contextAt(rateOf(content), model);
  let decoded;
  try {
    decoded = await context.decodeAudioData(content);
  } catch {
    throw new Unusable(`${file.name} cannot be decoded by this browser; give a WAV, FLAC, OGG or MP3 that is whole.`);
  }
  const { waveform, remarks } = meanOfChannels(decoded);
  if (!waveform.some((sample) => sample !== 0)) throw new Unusable(`${file.name} is silent: every sample is 0.`);
  const rate = context.sampleRate;
  if (rate !== model.sample_rate_hz) remarks.unshift(`resampled from ${rate} Hz to ${model.sample_rate_hz} Hz`);
  return { waveform, rate, remarks };
}

/** A context whose rate is the file's, where it can be: what it decodes, it brings to that. */
function contextAt(rate, model) {
  if (rate && new Resampler(rate, model.sample_rate_hz, model.resampler).possible) {
    try {
      return new OfflineAudioContext(1, 1, rate);
    } catch {
      // a rate that this browser does not have
    }
  }
  return new OfflineAudioContext(1, 1, model.sample_rate_hz);
}

/**
 * Windows as `coppice classify` cuts them: no overlap, the last one ends where the sound ends; a sound that is too
 * short gives one. Each is a function, so that a long sound is not copied at once, to what the worker makes it of.
 */
export function cutIntoWindows(waveform, rate, model) {
  const resampler = new Resampler(rate, model.sample_rate_hz, model.resampler);
  const whole = Math.round((waveform.length * model.sample_rate_hz) / rate);
  const count = Math.min(whole, model.samples);
  const starts = [];
  for (let start = 0; start < whole - count; start += count) starts.push(start);
  starts.push(whole - count);
  const windows = starts.map((start) => () => {
    const [first, last] = resampler.needs(start, count);
    const stretch = new Float32Array(last - first);
    stretch.set(waveform.subarray(Math.max(0, first), last), Math.max(0, -first));
    return { stretch, rate, start, count };
  });
  return { windows, padded: whole < model.samples };
}

/** The mean, with 0 for samples that are not numbers, and what a listener should know of the sound. */
function meanOfChannels(buffer) {
  const mean = new Float32Array(buffer.length);
  let [bad, flat] = [0, false];
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    let inRow = 0;
    for (let i = 0; i < samples.length; i++) {
      const sample = samples[i];
      if (Number.isFinite(sample)) mean[i] += sample / buffer.numberOfChannels;
      else bad++;
      inRow = Math.abs(sample) >= FULL_SCALE ? inRow + 1 : 0;
      flat ||= inRow >= FLAT;
    }
  }
  const remarks = [];
  if (bad) remarks.push(`${bad} samples that are not numbers taken as 0`);
  if (flat) remarks.push("clipped: it was recorded too loud");
  return { waveform: mean, remarks };
}

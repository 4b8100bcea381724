// In the worker: a stretch of sound in, brought to the networks' rate; posteriors out, by ONNX Runtime Web.

import { Resampler, filledUp } from "./resample.js";
import * as ort from "./runtime/ort.wasm.bundle.min.js";

ort.env.wasm.numThreads = 1; // more would need headers that a static server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("./runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

// Browsers round their clocks to a millisecond, so that a block of runs is timed, not one.
const BLOCK_MS = 25;

const sessions = [];
const resamplers = new Map();
let model, noise;

async function run(session, waveform) {
  const clip = new ort.Tensor("float32", waveform, [1, waveform.length]);
  const { posteriors } = await session.run({ [session.inputNames[0]]: clip }, ["posteriors"]);
  return posteriors.data;
}

const verbs = {
  async load(described) {
    model = described;
    noise = Float32Array.from({ length: model.samples }, () => 0.1 * (Math.random() - 0.5));
    for (const { file } of model.models) {
      const answered = await fetch(file);
      if (!answered.ok) throw new Error(`${file} is missing beside this page; export it again`);
      const content = new Uint8Array(await answered.arrayBuffer());
      const session = await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
      await run(session, noise);
      sessions.push(session);
    }
  },

  async hear({ stretch, rate, start, count }) {
    if (!resamplers.has(rate)) resamplers.set(rate, new Resampler(rate, model.sample_rate_hz, model.resampler));
    const waveform = filledUp(resamplers.get(rate).resampled(stretch, start, count), model.samples, model.pad);
    const heard = [];
    for (const session of sessions) heard.push(await run(session, waveform));
    return heard;
  },

  async time({ which }) {
    const begin = performance.now();
    let runs = 0;
    let passed;
    do {
      await run(sessions[which], noise);
      runs++;
      passed = performance.now() - begin;
    } while (passed < BLOCK_MS);
    return passed / runs;
  },
};

// One after the other: a session runs one clip at a time.
let before = Promise.resolve();

self.onmessage = ({ data: { id, verb, what } }) => {
  before = before.then(async () => {
    try {
      self.postMessage({ id, result: await verbs[verb](what) });
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};

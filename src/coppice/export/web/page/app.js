// The page: a sound goes in, by file or by microphone; what the networks say of it is shown.

import { Bars, Tiles, inWords } from "./answers.js";
import { Microphone } from "./microphone.js";
import { Networks } from "./networks.js";
import { MOST_SECONDS, Unusable, cutIntoWindows, decode, secondsOf } from "./sound.js";
import { Spectrogram } from "./spectrogram.js";

const element = (id) => document.getElementById(id);
const player = element("player");
const spectrogram = new Spectrogram(element("spectrogram"), element("frequencies"));

let model, networks, tiles, bars, microphone;
let job = 0; // what is heard now: answers to older jobs are thrown away

function say(text) {
  // Screen readers speak a text again only where it differs.
  if (element("status").textContent !== text) element("status").textContent = text;
}

function warn(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
  if (text) say("");
}

function plain(error) {
  if (error instanceof Unusable) return error.message;
  return `This did not work here: ${error.message || error}. Another browser may do better.`;
}

function showSound(name, facts) {
  element("sound").hidden = false;
  element("sound-name").textContent = name;
  element("sound-facts").textContent = facts;
  element("spectrogram").setAttribute("aria-label", `Spectrogram of ${name}, ${facts}`);
}

function answer(posteriors) {
  tiles.answer(posteriors);
  bars.answer(posteriors);
}

// Files

async function hearFile(file) {
  const mine = ++job;
  document.body.dataset.state = "busy";
  await stopListening();
  warn("");
  say(`Reading ${file.name} …`);
  if (player.src) URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = true;
  try {
    const claimed = await secondsOf(player);
    if (mine !== job) return;
    if (Number.isFinite(claimed) && claimed > MOST_SECONDS) {
      throw new Unusable(
        `${file.name} is ${Math.round(claimed / 60)} minutes long, and this page hears up to ${MOST_SECONDS / 60}. ` +
          "Cut it, or use “coppice classify”, which takes any length.",
      );
    }
    const { waveform, rate, remarks } = await decode(file, model);
    if (mine !== job) return;
    player.hidden = Number.isNaN(claimed);
    const seconds = waveform.length / rate;
    const { windows, padded } = cutIntoWindows(waveform, rate, model);
    const length = `${seconds.toFixed(seconds < 100 ? 1 : 0)} s`;
    if (windows.length > 1) remarks.unshift(`mean of ${windows.length} windows of ${model.duration_s} s`);
    if (padded) remarks.unshift(`filled up to ${model.duration_s} s`);
    showSound(file.name, [length, ...remarks].join(", "));
    spectrogram.drawWhole(waveform, rate);
    const means = model.models.map(() => new Float64Array(model.labels.length));
    for (const [number, window] of windows.entries()) {
      if (windows.length > 1) say(`Hearing window ${number + 1} of ${windows.length} …`);
      const heard = await networks.hear(window());
      if (mine !== job) return;
      for (const [which, mean] of means.entries()) {
        for (let i = 0; i < mean.length; i++) mean[i] += (heard[which][i] - mean[i]) / (number + 1);
      }
      answer(means);
    }
    finish(means, file.name);
  } catch (error) {
    if (mine === job) fail(error);
  }
}

function finish(means, name) {
  say(`${name}: ${inWords(model, means)}`);
  document.body.dataset.state = "heard";
}

function fail(error) {
  if (!(error instanceof Unusable)) console.error(error);
  element("sound").hidden = true;
  tiles?.clear();
  bars?.clear();
  warn(plain(error));
  document.body.dataset.state = "failed";
}

// Microphone

async function listen() {
  const mine = ++job;
  warn("");
  say("Asking for the microphone …");
  document.body.dataset.state = "busy";
  player.hidden = true;
  player.pause();
  tiles.clear();
  bars.clear();
  try {
    const opened = await Microphone.open(model);
    if (mine !== job) return void opened.close();
    microphone = opened;
  } catch (error) {
    if (mine === job) fail(error);
    return;
  }
  document.body.classList.add("listening");
  element("listen-text").textContent = "Stop listening";
  showSound("Microphone", `the last ${model.duration_s} s, heard once a second`);
  spectrogram.begin(microphone.rate, model.duration_s);
  microphone.ended.then(() => mine === job && stopListening("The microphone was taken away."));
  draw(mine);
  await hearOften(mine);
}

function draw(mine) {
  if (mine !== job || !microphone) return;
  spectrogram.append(microphone);
  requestAnimationFrame(() => draw(mine));
}

async function hearOften(mine) {
  const length = microphone.secondsNeeded;
  let last = -Infinity;
  while (mine === job && microphone) {
    const seconds = microphone.seconds;
    if (seconds < length) {
      say(length > 2 ? `Listening: the first ${model.duration_s} s …` : "Listening …");
    } else if (seconds - last >= 1) {
      // The next window begins a second after this one did, or later where the device is slower than that.
      last = seconds;
      try {
        const window = microphone.window();
        const silent = window.stretch.every((sample) => sample === 0);
        const heard = silent ? null : await networks.hear(window);
        if (mine !== job) return;
        if (silent) {
          say("The microphone is silent: every sample is 0. Is it muted?");
        } else {
          answer(heard);
          say(`Microphone: ${inWords(model, heard, { numbers: false })}`);
          document.body.dataset.state = "heard";
        }
      } catch (error) {
        await stopListening();
        fail(error);
        return;
      }
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

async function stopListening(why = "") {
  if (!microphone) return;
  job += why ? 1 : 0;
  const former = microphone;
  microphone = undefined;
  document.body.classList.remove("listening");
  element("listen-text").textContent = "Use the microphone";
  await former.close();
  if (why) warn(why);
}

// Beginning

function connect() {
  const input = element("file");
  input.addEventListener("change", () => {
    if (input.files.length) hearFile(input.files[0]);
    input.value = ""; // the same file may be chosen again
  });
  element("listen").addEventListener("click", async () => {
    if (!microphone) return listen();
    job++;
    await stopListening();
    say("Stopped.");
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) hearFile(event.dataTransfer.files[0]);
  });
  input.disabled = element("listen").disabled = false;
}

async function begin() {
  const answered = await fetch("model.json");
  if (!answered.ok) throw new Unusable("model.json is missing beside this page; export it again.");
  model = await answered.json();
  tiles = new Tiles(element("tiles"), model);
  bars = new Bars(element("bars"), model);
  networks = await Networks.load(model);
  connect();
  say("Ready.");
  document.body.dataset.state = "ready";
  await networks.time((which, ms) => tiles.time(which, ms));
}

if (!document.documentElement.classList.contains("lacking")) begin().catch(fail);

// The networks, in a worker, so that the page stays alive while they compute.

const TIMINGS = 7;

export class Networks {
  /** Load every network of model.json; ready when each has run once. */
  static async load(model) {
    const networks = new Networks(model);
    await networks.ask("load", model);
    return networks;
  }

  constructor(model) {
    this.count = model.models.length;
    this.waiting = new Map();
    this.next = 0;
    this.worker = new Worker("worker.js", { type: "module" });
    this.worker.onmessage = ({ data }) => {
      const { done, failed } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      if (data.error) failed(new Error(data.error));
      else done(data.result);
    };
    this.worker.onerror = (event) => {
      for (const { failed } of this.waiting.values()) failed(new Error(event.message || "the worker did not start"));
      this.waiting.clear();
    };
  }

  ask(verb, what, moved = []) {
    const id = this.next++;
    return new Promise((done, failed) => {
      this.waiting.set(id, { done, failed });
      this.worker.postMessage({ id, verb, what }, moved);
    });
  }

  /** Posteriors of one window, from each network. Its samples are moved away. */
  hear(window) {
    return this.ask("hear", window, [window.stretch.buffer]);
  }

  /** Measure milliseconds for one clip, in turn, a little at a time: what is to be heard comes between. */
  async time(report) {
    const times = Array.from({ length: this.count }, () => []);
    for (let round = 0; round < TIMINGS; round++) {
      for (let which = 0; which < this.count; which++) {
        times[which].push(await this.ask("time", { which }));
        await new Promise((done) => setTimeout(done, 20));
      }
    }
    for (const [which, found] of times.entries()) report(which, found.sort((a, b) => a - b)[TIMINGS >> 1]);
  }
}

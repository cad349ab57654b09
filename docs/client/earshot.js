// A client of `earshot serve` for browsers: one file, nothing to build. See docs/api.md for what goes over the wire.
//
//   const earshot = new Earshot("https://example.org/", { key: null, model: "esc10" });
//   const said = await earshot.predict(file);                        // a File or Blob of audio
//   const listening = await earshot.listen({ onPrediction: (window) => console.log(window.answer) });
//   listening.stop();

const CHUNK_MS = 250;
const WEBM = "audio/webm;codecs=opus";

export class EarshotError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code; // as in docs/api.md: "busy", "too_long", ...
  }
}

export class Earshot {
  // server: where it is, with a slash at the end. model: null for its default.
  constructor(server, { key = null, model = null } = {}) {
    this.server = new URL(server);
    this.key = key;
    this.model = model;
  }

  models() {
    return this.#fetch("v1/models");
  }

  // What is in a file or blob: { duration_s, windows: [...], events: [...] }.
  predict(audio, { top = null } = {}) {
    const query = new URLSearchParams();
    if (this.model) query.set("model", this.model);
    if (top) query.set("top", top);
    return this.#fetch(`v1/predictions?${query}`, { method: "POST", body: audio });
  }

  // Listen to the microphone, or to `media`, a MediaStream of yours, until `stop()` is called on what this returns.
  //
  // onState, onPrediction, onEvent: get the server's messages. onEnd: why it ended. onError: an EarshotError; it is over.
  // format: "webm" (Opus, 4 kB a second) or "pcm16" (32 kB a second, for browsers that cannot record WebM).
  async listen({
    media = null, format = null, top = null,
    onState = () => {}, onPrediction = () => {}, onEvent = () => {}, onEnd = () => {}, onError = () => {},
  } = {}) {
    format ??= globalThis.MediaRecorder?.isTypeSupported(WEBM) ? "webm" : "pcm16";
    const own = media ? null : await openMicrophone();
    const address = new URL("v1/stream", this.server);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    let recorder = null;
    let over = false;

    const finish = (tell) => {
      if (over) return;
      over = true;
      recorder?.stop();
      own?.getTracks().forEach((track) => track.stop());
      socket.close();
      tell();
    };
    const fail = (code, message) => finish(() => onError(new EarshotError(code, message)));

    socket.onopen = async () => {
      try {
        recorder = await (format === "webm" ? recordWebm : recordPcm16)(media ?? own, (audio) => {
          if (socket.readyState === WebSocket.OPEN) socket.send(audio);
        });
      } catch (error) {
        fail("recorder", `The browser cannot record: ${error.message}`);
        return;
      }
      const start = { type: "start", format, model: this.model, key: this.key, top };
      if (recorder.sampleRate) start.sample_rate = recorder.sampleRate;
      socket.send(JSON.stringify(start));
      recorder.start();
    };
    const handlers = {
      state: onState,
      prediction: onPrediction,
      event: onEvent,
      ended: ({ message }) => finish(() => onEnd(message)),
      error: ({ error }) => fail(error.code, error.message),
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      handlers[message.type]?.(message);
    };
    socket.onclose = ({ code }) => fail("closed", `The connection was closed (${code}); start again.`);

    return {
      stop: async () => {
        await recorder?.stop(); // what it still holds is sent first
        if (socket.readyState === WebSocket.OPEN) socket.send('{"type": "stop"}'); // the last predictions follow
        else finish(() => onEnd("Stopped."));
      },
    };
  }

  async #fetch(path, options = {}) {
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    let response;
    try {
      response = await fetch(new URL(path, this.server), { ...options, headers });
    } catch {
      throw new EarshotError("unreachable", `${this.server.origin} does not answer, or does not allow this page.`);
    }
    const body = await response.json();
    if (!response.ok) throw new EarshotError(body.error.code, body.error.message);
    return body;
  }
}

// What helps in a call harms here: the sounds that calls suppress are the ones we want to hear.
async function openMicrophone() {
  if (!navigator.mediaDevices) {
    throw new EarshotError("insecure", "Browsers give out the microphone over HTTPS or on localhost only.");
  }
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new EarshotError("microphone", `No microphone (${error.message}): allow it at the address bar.`);
  }
}

// A recorder is { start(), stop(), sampleRate? }; `stop` settles once everything has been handed to `send`.

async function recordWebm(media, send) {
  const recorder = new MediaRecorder(media, { mimeType: WEBM, audioBitsPerSecond: 64_000 });
  let sent = Promise.resolve(); // blobs are sent in the order in which they came
  recorder.ondataavailable = ({ data }) => {
    sent = sent.then(async () => send(await data.arrayBuffer()));
  };
  return {
    start: () => recorder.start(CHUNK_MS),
    stop: async () => {
      if (recorder.state === "inactive") return;
      const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
      recorder.stop();
      await stopped;
      await sent;
    },
  };
}

const WORKLET = `
registerProcessor("earshot-pcm16", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) {
      const pcm = new Int16Array(samples.length);
      samples.forEach((value, i) => { pcm[i] = Math.max(-1, Math.min(1, value)) * 32767; });
      this.port.postMessage(pcm.buffer, [pcm.buffer]);
    }
    return true;
  }
});`;

async function recordPcm16(media, send) {
  const context = new AudioContext();
  const module = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  await context.audioWorklet.addModule(module);
  URL.revokeObjectURL(module);
  const source = context.createMediaStreamSource(media);
  const worklet = new AudioWorkletNode(context, "earshot-pcm16", { channelCount: 1, channelCountMode: "explicit" });
  let held = []; // a message for every 128 samples would be a waste
  worklet.port.onmessage = ({ data }) => {
    held.push(data);
    if (held.length * 128 * 1000 >= CHUNK_MS * context.sampleRate) flush();
  };
  const flush = () => {
    if (held.length) send(new Blob(held));
    held = [];
  };
  return {
    sampleRate: context.sampleRate,
    start: () => source.connect(worklet).connect(context.destination),
    stop: async () => {
      if (context.state === "closed") return;
      source.disconnect();
      flush();
      await context.close();
    },
  };
}

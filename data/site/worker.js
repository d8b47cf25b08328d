// Paints in the background. The page starts two of these: one paints small and at once, one at full size.
const MARGIN = 8, HALF = 2, LEAD = [MARGIN, MARGIN - HALF]; // pixels: nstlib's mirrored margin, half a cell of the network
const sinc = (x) => (x ? Math.sin(x * Math.PI) / (x * Math.PI) : 1);
const LANCZOS = { bits: 2 ** 22, reach: 3, weight: (x) => sinc(x) * sinc(x / 3) };
const CUBIC = { reach: 2, weight: (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((2.5 - 0.5 * x) * x - 4) * x + 2) };
let ort, session, device, photo, scaled; // scaled: the photograph at the last size asked for

onmessage = async ({ data }) => {
  try {
    const answer = (await { start, show, paint }[data.task](data)) ?? {};
    postMessage(answer, answer.image ? [answer.image.data.buffer] : []);
  } catch (error) {
    postMessage({ error: String(error?.message ?? error).split("\n")[0] });
  }
};

async function start({ root }) { // the runtime, by WebGPU where there is one
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  device = adapter && !adapter.info?.isFallbackAdapter ? "webgpu" : "wasm"; // a GPU made of software is slower than none
  ort = await import(`${root}ort/ort.${device}.min.mjs`);
  ort.env.wasm.wasmPaths = `${root}ort/`;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
  const options = { logSeverityLevel: 3, extra: { session: { intra_op: { allow_spinning: "0" } } } }; // idle threads rest
  const by = (name) => ort.InferenceSession.create(`${root}studio.onnx`, { ...options, executionProviders: [name] });
  session = await by(device).catch((error) => {
    if (device === "wasm") throw error;
    return by((device = "wasm"));
  });
  return { device };
}

async function show({ bitmap, limit }) { // a new photograph, on white where it is transparent
  const { width, height } = fitted(bitmap, Math.min(limit, Math.max(bitmap.width, bitmap.height)));
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  Object.assign(pen, { imageSmoothingQuality: "high", fillStyle: "white" });
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  [photo, scaled] = [pen.getImageData(0, 0, width, height), null];
}

async function paint({ side, blend, passes, stroke }) {
  const began = performance.now(), share = (1 - blend[0]) / 2;
  if (scaled?.side !== side) scaled = { side, image: resized(photo, fitted(photo, side), LANCZOS) };
  let painting; // for larger strokes small at first, then twice as large, from painting and photograph together
  for (let times = stroke; times >= 1; times = times > 1 ? Math.max(1, times / 2) : 0) {
    const size = fitted(scaled.image, Math.max(scaled.image.width, scaled.image.height) / times);
    const image = resized(scaled.image, size, CUBIC), coarse = painting && resized(painting, size, CUBIC).data;
    const data = Float32Array.from(image.data, (value, i) => (coarse ? value + share * (coarse[i] - value) : value));
    painting = await painted({ ...size, data }, blend, passes);
  }
  const image = new ImageData(Uint8ClampedArray.from(painting.data), painting.width);
  return { image, device, ms: performance.now() - began };
}

// nstlib's `paint`: a mirrored margin; of two passes, half a cell apart, the mean; the margin off again.
async function painted(image, blend, passes) {
  const { width, height } = image, out = Float32Array.from(image.data), planes = [];
  const run = (picture) => session.run({ picture, blend: new ort.Tensor(blend, [1, blend.length]) });
  for (let pass = 0; pass < passes; pass++) planes.push((await run(padded(image, pass * HALF))).painting);
  for (let y = 0, to = 0; y < height; y++)
    for (let x = 0; x < width; x++, to += 4)
      for (let c = 0; c < 3; c++) {
        const value = ({ data, dims: [, , h, w] }, pass) => data[(c * h + y + LEAD[pass]) * w + x + LEAD[pass]];
        out[to + c] = (255 * planes.reduce((sum, plane, pass) => sum + value(plane, pass), 0)) / passes;
      }
  return { width, height, data: out };
}

function padded({ width, height, data }, skip) { // RGBA as planes in [0, 1]; `skip` fewer at the top and the left
  const [w, h] = [width, height].map((side) => side + 2 * MARGIN - skip), out = new Float32Array(3 * w * h);
  const mirror = (i, n) => ((i = Math.abs(i) % Math.max(1, 2 * n - 2)) < n ? i : 2 * n - 2 - i);
  for (let y = 0, to = 0; y < h; y++)
    for (let x = 0, row = mirror(y + skip - MARGIN, height) * width; x < w; x++, to++) {
      const from = 4 * (row + mirror(x + skip - MARGIN, width));
      for (let c = 0; c < 3; c++) out[c * w * h + to] = data[from + c] / 255;
    }
  return new ort.Tensor(out, [1, 3, h, w]);
}

const whole = (x) => Math.max(1, x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)); // halves to even, as Python
const fitted = ({ width, height }, long, scale = long / Math.max(width, height)) => // the size with this long side
  ({ width: whole(width * scale), height: whole(height * scale) });

// As Pillow does it, to the last bit of 8: first across, then down. Without `bits` in float, as torch does it.
function resized(image, { width, height }, filter) {
  if (image.width === width && image.height === height) return image;
  const across = resample(image.data, image.width, width, image.height, 4, 4 * image.width, 4 * width, filter);
  const data = resample(across, image.height, height, width, 4 * width, 4, 4, filter);
  return { width, height, data: data.map((value) => Math.min(255, Math.max(0, value))) };
}

function resample(data, from, to, lines, step, line, outLine, { bits, reach, weight }) { // along one side
  const scale = from / to, wide = Math.max(1, scale), out = new (bits ? Uint8ClampedArray : Float32Array)(4 * to * lines);
  const outStep = outLine === 4 ? step : 4, range = reach * wide;
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale, weights = [];
    const first = Math.max(0, Math.trunc(centre - range + 0.5)), last = Math.min(from, Math.trunc(centre + range + 0.5));
    for (let j = first; j < last; j++) {
      const x = Math.abs((j - centre + 0.5) * (1 / wide));
      weights.push(x < reach ? weight(x) : 0);
    }
    const sum = weights.reduce((a, b) => a + b, 0);
    const parts = weights.map((w) => (bits ? Math.trunc((w / sum) * bits + Math.sign(w) / 2) / bits : w / sum));
    for (let l = 0; l < lines; l++)
      for (let c = 0; c < 4; c++) {
        let value = 0;
        for (let j = 0, at = l * line + first * step + c; j < parts.length; j++, at += step) value += data[at] * parts[j];
        out[l * outLine + i * outStep + c] = bits ? Math.floor(value + 0.5) : value;
      }
  }
  return out;
}

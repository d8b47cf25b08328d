// The playground: what the reader touches. The painting is done in two workers (worker.js).
const QUICK = 256, LIMIT = 4096, REST = 250; // long side while a slider moves; largest photograph kept; milliseconds
const $ = (name) => document.getElementById(name), root = new URL(".", location.href).href;
const tiles = [...$("styles").children], styles = tiles.map((tile) => tile.value);
const corners = [...new Set(["starry_night", "great_wave", "stained_glass", "the_scream", ...styles])]
  .filter((name) => styles.includes(name)).slice(0, 4);
const point = { x: 0, y: 0 }; // on the map, whose corners have one style each
let photo, title, quick, full; // full is started once the first picture is to be painted at full size
let wanted = 0, shown = 0, timer; // wanted counts what was asked for; shown is twice that, and 1 more at full size

function painter() { // a worker with one task at a time; of the paintings asked for meanwhile only the last is done
  const code = `import ${JSON.stringify(`${root}worker.js`)}`; // from a blob: so it inherits the page's policy
  const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
  let queue = [], busy;
  const next = () => {
    if (!busy && (busy = queue.shift())) worker.postMessage(busy.task, busy.task.bitmap ? [busy.task.bitmap] : []);
  };
  worker.onmessage = ({ data }) => {
    data.error ? busy.reject(new Error(data.error)) : busy.resolve(data);
    busy = null;
    next();
  };
  worker.onerror = () => busy?.reject(new Error("the painter did not start"));
  const ask = (task) => new Promise((resolve, reject) => {
    if (task.task === "paint") queue = queue.filter((w) => w.task.task !== "paint" || w.resolve(null));
    queue.push({ task, resolve, reject });
    next();
  });
  ask({ task: "start", root }).catch(({ message }) => complain(`The network could not be loaded: ${message}. Load again.`));
  return ask;
}

function shares() { // of the four corners; bilinear between them
  const { x, y } = point;
  return [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
}

function changed() { // something moved: small at once, full size when it rests
  say();
  if (!photo) return;
  const mine = ++wanted, side = Math.min($("side").value, Math.max(photo.width, photo.height));
  $("save").disabled = true;
  clearTimeout(timer);
  const small = Math.min(QUICK, side), stroke = Number($("stroke").value);
  paint(quick, { side: small, passes: 1, stroke: Math.max(1, (stroke * small) / side) }, mine); // as large as at rest
  timer = setTimeout(async () => {
    $("busy").hidden = false;
    full ??= painter();
    if (full.photo !== photo) full({ task: "show", bitmap: await createImageBitmap((full.photo = photo)), limit: LIMIT });
    await paint(full, { side, passes: 2, stroke }, mine);
    $("busy").hidden = mine === wanted;
  }, REST);
}

async function paint(by, task, mine) {
  const strength = $("strength").value / 100, blend = new Float32Array(styles.length + 1); // the photograph, each style
  blend[0] = 1 - strength;
  shares().forEach((share, i) => (blend[1 + styles.indexOf(corners[i])] += strength * share));
  try {
    const asked = performance.now(), whole = by === full, answer = await by({ task: "paint", blend, ...task });
    if (!answer || 2 * mine + whole < shown) return;
    shown = 2 * mine + whole;
    const { width, height } = answer.image, seconds = (answer.ms / 1000).toPrecision(2);
    [$("after").width, $("after").height] = [width, height];
    $("after").getContext("2d").putImageData(answer.image, 0, 0);
    document.body.dataset.painted = JSON.stringify({ mine, whole, width, waited: performance.now() - asked });
    if (!whole || mine !== wanted) return;
    const way = answer.device === "webgpu" ? "WebGPU" : "WebAssembly";
    $("status").textContent = `Painted at ${width} × ${height} in ${seconds} s, by ${way} in this page.`;
    $("save").disabled = false;
  } catch (error) {
    complain(`This could not be painted: ${error.message}. Choose a smaller long side, or load the page again.`);
  }
}

function say() { // the numbers and words beside the controls
  const names = corners.map((name) => name.replaceAll("_", " "));
  const parts = shares().map((share, i) => [Math.round(100 * share), names[i]]).filter(([share]) => share);
  const words = parts.map(([share, name]) => (parts.length > 1 ? `${name} ${share} %` : name)).join(", ");
  $("mix").textContent = words;
  $("map").setAttribute("aria-valuetext", words);
  $("map").setAttribute("aria-valuenow", Math.round(100 * point.x));
  for (const axis of "xy") $("map").style.setProperty(`--${axis}`, point[axis]);
  $("map").querySelectorAll("img").forEach((img, i) => (img.src = tiles[styles.indexOf(corners[i])].firstChild.src));
  $("map").querySelectorAll("b").forEach((label, i) => (label.textContent = names[i]));
  for (const tile of tiles) {
    tile.setAttribute("aria-pressed", shares().some((share, i) => share > 0.5 && corners[i] === tile.value));
    tile.classList.toggle("cornered", corners.includes(tile.value));
  }
  document.querySelector("output[for=strength]").textContent = `${$("strength").value} %`;
  document.querySelector("output[for=stroke]").textContent = `× ${$("stroke").value}`;
}

const complain = (words) => ($("trouble").textContent = words);

async function take(source, name, button) { // a file, or the camera's video; button: of a sample
  const bitmap = await createImageBitmap(source).catch(() => null);
  if (!bitmap) return complain(`${name} is not a picture that this browser can read. Choose a JPEG, PNG, WebP or GIF.`);
  if (Math.min(bitmap.width, bitmap.height) < 16) return complain(`${name} is smaller than 16 pixels: choose another.`);
  complain("");
  for (const sample of $("photographs").children) sample.setAttribute("aria-pressed", sample === button);
  const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height)), small = $("before");
  [small.width, small.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  small.getContext("2d").drawImage(bitmap, 0, 0, small.width, small.height);
  $("frame").style.setProperty("--aspect", bitmap.width / bitmap.height);
  [$("after").width, photo, title] = [0, bitmap, name.replace(/\.\w+$/, "")];
  shown = 2 * wanted + 2; // paintings of the photograph before come too late
  quick({ task: "show", bitmap: await createImageBitmap(bitmap), limit: LIMIT });
  changed();
}

const sample = async (button) => take(await (await fetch(button.value)).blob(), button.value.replace(/.*\//, ""), button);
const given = ([file]) => file && take(file, file.name);
$("photographs").onclick = ({ target }) => target.closest("button") && sample(target.closest("button"));
$("file").onchange = () => (given([...$("file").files]), ($("file").value = "")); // the same file can be chosen again
document.ondragover = (event) => (event.preventDefault(), document.body.classList.add("over"));
document.ondragleave = () => document.body.classList.remove("over");
document.ondrop = (event) => (document.ondragleave(), event.preventDefault(), given(event.dataTransfer.files));
document.onpaste = (event) => given(event.clipboardData.files);

const video = document.querySelector("video");
$("camera").onclick = async () => {
  $("snap").disabled = true; // until there is a picture
  video.srcObject = await navigator.mediaDevices?.getUserMedia({ video: { facingMode: "environment" } }).catch(() => null);
  if (video.srcObject) return $("viewfinder").showModal();
  complain("There is no camera that this page may use. Allow it in the browser's settings, or choose a file.");
};
video.onplaying = () => ($("snap").disabled = false);
$("snap").onclick = async () => (await take(video, "camera.png"), $("viewfinder").close());
$("viewfinder").onclose = () => video.srcObject.getTracks().forEach((track) => track.stop());

for (const name of ["strength", "stroke", "side"]) $(name).oninput = changed;
$("wipe").oninput = () => $("frame").style.setProperty("--wipe", `${$("wipe").value}%`);

function move(x, y) {
  [point.x, point.y] = [x, y].map((value) => Math.min(1, Math.max(0, Math.round(100 * value) / 100)));
  changed();
}

$("styles").onclick = ({ target }) => { // this style alone: the point goes to its corner, or it takes the nearest one
  const name = target.closest("button")?.value, at = corners.indexOf(name);
  const corner = at < 0 ? Math.round(point.x) + 2 * Math.round(point.y) : at;
  if (name) corners[corner] = name, move(corner % 2, corner >> 1);
};

const follow = ({ clientX, clientY }, { left, top, width, height } = $("map").getBoundingClientRect()) =>
  move((clientX - left) / width, (clientY - top) / height);
$("map").onpointerdown = (event) => ($("map").setPointerCapture(event.pointerId), follow(event));
$("map").onpointermove = (event) => $("map").hasPointerCapture(event.pointerId) && follow(event);
$("map").onkeydown = (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!way) return;
  event.preventDefault();
  move(...["x", "y"].map((axis, i) => point[axis] + way[i] * (event.shiftKey ? 0.2 : 0.05)));
};

$("save").onclick = () => $("after").toBlob((blob) => {
  const href = URL.createObjectURL(blob), download = `${title}_painted.png`;
  Object.assign(document.createElement("a"), { href, download }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
});

async function served() { // by service.js, so that the runtime has all cores: on the first visit the page loads twice
  if (crossOriginIsolated || !navigator.serviceWorker || sessionStorage.served) return;
  const { installing: fresh } = await navigator.serviceWorker.register("service.js");
  if (fresh) await new Promise((done) => (fresh.onstatechange = () => fresh.state === "activated" && done()));
  sessionStorage.served = true; // once only, should a browser not give us the cores even so
  await new Promise(() => location.reload());
}

say();
await served().catch(() => {});
quick = painter();
await sample($("photographs").firstElementChild);

"use strict";
// MODEL and RUNTIME come from the two files beside this page.
const [HEIGHT, WIDTH, CHANNELS] = MODEL.image_shape;
const SIZE = HEIGHT * WIDTH * CHANNELS;
const LENGTH = MODEL.code_shape.reduce((a, b) => a * b, 1);
const STEPS = MODEL.code_shape.length > 1 ? MODEL.code_shape[0] : 1;
const PER_STEP = LENGTH / STEPS;
const NUM_COMPLETIONS = 4;
const GREY = 0.5;
const $ = (id) => document.getElementById(id);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// ---- numbers ----

const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const drawn = (length) => Float32Array.from({ length }, normal);
let code = drawn(LENGTH);
const ends = [drawn(LENGTH), drawn(LENGTH)];

// ---- the model ----

const sessions = {};

async function load() {
  ort.env.wasm.numThreads = 1; // more need headers that a file has not
  const address = (text, type) => URL.createObjectURL(new Blob([bytes(text)], { type }));
  ort.env.wasm.wasmPaths = {
    mjs: address(RUNTIME.glue, "text/javascript"),
    wasm: address(RUNTIME.wasm, "application/wasm"),
  };
  for (const name of Object.keys(MODEL.networks)) {
    sessions[name] = await ort.InferenceSession.create(bytes(MODEL.networks[name]));
  }
}

// One run at a time: a runtime of one thread cannot take two.
let last = Promise.resolve();
function run(name, inputs) {
  const mine = last.then(() => sessions[name].run(inputs));
  last = mine.catch(() => {});
  return mine;
}

function labels(count) {
  if (!MODEL.num_classes) return {};
  const chosen = Number($("label").value);
  return { labels: new ort.Tensor("int32", new Int32Array(count).fill(chosen), [count]) };
}

const noise = (values, count) => new ort.Tensor("float32", values, [count, ...MODEL.code_shape]);

// Pixels of codes, and the canvases on the way to them where the model draws in steps.
async function generate(values, count) {
  const name = MODEL.networks.canvases ? "canvases" : "generate";
  const made = await run(name, { noise: noise(values, count), ...labels(count) });
  if (name === "generate") return { pixels: made.pixels.data };
  const all = made.canvases.data;
  const pixels = new Float32Array(count * SIZE);
  for (let i = 0; i < count; i++) {
    const end = (i + 1) * STEPS * SIZE;
    pixels.set(all.subarray(end - SIZE, end), i * SIZE);
  }
  return { pixels, canvases: all };
}

// ---- pictures ----

function show(canvas, pixels) {
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  canvas.pixels = pixels; // the numbers themselves, for whoever asks
  const image = new ImageData(WIDTH, HEIGHT);
  for (let i = 0; i < HEIGHT * WIDTH; i++) {
    for (let c = 0; c < 3; c++) {
      const value = pixels[i * CHANNELS + (CHANNELS < 3 ? 0 : c)];
      image.data[4 * i + c] = Math.round(255 * Math.min(Math.max(value, 0), 1));
    }
    const alpha = CHANNELS === 4 ? pixels[i * CHANNELS + 3] : 1; // of four channels the last
    image.data[4 * i + 3] = Math.round(255 * Math.min(Math.max(alpha, 0), 1));
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const name_of_class = () => (MODEL.num_classes ? `, class ${$("label").selectedOptions[0].text}` : "");

function picture(label) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

// Do it now, or once more after what is being done: the newest state is what will be shown.
function latest(work) {
  let busy = false;
  let again = false;
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        await work();
      }
    } catch (error) {
      $("status").textContent = `The model failed: ${error.message}`;
      throw error;
    } finally {
      busy = false;
    }
  };
}

const draw = latest(async () => {
  const made = await generate(code, 1);
  show($("picture"), made.pixels);
  $("picture").setAttribute("aria-label", `Picture of the code${name_of_class()}`);
  if (!made.canvases) return;
  $("steps").hidden = false;
  for (let t = 0; t < STEPS; t++) {
    const canvas = $("steps").children[t] || $("steps").appendChild(picture(`Step ${t + 1}`));
    show(canvas, made.canvases.slice(t * SIZE, (t + 1) * SIZE));
  }
});

const interpolate = latest(async () => {
  const way = Number($("way").value);
  const all = new Float32Array(3 * LENGTH);
  for (let i = 0; i < LENGTH; i++) {
    all[i] = ends[0][i];
    all[LENGTH + i] = (1 - way) * ends[0][i] + way * ends[1][i];
    all[2 * LENGTH + i] = ends[1][i];
  }
  const { pixels } = await generate(all, 3);
  ["first", "between", "second"].forEach((id, i) => show($(id), pixels.slice(i * SIZE, (i + 1) * SIZE)));
  $("way").setAttribute("aria-valuetext", `${Math.round(100 * way)} per cent`);
});

// ---- the sliders ----

function make_sliders() {
  const first = PER_STEP * Number($("step").value || 0);
  $("sliders").replaceChildren();
  for (let i = 0; i < PER_STEP; i++) {
    const label = document.createElement("label");
    const number = document.createElement("span");
    number.className = "number";
    number.textContent = i + 1;
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: -4, max: 4, step: 0.05 });
    slider.value = code[first + i];
    slider.addEventListener("input", () => {
      code[first + i] = Number(slider.value);
      draw();
    });
    label.append(number, slider);
    $("sliders").append(label);
  }
}

function set_code(values) {
  code = values;
  make_sliders();
  draw();
}

function options(select, names) {
  names.forEach((name, value) => select.append(new Option(name, value)));
}

// ---- completion ----

let given = new Float32Array(SIZE);
let variants = drawn(NUM_COMPLETIONS * LENGTH);
let cursor = null;
let example = 0;
const MASKS = MODEL.masks || {};
const mask = () => MASKS[$("mask").value];

function show_given() {
  const visible = mask();
  show($("given"), given.map((value, i) => (visible[Math.floor(i / CHANNELS)] ? value : GREY)));
  if (!cursor) return;
  const context = $("given").getContext("2d");
  context.fillStyle = "rgba(80, 150, 255, 0.8)";
  context.fillRect(cursor[1], cursor[0], 1, 1);
}

const complete = latest(async () => {
  const n = NUM_COMPLETIONS;
  const images = new Float32Array(n * SIZE);
  const masks = new Float32Array((n * SIZE) / CHANNELS);
  for (let i = 0; i < n; i++) {
    images.set(given, i * SIZE);
    masks.set(mask(), (i * SIZE) / CHANNELS);
  }
  const made = await run("complete", {
    images: new ort.Tensor("float32", images, [n, HEIGHT, WIDTH, CHANNELS]),
    mask: new ort.Tensor("float32", masks, [n, HEIGHT, WIDTH]),
    noise: noise(variants, n),
    ...labels(n),
  });
  for (let i = 0; i < n; i++) {
    show($("completions").children[i], made.pixels.data.slice(i * SIZE, (i + 1) * SIZE));
  }
});

function redraw() {
  show_given();
  complete();
}

function paint(row, column) {
  const colour = $("colour").value;
  for (let r = row - 1; r <= row + 1; r++) {
    for (let c = column - 1; c <= column + 1; c++) {
      const place = r * WIDTH + c;
      if (r < 0 || c < 0 || r >= HEIGHT || c >= WIDTH || !mask()[place]) continue;
      const strength = r === row && c === column ? 1 : r === row || c === column ? 0.6 : 0.25;
      for (let k = 0; k < CHANNELS; k++) {
        const aim = $("erase").checked ? 0 : CHANNELS < 3 || k > 2 ? 1 : parseInt(colour.slice(1 + 2 * k, 3 + 2 * k), 16) / 255;
        const now = given[place * CHANNELS + k];
        const mixed = now + strength * (aim - now);
        const keep = !$("erase").checked && CHANNELS < 3 ? Math.max(now, strength) : mixed;
        given[place * CHANNELS + k] = keep;
      }
    }
  }
  redraw();
}

function cell(event) {
  const box = $("given").getBoundingClientRect();
  const row = Math.floor(((event.clientY - box.top) / box.height) * HEIGHT);
  const column = Math.floor(((event.clientX - box.left) / box.width) * WIDTH);
  return [row, column];
}

function start_completion() {
  $("complete").hidden = false;
  Object.keys(MASKS).forEach((name) => $("mask").append(new Option(name.replace(":", " "), name)));
  $("colour-choice").hidden = CHANNELS < 3;
  for (let i = 0; i < NUM_COMPLETIONS; i++) $("completions").append(picture(`Completion ${i + 1}`));
  const canvas = $("given");
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    from = cell(event);
    cursor = null;
    canvas.setPointerCapture(event.pointerId);
    paint(...from);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = cell(event);
    const count = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), 1);
    for (let i = 1; i <= count; i++) {
      paint(...[0, 1].map((axis) => Math.round(from[axis] + (i / count) * (to[axis] - from[axis]))));
    }
    from = to;
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!(event.key in moves) && event.key !== " ") return;
    event.preventDefault();
    cursor = cursor || [Math.floor(HEIGHT / 2), Math.floor(WIDTH / 4)];
    if (event.key === " ") {
      paint(...cursor);
    } else {
      const [down, right] = moves[event.key];
      cursor = [
        Math.min(Math.max(cursor[0] + down, 0), HEIGHT - 1),
        Math.min(Math.max(cursor[1] + right, 0), WIDTH - 1),
      ];
      show_given();
    }
    const where = mask()[cursor[0] * WIDTH + cursor[1]] ? "" : ", which the model adds";
    $("status").textContent = `Row ${cursor[0] + 1}, column ${cursor[1] + 1}${where}`;
  });
  canvas.addEventListener("blur", () => {
    cursor = null;
    show_given();
  });
  $("mask").addEventListener("change", redraw);
  $("clear").addEventListener("click", () => {
    given.fill(0);
    redraw();
  });
  $("example").addEventListener("click", () => {
    given = Float32Array.from(bytes(MODEL.examples[example]), (value) => value / 255);
    example = (example + 1) % MODEL.examples.length;
    redraw();
  });
  $("others").addEventListener("click", () => {
    variants = drawn(NUM_COMPLETIONS * LENGTH);
    complete();
  });
  $("example").click();
}

// ---- start ----

async function start() {
  try {
    await load();
  } catch (error) {
    $("status").textContent = `The model cannot be loaded: ${error.message}`;
    throw error;
  }
  if (MODEL.num_classes) {
    const names = MODEL.class_names || Array.from({ length: MODEL.num_classes }, (_, i) => i);
    options($("label"), names);
    $("class").hidden = false;
    $("label").addEventListener("change", () => {
      draw();
      interpolate();
      if (MODEL.networks.complete) complete();
    });
  }
  if (STEPS > 1) {
    if (MODEL.code_shape.length > 2) $("step").labels[0].textContent = "Row of the code";
    options($("step"), Array.from({ length: STEPS }, (_, i) => i + 1));
    $("step-choice").hidden = false;
    $("step").addEventListener("change", make_sliders);
  }
  $("random").addEventListener("click", () => set_code(drawn(LENGTH)));
  $("zero").addEventListener("click", () => set_code(new Float32Array(LENGTH)));
  $("way").addEventListener("input", interpolate);
  ["set-first", "set-second"].forEach((id, i) =>
    $(id).addEventListener("click", () => {
      ends[i] = code.slice();
      interpolate();
    }),
  );
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  document.querySelector("main").hidden = false;
  set_code(code);
  await interpolate();
  if (MODEL.networks.complete) start_completion();
  $("status").textContent = "Ready: everything below reacts at once.";
}

const ready = start();

// The skeleton player. `new HiclrPlayer(element, layout, {fps, label, autoplay})`, then `show([packed, ...])`:
// up to eight sequences beside each other with one clock and one camera. `hiclr.player` makes layout and sequences.
"use strict";

globalThis.HiclrPlayer = (() => {
  // Okabe and Ito's palette, as in hiclr.plots
  const COLOURS = { left: "#D55E00", right: "#0072B2", middle: "#404040" };
  const GRID = "#ececec", SHADOW = "#dcdcdc";
  const YAW = Math.PI / 9, PITCH = Math.PI / 18; // of the view that "reset" comes back to: 20 and 10 degrees
  const LARGEST = 1.4; // times the size of the first sequence; what is larger is drawn smaller and says so
  const STRIP = 6; // poses of a sequence in print
  const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
  const ICONS = { play: "M2 1l13 7-13 7z", pause: "M2 1h4v14h-4zM10 1h4v14h-4z" };
  const HELP = "Drag to turn, click and wheel to zoom. Keys: space, arrows, Home, End, + and −; Shift and arrows turn.";

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 16 16");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }

  // --- a sequence -----------------------------------------------------------------------------------------------

  /** Coordinates in metres, NaN where a joint is not there, and the cylinder in which the sequence moves. */
  function unpacked(packed) {
    const [frames, bodies, joints] = packed.shape;
    const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
    const steps = new DataView(bytes.buffer);
    const points = new Float32Array(bytes.length / 2);
    for (let i = 0; i < points.length; i++) {
      const step = steps.getInt16(2 * i, true);
      points[i] = step === -32768 ? NaN : packed.centre[i % 3] + packed.scale * step;
    }
    return { ...packed, frames, bodies, joints, points, ...extent(points) };
  }

  /** Middle, radius and half the height of nearly all points: a joint that flies off for a moment shrinks nothing. */
  function extent(points) {
    const bounds = [0, 1, 2].map((axis) => {
      const values = points.filter((value, i) => i % 3 === axis && !Number.isNaN(value)).sort();
      const cut = Math.floor(values.length / 500);
      return values.length ? [values[cut], values[values.length - 1 - cut]] : [0, 0];
    });
    const middle = bounds.map(([low, high]) => (low + high) / 2);
    const [x, y, z] = bounds.map(([low, high]) => (high - low) / 2);
    return { middle, radius: Math.max(Math.hypot(x, z), 0.2), rise: Math.max(y, 0.2), planar: z < 1e-6 };
  }

  /** The turn about the vertical from which the first body is seen from its front when it first shows. */
  function front(sequence, sides) {
    if (sequence.planar) return -YAW;
    for (let frame = 0; frame < sequence.frames; frame++) {
      const sum = { left: [0, 0, 0], right: [0, 0, 0], middle: [0, 0, 0] };
      for (let joint = 0; joint < sequence.joints; joint++) {
        const at = 3 * (frame * sequence.bodies * sequence.joints + joint);
        const [x, , z] = sequence.points.subarray(at, at + 3);
        if (Number.isNaN(x)) continue;
        const side = sum[sides[joint]];
        side[0] += x, side[1] += z, side[2] += 1;
      }
      const { left, right } = sum;
      if (left[2] && right[2]) {
        return Math.atan2(left[1] / left[2] - right[1] / right[2], left[0] / left[2] - right[0] / right[2]);
      }
    }
    return 0;
  }

  /** A function from metres to [across, down, towards the viewer], in pixels of a box. */
  function projection(sequence, camera, box, scale) {
    const [cosYaw, sinYaw, cosPitch, sinPitch] = [
      Math.cos(camera.yaw), Math.sin(camera.yaw), Math.cos(camera.pitch), Math.sin(camera.pitch)];
    const [middleX, middleY, middleZ] = sequence.middle;
    return (x, y, z) => {
      const dx = x - middleX, dy = y - middleY, dz = z - middleZ;
      const towards = dz * cosYaw - dx * sinYaw;
      return [
        box.x + box.width / 2 + scale * (dx * cosYaw + dz * sinYaw),
        box.y + box.height / 2 - scale * (dy * cosPitch - towards * sinPitch),
        dy * sinPitch + towards * cosPitch];
    };
  }

  // --- drawing --------------------------------------------------------------------------------------------------

  function line(context, from, to, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.lineTo(to[0], to[1]);
    context.stroke();
  }

  function dot(context, [x, y], radius, fill, stroke) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
    if (!stroke) return;
    context.strokeStyle = stroke;
    context.lineWidth = radius / 3;
    context.stroke();
  }

  /** The floor: squares of half a metre below where the sequence moves. */
  function drawFloor(context, sequence, project) {
    const [middleX, middleY, middleZ] = sequence.middle;
    const half = clamp(Math.ceil(sequence.radius / 0.5 + 0.5), 2, 20) / 2;
    const floor = middleY - sequence.rise;
    for (let at = -half; at <= half + 1e-9; at += 0.5) {
      line(context, project(middleX + at, floor, middleZ - half), project(middleX + at, floor, middleZ + half), GRID, 1);
      line(context, project(middleX - half, floor, middleZ + at), project(middleX + half, floor, middleZ + at), GRID, 1);
    }
  }

  /** One frame of all bodies: shadows on the floor, then bones and joints from the farthest to the nearest. */
  function drawPose(context, sequence, frame, layout, project, size) {
    const { bodies, joints, points } = sequence;
    const floor = sequence.middle[1] - sequence.rise;
    const width = clamp(size / 90, 1.2, 4);
    const parts = [];
    let ringed = false;
    for (let body = 0; body < bodies; body++) {
      const first = 3 * (frame * bodies + body) * joints;
      const places = [], shadows = [];
      for (let joint = 0; joint < joints; joint++) {
        const [x, y, z] = points.subarray(first + 3 * joint, first + 3 * joint + 3);
        places.push(Number.isNaN(x) ? null : project(x, y, z));
        shadows.push(Number.isNaN(x) ? null : project(x, floor, z));
      }
      const hollow = body > 0; // later bodies are drawn hollow, and all are numbered
      const ring = new Set();
      layout.parents.forEach((parent, joint) => {
        if (parent < 0) return;
        const [here, there] = [places[joint], places[parent]];
        if (here && there) {
          line(context, shadows[joint], shadows[parent], SHADOW, width);
          const colour = COLOURS[layout.sides[joint]];
          parts.push({ depth: (here[2] + there[2]) / 2, draw() {
            line(context, here, there, colour, hollow ? 2 * width : 1.4 * width);
            if (hollow) line(context, here, there, "#fff", width);
          } });
        } else if (here || there) ring.add(here ? joint : parent);
      });
      places.forEach((place, joint) => {
        if (!place) return;
        const colour = COLOURS[layout.sides[joint]];
        parts.push({ depth: place[2] + 0.01, draw() {
          if (ring.has(joint)) dot(context, place, 2.2 * width, "#fff", "#000");
          else if (hollow) dot(context, place, 1.3 * width, "#fff", colour);
          else dot(context, place, 1.2 * width, colour);
        } });
      });
      ringed ||= ring.size > 0;
      const shown = places.filter(Boolean);
      if (sequence.crowd && shown.length) {
        const top = shown.reduce((best, place) => (place[1] < best[1] ? place : best));
        parts.push({ depth: Infinity, draw() {
          context.fillStyle = COLOURS.middle;
          context.font = `600 ${clamp(size / 22, 10, 16)}px system-ui, sans-serif`;
          context.textAlign = "center";
          context.fillText(String(body + 1), top[0], top[1] - 3 * width - 2);
        } });
      }
    }
    parts.sort((a, b) => a.depth - b.depth).forEach((part) => part.draw());
    return ringed;
  }

  // --- the player -----------------------------------------------------------------------------------------------

  class HiclrPlayer {
    constructor(container, layout, { fps = 15, label = "Skeleton player", autoplay = true } = {}) {
      Object.assign(this, { container, layout, fps, autoplay });
      this.sequences = [];
      this.figures = [];
      this.frame = 0;
      this.playing = false;
      this.speed = 1;
      this.printing = false;
      this.visible = true;
      this._home();
      this._build(label);
      this._listen();
    }

    /** Shows packed sequences beside each other, from their first frame; starts to play unless motion is unwanted. */
    show(packed) {
      this.sequences = packed.map(unpacked);
      for (const sequence of this.sequences) {
        const size = Math.max(sequence.radius, sequence.rise) / Math.max(this.sequences[0].radius, this.sequences[0].rise);
        sequence.shrink = Math.min(1, LARGEST / size);
        sequence.crowd = this._bodies(sequence) > 1;
      }
      this.radius = Math.max(...this.sequences.map(({ radius, shrink }) => radius * shrink));
      this.rise = Math.max(...this.sequences.map(({ rise, shrink }) => rise * shrink));
      this.length = Math.max(1, ...this.sequences.map((sequence) => sequence.frames));
      const [first] = this.sequences;
      this.facing = first ? front(first, this.layout.sides) : 0;
      this.figures = this.sequences.map((sequence) => this._figure(sequence));
      this.stage.replaceChildren(...this.figures.map(({ figure }) => figure));
      this.slider.max = this.length - 1;
      this.ringed = undefined;
      this._arrange();
      this.seek(0);
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (this.autoplay && !still && this.length > 1) this.play();
      else this.pause();
    }

    play() {
      if (this.playing || this.length < 2) return;
      this.playing = true;
      this._button();
      let before = performance.now();
      const step = (now) => {
        if (!this.playing) return;
        this.clock = (this.clock + Math.max(now - before, 0) / 1000 * this.fps * this.speed) % this.length;
        before = now;
        if (Math.floor(this.clock) !== this.frame) this._goTo(Math.floor(this.clock));
        this.request = requestAnimationFrame(step);
      };
      this.request = requestAnimationFrame(step);
    }

    pause() {
      this.playing = false;
      cancelAnimationFrame(this.request);
      this._button();
    }

    /** Goes to a frame, counted from 0; a sequence that is shorter keeps its last one. */
    seek(frame) {
      this.clock = clamp(Math.round(frame), 0, this.length - 1);
      this._goTo(this.clock);
    }

    destroy() {
      this.pause();
      this.listening.abort();
      this.resizing.disconnect();
      this.watching.disconnect();
      this.root.remove();
    }

    // --- parts

    _build(label) {
      this.stage = element("div", { class: "stage" });
      this.button = element("button", { type: "button", class: "play" });
      this.slider = element("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "Frame" });
      this.counter = element("output", { "aria-live": "off" });
      this.pace = element("select", { "aria-label": "Speed", title: `1× is ${this.fps} frames a second` });
      this.pace.append(...SPEEDS.map((speed) => element("option", { value: speed }, `${speed}×`)));
      this.pace.value = "1";
      this.back = element("button", { type: "button", class: "reset" }, "Reset view");
      const controls = element("div", { class: "controls" });
      controls.append(this.button, this.slider, this.counter, this.pace, this.back);
      this.key = element("div", { class: "key" });
      this.root = element("div", { class: "hiclr-player", role: "group", tabindex: 0, "aria-label": label });
      this.root.append(this.stage, controls, this.key);
      this.container.append(this.root);
      this._button();
    }

    _figure(sequence) {
      const canvas = element("canvas", { role: "img", "aria-label": `Skeleton: ${sequence.title}` });
      const figure = element("figure", {}, canvas);
      const caption = element("figcaption", {}, element("b", {}, sequence.title));
      const lines = [sequence.caption, sequence.shrink < 1 ? `drawn at ${Math.round(100 * sequence.shrink)} %` : ""];
      if (lines.some(Boolean)) caption.append(element("span", {}, lines.filter(Boolean).join("\n")));
      figure.append(caption);
      return { figure, canvas, context: canvas.getContext("2d") };
    }

    /** How many bodies show in any frame. */
    _bodies({ bodies, joints, points }) {
      const seen = new Set();
      for (let i = 0; i < points.length; i += 3) {
        if (!Number.isNaN(points[i])) seen.add(Math.floor(i / 3 / joints) % bodies);
      }
      return seen.size;
    }

    _legend(ringed) {
      if (this.ringed === ringed) return;
      this.ringed = ringed;
      const items = Object.entries(COLOURS)
        .filter(([side]) => this.layout.sides.includes(side))
        .map(([side, colour]) => element("span", {}, element("i", { style: `background: ${colour}` }), side));
      if (ringed) items.push(element("span", {}, element("i", { class: "ring" }), "next to a joint that is not there"));
      this.key.replaceChildren(...items, element("span", { class: "help" }, HELP));
    }

    _button() {
      const action = this.playing ? "pause" : "play";
      if (this.button.dataset.action === action) return;
      this.button.dataset.action = action;
      this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
      this.button.replaceChildren(icon(action));
    }

    // --- what people do

    _listen() {
      this.listening = new AbortController();
      const on = (target, event, handler, more = {}) =>
        target.addEventListener(event, handler, { signal: this.listening.signal, ...more });
      on(this.button, "click", () => this._toggle());
      on(this.slider, "input", () => { this.pause(); this.seek(Number(this.slider.value)); });
      on(this.pace, "change", () => { this.speed = Number(this.pace.value); });
      on(this.back, "click", () => { this._home(); this._draw(); });
      on(this.root, "keydown", (event) => this._keyed(event));
      on(this.stage, "pointerdown", (event) => this._grabbed(event, on));
      on(this.stage, "wheel", (event) => {
        // a page must still scroll past a player that nobody has clicked on
        if (!event.ctrlKey && !this.root.contains(document.activeElement)) return;
        event.preventDefault();
        this._zoom(Math.exp(-event.deltaY / 500));
      }, { passive: false });
      const printer = matchMedia("print");
      on(printer, "change", () => this._print(printer.matches));
      on(window, "beforeprint", () => this._print(true));
      on(window, "afterprint", () => this._print(false));
      this.resizing = new ResizeObserver(() => { this._arrange(); this._draw(); });
      this.resizing.observe(this.stage);
      this.watching = new IntersectionObserver(([entry]) => {
        this.visible = entry.isIntersecting;
        if (this.visible) this._draw();
      });
      this.watching.observe(this.root);
    }

    _toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    _grabbed(event) {
      if (event.button !== 0 || event.target.tagName !== "CANVAS") return;
      this.root.focus({ preventScroll: true });
      const canvas = event.target;
      canvas.setPointerCapture(event.pointerId);
      let [x, y] = [event.clientX, event.clientY];
      canvas.onpointermove = (moved) => {
        this._turn((x - moved.clientX) / 120, (moved.clientY - y) / 120);
        [x, y] = [moved.clientX, moved.clientY];
      };
      canvas.onpointerup = canvas.onpointercancel = () => {
        canvas.onpointermove = canvas.onpointerup = canvas.onpointercancel = null;
      };
    }

    _keyed(event) {
      if (event.ctrlKey || event.metaKey || event.target === this.pace) return;
      const turning = event.shiftKey || event.altKey;
      if (event.key.startsWith("Arrow") && turning) {
        const across = { ArrowLeft: 1, ArrowRight: -1 }[event.key] ?? 0;
        const up = { ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0;
        this._turn(across / 10, up / 10);
      } else if (event.key === " ") {
        if (event.target.tagName === "BUTTON") return; // which presses it
        this._toggle();
      } else if (event.key === "+" || event.key === "=") this._zoom(1.15);
      else if (event.key === "-") this._zoom(1 / 1.15);
      else {
        const goals = {
          ArrowLeft: this.frame - 1, ArrowDown: this.frame - 1, ArrowRight: this.frame + 1, ArrowUp: this.frame + 1,
          PageDown: this.frame - 10, PageUp: this.frame + 10, Home: 0, End: this.length - 1 };
        if (!(event.key in goals) || event.altKey) return;
        // up and down scroll the page, unless the slider has them
        if (/Up|Down/.test(event.key) && event.target !== this.slider) return;
        this.pause();
        this.seek(goals[event.key]);
      }
      event.preventDefault();
      event.stopPropagation();
    }

    _home() {
      this.camera = { yaw: 0, pitch: PITCH, zoom: 1 };
    }

    _turn(yaw, pitch) {
      this.camera.yaw += yaw;
      this.camera.pitch = clamp(this.camera.pitch + pitch, -Math.PI / 2, Math.PI / 2);
      this._draw();
    }

    _zoom(factor) {
      this.camera.zoom = clamp(this.camera.zoom * factor, 0.2, 10);
      this._draw();
    }

    // --- what they see

    _goTo(frame) {
      this.frame = frame;
      this.slider.value = frame;
      this.counter.value = `frame ${frame + 1} of ${this.length}`;
      this.slider.setAttribute("aria-valuetext", this.counter.value);
      if (this.visible) this._draw();
    }

    /** How many stand in a row, and how high they are. */
    _arrange() {
      const across = this.stage.clientWidth;
      const count = this.sequences.length;
      if (!across || !count) return;
      const rows = Math.ceil(count / clamp(Math.floor(across / 170), 1, 4));
      const columns = Math.ceil(count / rows);
      this.stage.style.setProperty("--columns", columns);
      this.stage.style.setProperty("--height", `${Math.round(clamp(1.1 * across / columns, 180, 380))}px`);
    }

    _print(printing) {
      this.printing = printing;
      this._draw();
    }

    _draw() {
      if (this.printing) return this._drawStrips();
      let ringed = false;
      const ratio = globalThis.devicePixelRatio || 1;
      this.figures.forEach(({ canvas, context }, i) => {
        const box = { x: 0, y: 0, width: canvas.clientWidth, height: canvas.clientHeight };
        if (!box.width) return;
        const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
        if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.clearRect(0, 0, box.width, box.height);
        ringed = this._drawIn(context, i, this.frame, box) || ringed;
      });
      this._legend(ringed || (this.ringed ?? false));
    }

    /** For paper: poses of each sequence from its first to its last frame. */
    _drawStrips() {
      const side = 300;
      this.figures.forEach(({ canvas, context }, i) => {
        const poses = Math.min(STRIP, this.sequences[i].frames);
        Object.assign(canvas, { width: STRIP * side, height: side });
        context.setTransform(1, 0, 0, 1, 0, 0);
        for (let pose = 0; pose < poses; pose++) {
          const frame = Math.round(pose * (this.sequences[i].frames - 1) / Math.max(poses - 1, 1));
          this._drawIn(context, i, frame, { x: pose * side, y: 0, width: side, height: side - 24 });
          context.fillStyle = COLOURS.middle;
          context.font = "16px system-ui, sans-serif";
          context.textAlign = "center";
          context.fillText(`frame ${frame + 1}`, (pose + 0.5) * side, side - 6);
        }
      });
    }

    _drawIn(context, i, frame, box) {
      const sequence = this.sequences[i];
      const { planar } = this.sequences[0];
      const camera = { yaw: this.camera.yaw + this.facing + YAW, pitch: this.camera.pitch - (planar ? PITCH : 0) };
      const height = this.rise + this.radius * Math.sin(PITCH);
      const fit = 0.86 * Math.min(box.width / (2 * this.radius), box.height / (2 * height));
      const scale = fit * this.camera.zoom * sequence.shrink;
      context.save();
      context.beginPath();
      context.rect(box.x, box.y, box.width, box.height);
      context.clip();
      context.lineCap = context.lineJoin = "round";
      const project = projection(sequence, camera, box, scale);
      if (!planar) drawFloor(context, sequence, project);
      const at = Math.min(frame, sequence.frames - 1);
      const ringed = drawPose(context, sequence, at, this.layout, project, Math.min(box.width, box.height));
      context.restore();
      return ringed;
    }
  }

  return HiclrPlayer;
})();

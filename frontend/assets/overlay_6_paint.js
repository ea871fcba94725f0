// Draws one exhibit on a canvas: the picture, what the model never saw, the map over it, and the lines.
// Three stages are kept apart so that each change costs only what it must: values at screen size (zoom), their colours
// (palette, range, threshold), and putting the stack together (opacity, swipe, choice).
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const LONGEST_SIDE = 2048;
  const VEIL = 0.72;
  const EDGE = "rgba(255, 255, 255, 0.6)";
  const LINE = "rgba(255, 255, 255, 0.92)";
  const NUMBER_LINE = 13;
  const UNDERLINE = "rgba(12, 13, 13, 0.42)";
  const pictures = new Map();
  const bases = new Map();
  const MOST_BASES = 32;

  function makeCanvas(width, height) {
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width));
    canvas.height = Math.max(1, Math.round(height));
    return canvas;
  }

  function greyOf(source) {
    const grey = makeCanvas(source.width, source.height);
    const context = grey.getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0);
    const image = context.getImageData(0, 0, grey.width, grey.height);
    const bytes = image.data;
    for (let at = 0; at < bytes.length; at += 4) {
      bytes[at] = bytes[at + 1] = bytes[at + 2] = 0.299 * bytes[at] + 0.587 * bytes[at + 1] + 0.114 * bytes[at + 2];
    }
    context.putImageData(image, 0, 0);
    return grey;
  }

  function blurOf(grey) {
    const ratio = 22 / Math.max(grey.width, grey.height);
    let small = grey;
    while (small.width * 0.5 > grey.width * ratio) {
      const next = makeCanvas(small.width / 2, small.height / 2);
      next.getContext("2d").drawImage(small, 0, 0, next.width, next.height);
      small = next;
    }
    return small;
  }

  async function readPicture(url) {
    const image = new Image();
    image.decoding = "async";
    image.src = url;
    await image.decode();
    const ratio = Math.min(1, LONGEST_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
    const colour = makeCanvas(image.naturalWidth * ratio, image.naturalHeight * ratio);
    const context = colour.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, colour.width, colour.height);
    const grey = greyOf(colour);
    return { colour, grey, blurred: blurOf(grey) };
  }

  /** Returns a promise of {colour, grey, blurred} canvases of a picture; read once for all cells. */
  function loadPicture(url) {
    if (!pictures.has(url)) {
      pictures.set(url, readPicture(url).catch((error) => (pictures.delete(url), Promise.reject(error))));
      if (pictures.size > 12) pictures.delete(pictures.keys().next().value);
    }
    return pictures.get(url);
  }

  /** Strips of the screen beside the part that the model saw. */
  function margins(seen, view) {
    const [x0, y0, x1, y1] = vitrine.field.pixelBox(seen, view);
    return [
      [0, 0, view.width, y0],
      [0, y1, view.width, view.height - y1],
      [0, y0, x0, y1 - y0],
      [x1, y0, view.width - x1, y1 - y0],
    ].filter((strip) => strip[2] > 0 && strip[3] > 0);
  }

  function drawPicture(context, source, picture, view) {
    // Cubic filtering is worth its price when a picture is made smaller, or a blur is drawn, not while one zooms.
    const costly = picture.width * view.sx < source.width || source.width < 64;
    context.imageSmoothingQuality = costly ? "high" : "low";
    context.drawImage(source, view.ox, view.oy, picture.width * view.sx, picture.height * view.sy);
  }

  function drawBase(context, kind, exhibit, view, colours) {
    const { images, picture, seen } = exhibit;
    drawPicture(context, images[kind], picture, view);
    if (kind === "blurred") {
      context.globalAlpha = VEIL;
      context.fillStyle = colours.veil;
      context.fillRect(0, 0, view.width, view.height);
      context.globalAlpha = 1;
    }
    if (!seen) return;
    const strips = margins(seen, view);
    if (kind !== "blurred") {
      context.save();
      context.beginPath();
      for (const strip of strips) context.rect(...strip);
      context.clip();
      drawPicture(context, images.grey, picture, view);
      context.globalAlpha = VEIL;
      context.fillStyle = colours.veil;
      context.fillRect(0, 0, view.width, view.height);
      context.restore();
    }
  }

  /** The still part under a map; cells of one picture and one view share it. */
  function base(kind, exhibit, view, colours) {
    const numbers = [view.width, view.height, view.sx, view.sy, view.ox, view.oy];
    const key = [kind, exhibit.picture.url, exhibit.seen, colours.veil, ...numbers].join("|");
    let canvas = bases.get(key);
    bases.delete(key);
    if (!canvas) {
      canvas = bases.size >= MOST_BASES ? recycle() : document.createElement("canvas");
      canvas.width = view.width;
      canvas.height = view.height;
      drawBase(canvas.getContext("2d", { alpha: false }), kind, exhibit, view, colours);
    }
    bases.set(key, canvas);
    return canvas;
  }

  function recycle() {
    const [key, canvas] = bases.entries().next().value;
    bases.delete(key);
    return canvas;
  }

  /** A white line with a darker one under it. Square ends close the corners of borders; round ones would cost a third of a frame. */
  function strokeTwice(context, path, view, width) {
    const moved = new Path2D();
    moved.addPath(path, new DOMMatrix([view.sx, 0, 0, view.sy, view.ox, view.oy]));
    context.lineJoin = "bevel";
    context.lineCap = "square";
    context.strokeStyle = UNDERLINE;
    context.lineWidth = width * 2.2;
    context.stroke(moved);
    context.strokeStyle = LINE;
    context.lineWidth = width;
    context.stroke(moved);
  }

  function drawNumbers(context, numbers, view, ratio) {
    context.font = `600 ${11 * ratio}px "Inter Variable", Inter, system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const { x, y, text, pale } of numbers) {
      const [left, middle] = [x * view.sx + view.ox, y * view.sy + view.oy];
      const lines = text.split("\n");
      context.lineWidth = (lines.length > 1 ? 3 : 2.5) * ratio;
      context.strokeStyle = pale ? "rgba(255, 255, 255, 0.55)" : `rgba(12, 13, 13, ${lines.length > 1 ? 0.78 : 0.6})`;
      context.fillStyle = pale ? "#1A1B1A" : "#FFFFFF";
      lines.forEach((line, index) => {
        const top = middle + (index - (lines.length - 1) / 2) * NUMBER_LINE * ratio;
        context.strokeText(line, left, top);
        context.fillText(line, left, top);
      });
    }
  }

  function drawOverlay(context, exhibit, view, opacity) {
    const { overlay, mixing } = exhibit;
    if (!overlay || !overlay.box.width || !overlay.box.height) return;
    const { x, y, width, height, magnified } = overlay.box;
    const place = [x, y, width, height].map((value) => value * magnified);
    if (mixing === "add") {
      // What the colours leave to the picture, so that both together never burn out.
      context.fillStyle = "#000000";
      context.globalAlpha = vitrine.scale.COLOUR_SHARE * opacity;
      context.fillRect(...place);
      context.globalCompositeOperation = "lighter";
    }
    context.globalAlpha = opacity;
    context.drawImage(overlay.canvas, 0, 0, width, height, ...place);
    context.globalAlpha = 1;
    context.globalCompositeOperation = "source-over";
  }

  function drawMarks(context, exhibit, view, ratio) {
    for (const line of exhibit.lines) strokeTwice(context, line.path, view, line.width * ratio);
    drawNumbers(context, exhibit.numbers, view, ratio);
  }

  function sameLines(one, other) {
    return one.length === other.length && one.every((line, index) => line.path === other[index].path && line.width === other[index].width);
  }

  /**
   * Lays lines and numbers on the map. While they change (zoom, threshold) they are drawn straight; from the second
   * time on that they are the same (opacity, swipe) a finished sheet is laid on top instead.
   */
  function layMarks(context, exhibit, view, ratio) {
    if (!exhibit.lines.length && !exhibit.numbers.length) return;
    const inks = exhibit.numbers.map(({ text, pale }) => (pale ? text : `-${text}`)).join();
    const numbers = [view.width, view.height, view.sx, view.sy, view.ox, view.oy, inks];
    const same = exhibit.marked && exhibit.marked.numbers.every((value, index) => value === numbers[index]);
    const known = same && sameLines(exhibit.marked.lines, exhibit.lines);
    if (!known) {
      exhibit.marked = { numbers, lines: exhibit.lines, finished: false };
      drawMarks(context, exhibit, view, ratio);
      return;
    }
    if (!exhibit.marked.finished) {
      exhibit.sheet = exhibit.sheet || document.createElement("canvas");
      exhibit.sheet.width = view.width;
      exhibit.sheet.height = view.height;
      drawMarks(exhibit.sheet.getContext("2d"), exhibit, view, ratio);
      exhibit.marked.finished = true;
    }
    context.drawImage(exhibit.sheet, 0, 0);
  }

  function drawSeenEdge(context, seen, view, ratio) {
    const [x0, y0, x1, y1] = vitrine.field.pixelBox(seen, view);
    const thick = Math.max(1, Math.round(ratio));
    context.fillStyle = EDGE;
    if (x0 > 0) context.fillRect(x0 - thick, y0, thick, y1 - y0);
    if (x1 < view.width) context.fillRect(x1, y0, thick, y1 - y0);
    if (y0 > 0) context.fillRect(x0, y0 - thick, x1 - x0, thick);
    if (y1 < view.height) context.fillRect(x0, y1, x1 - x0, thick);
  }

  function clipToSeen(context, exhibit, view) {
    const box = exhibit.seen || [0, 0, exhibit.picture.width, exhibit.picture.height];
    const [x0, y0, x1, y1] = vitrine.field.pixelBox(box, view);
    context.beginPath();
    context.rect(x0, y0, x1 - x0, y1 - y0);
    context.clip();
  }

  /** Draws one panel at the origin of the context; `kind` is "map", "picture" or "waiting". */
  function drawPanel(context, kind, exhibit, view, options) {
    const ground = { map: "grey", picture: "colour", waiting: "blurred" }[kind];
    context.drawImage(base(ground, exhibit, view, options.colours), 0, 0);
    if (kind === "map") {
      context.save();
      clipToSeen(context, exhibit, view);
      drawOverlay(context, exhibit, view, options.opacity);
      layMarks(context, exhibit, view, options.ratio);
      context.restore();
    }
    if (exhibit.seen) drawSeenEdge(context, exhibit.seen, view, options.ratio);
  }

  vitrine.paint = { makeCanvas, loadPicture, drawPanel };
})();

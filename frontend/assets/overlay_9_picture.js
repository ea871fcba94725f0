// A PNG of what is seen: the canvas as it stands, with title, badge words and legend below it, never inside the picture.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const FONT = '"Inter Variable", Inter, system-ui, sans-serif';
  const PAPER = "#FFFFFF";
  const INK = "#1A1B1A";
  const INK_2 = "#545652";
  const PAD = 12;
  const TITLE_LINE = 20;
  const LEGEND_LINE = 22;

  function fileName(cell) {
    const layer = cell.exhibit.activeLayer;
    const words = [cell.exhibit.data.title, layer ? layer.title || layer.name : "picture"].filter(Boolean).join(" ");
    const plain = words.normalize("NFKD").replace(/[^\w]+/g, "-").replace(/^-+|-+$/g, "").toLowerCase();
    return `vitrine-${plain || "map"}.png`;
  }

  function cut(context, text, width) {
    if (context.measureText(text).width <= width) return text;
    let short = text;
    while (short.length > 1 && context.measureText(`${short}…`).width > width) short = short.slice(0, -1);
    return `${short}…`;
  }

  function drawRamp(context, legend, x, y, width, unit) {
    const ramp = legend.querySelector(".v-viewer-ramp");
    const texts = [[], []];
    let side = 0;
    for (const node of legend.querySelector(".v-viewer-key").children) {
      if (node.classList.contains("v-viewer-middle")) continue;
      if (node === ramp) side = 1;
      else texts[side].push(node.textContent);
    }
    const [low, high] = texts.map((words) => words.join(" "));
    const [lowWidth, highWidth] = [low, high].map((words) => context.measureText(words).width);
    context.fillText(low, x, y);
    context.fillText(high, x + width - highWidth, y);
    const room = width - lowWidth - highWidth - 16 * unit;
    if (room > 0) context.drawImage(ramp, x + lowWidth + 8 * unit, y - 2.5 * unit, room, 5 * unit);
  }

  /** Draws swatches and words in the order in which they stand on the page. */
  function drawSwatches(context, legend, x, y, width, unit) {
    let at = x;
    const write = (text, gap) => {
      const words = cut(context, text, x + width - at);
      context.fillStyle = INK_2;
      context.fillText(words, at, y);
      at += context.measureText(words).width + gap * unit;
    };
    for (const node of legend.querySelectorAll(".v-viewer-swatch, .v-viewer-part, .v-viewer-more, .v-viewer-words")) {
      const swatch = node.classList.contains("v-viewer-swatch");
      if (swatch) {
        context.fillStyle = node.style.backgroundColor;
        context.fillRect(at, y - 5 * unit, 10 * unit, 10 * unit);
        at += 15 * unit;
      }
      const followed = swatch && node.parentElement.classList.contains("v-viewer-part");
      const text = followed ? node.parentElement.textContent : swatch ? node.textContent : node.classList.contains("v-viewer-part") ? "" : node.textContent;
      if (text) write(text, followed ? 16 : 8);
    }
  }

  function compose(cell) {
    const unit = cell.ratio;
    const [width, height] = cell.size;
    const pad = PAD * unit;
    const canvas = vitrine.paint.makeCanvas(width + 2 * pad, height + 2 * pad + (TITLE_LINE + LEGEND_LINE + 4) * unit);
    const context = canvas.getContext("2d", { alpha: false });
    context.fillStyle = PAPER;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(cell.canvas, pad, pad);
    context.textBaseline = "middle";
    context.font = `${11.5 * unit}px ${FONT}`;
    context.fillStyle = INK_2;
    const legendY = pad + height + (LEGEND_LINE / 2 + 4) * unit;
    if (cell.legend.querySelector(".v-viewer-ramp")) drawRamp(context, cell.legend, pad, legendY, width, unit);
    else drawSwatches(context, cell.legend, pad, legendY, width, unit);
    const { data, field } = cell.exhibit;
    const size = field ? `${field.width} × ${field.height}` : "";
    const badge = data.badge ? `, ${data.badge}` : "";
    context.font = `600 ${12 * unit}px ${FONT}`;
    context.fillStyle = INK;
    const titleY = legendY + (LEGEND_LINE / 2 + TITLE_LINE / 2) * unit;
    context.fillText(cut(context, `${data.title || "Map"}${badge}`, width - 60 * unit), pad, titleY);
    context.font = `${11 * unit}px ${FONT}`;
    context.fillStyle = INK_2;
    context.fillText(size, pad + width - context.measureText(size).width, titleY);
    return canvas;
  }

  /** Saves the file through the browser's own download; resolves to the Blob. */
  async function save(cell) {
    await document.fonts.ready;
    const canvas = compose(cell);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const link = document.createElement("a");
    const address = URL.createObjectURL(blob);
    link.href = address;
    link.download = fileName(cell);
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    return blob;
  }

  vitrine.picture = { save };
})();

// The line under a map: words at both ends with their numbers, or swatches with words, and the map's own resolution.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const MOST_SWATCHES = 8;
  const RAMP_STEPS = 256;

  function element(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function swatch(rgb, text) {
    const made = element("span", "v-viewer-swatch", text);
    made.style.backgroundColor = `rgb(${rgb.map(Math.round).join(", ")})`;
    if (text) made.classList.add(vitrine.palettes.isPale(rgb) ? "v-viewer-swatch-pale" : "v-viewer-swatch-dark");
    return made;
  }

  function numbersAt(exhibit, scale) {
    const span = scale.hi - scale.lo;
    const unit = exhibit.activeLayer.unit ? ` ${exhibit.activeLayer.unit}` : "";
    const print = (value) => vitrine.exhibit.format(value, span, scale.signed);
    return [print(scale.lo), print(scale.hi) + unit];
  }

  function paintRamp(canvas, scale) {
    canvas.width = RAMP_STEPS;
    canvas.height = 1;
    const table = vitrine.palettes.table(scale.palette);
    const pixels = new Uint32Array(RAMP_STEPS);
    for (let step = 0; step < RAMP_STEPS; step += 1) {
      const value = scale.lo + ((scale.hi - scale.lo) * step) / (RAMP_STEPS - 1);
      pixels[step] = (table[vitrine.scale.stepAt(scale, value)] | 0xff000000) >>> 0;
    }
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), RAMP_STEPS, 1), 0, 0);
  }

  function ramp(exhibit, scale) {
    const [low, high] = exhibit.ends;
    const [lowest, highest] = numbersAt(exhibit, scale);
    const canvas = element("canvas", "v-viewer-ramp");
    canvas.setAttribute("aria-hidden", "true");
    paintRamp(canvas, scale);
    // Values of regions are read one by one, so that their zero has words too, where there is room for them.
    const middle = exhibit.hasValues && scale.pivot === 0 && scale.lo === -scale.hi ? [element("span", "v-viewer-middle", "no effect 0")] : [];
    return [
      element("span", "v-viewer-words", low),
      element("span", "v-viewer-number", lowest),
      canvas,
      element("span", "v-viewer-number", highest),
      ...middle,
      element("span", "v-viewer-words", high),
    ];
  }

  function groups(exhibit) {
    const labels = exhibit.labels;
    const row = element("span", "v-viewer-swatches");
    row.setAttribute("aria-hidden", "true");
    const shown = labels.slice(0, labels.length > MOST_SWATCHES ? MOST_SWATCHES - 2 : MOST_SWATCHES);
    for (const label of shown) {
      const text = exhibit.isNumbered ? String(label + 1) : undefined;
      row.append(swatch(vitrine.palettes.category(exhibit.colourIndex(label)), text));
    }
    if (shown.length < labels.length) row.append(element("span", "v-viewer-more", `of ${labels.length}`));
    return [row, element("span", "v-viewer-words", exhibit.ends[0])];
  }

  function parts(exhibit) {
    const made = [];
    const colours = vitrine.palettes.composite.map(vitrine.palettes.toRgb);
    for (const region of exhibit.data.regions.slice(0, 3)) {
      const entry = element("span", "v-viewer-part");
      const index = Number.isInteger(region.colour) ? region.colour : region.id;
      entry.append(swatch(colours[((index % 3) + 3) % 3]), document.createTextNode(region.label));
      made.push(entry);
    }
    if (!made.length) made.push(...colours.map((rgb) => swatch(rgb)), element("span", "v-viewer-words", "1st, 2nd and 3rd part"));
    return made;
  }

  function contents(exhibit, scale) {
    if (exhibit.encoding === "labels") return groups(exhibit);
    if (exhibit.encoding === "rgb") {
      return exhibit.mixing === "add" ? parts(exhibit) : [element("span", "v-viewer-words", exhibit.activeLayer.title || "picture")];
    }
    return ramp(exhibit, scale);
  }

  function keyOf(exhibit, scale) {
    const range = scale ? [scale.lo, scale.hi, scale.palette, scale.pivot] : null;
    const groupsKey = exhibit.labels.map((label) => exhibit.colourIndex(label));
    const { width, height } = exhibit.field;
    return JSON.stringify([exhibit.active, exhibit.ends, range, groupsKey, exhibit.data.regions.map((region) => region.label), width, height]);
  }

  /** Redraws the legend when something it says has changed; returns whether it did. */
  function show(node, exhibit, scale) {
    const key = exhibit.field ? keyOf(exhibit, scale) : "";
    if (node.vitrineKey === key) return false;
    node.vitrineKey = key;
    if (!exhibit.field) {
      node.replaceChildren();
      return true;
    }
    const words = element("span", "v-viewer-key");
    words.append(...contents(exhibit, scale));
    node.replaceChildren(words, element("span", "v-viewer-size", sizeOf(exhibit)));
    return true;
  }

  /** The map's own resolution, as it is printed. */
  function sizeOf(exhibit) {
    return exhibit.field ? `${exhibit.field.width} × ${exhibit.field.height}` : "";
  }

  /** Words that one line would cut stand on lines of their own, under what they explain. */
  function fit(node) {
    node.classList.remove("v-viewer-legend-tall");
    const isCut = [...node.querySelectorAll(".v-viewer-words, .v-viewer-part")].some((words) => words.scrollWidth > words.clientWidth + 1);
    node.classList.toggle("v-viewer-legend-tall", isCut);
  }

  /** Whether the resolution found room beside the words; else it wraps to a second line, which is not shown. */
  function hasRoom(node) {
    if (node.classList.contains("v-viewer-legend-tall")) return false;
    const size = node.querySelector(".v-viewer-size");
    return Boolean(size) && size.offsetTop - node.offsetTop < size.offsetHeight;
  }

  /** Words of the legend in one sentence, for those who do not see it. */
  function sentence(exhibit, scale) {
    if (!exhibit.field) return "";
    const native = `, ${exhibit.field.width} by ${exhibit.field.height} cells`;
    if (exhibit.encoding === "labels") return `${exhibit.labels.length} groups; ${exhibit.ends[0]}${native}`;
    if (exhibit.encoding === "rgb") return exhibit.data.regions.map((region) => region.label).join(", ") + native;
    const [low, high] = exhibit.ends;
    const [lowest, highest] = numbersAt(exhibit, scale);
    return `from ${low} ${lowest} to ${high} ${highest}${native}`;
  }

  vitrine.legend = { show, sentence, sizeOf, fit, hasRoom, element };
})();

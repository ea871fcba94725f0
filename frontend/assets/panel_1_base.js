// Panels that build and change themselves in the browser: every <div class="v-panel" data-panel="kind" data-facts="{...}">
// is filled by the maker registered under its kind. A maker gets (root, facts) and returns {onRegion, onHover, onLayer},
// each optional; they hear of choices on the map of the same run. Nothing here asks the server for a new computation.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const MINUS = "−";
  const TRY_MS = 50;
  const MOST_TRIES = 400;
  const makers = new Map();
  const panels = new Map();

  /** make("p", "v-note", ["words", node], {title: "..."}): an element with children; empty ones are left out. */
  function make(tag, className, children, attributes) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    for (const [name, value] of Object.entries(attributes || {})) if (value !== null && value !== undefined) made.setAttribute(name, value);
    const parts = children === undefined || children === null ? [] : Array.isArray(children) ? children : [children];
    made.append(...parts.filter((part) => part !== null && part !== undefined && part !== ""));
    return made;
  }

  function button(className, children, onClick, attributes) {
    const made = make("button", className, children, Object.assign({ type: "button" }, attributes));
    made.addEventListener("click", onClick);
    return made;
  }

  /** A quiet list of the browser's own with its label: options [{value, label}]. */
  function select(label, options, value, onChange) {
    const list = make("select", "v-select", options.map((one) => make("option", "", one.label, { value: one.value })), { "aria-label": label });
    list.value = value;
    list.addEventListener("change", () => onChange(list.value));
    return make("label", "v-select-box", [make("span", "", label), list]);
  }

  function isNumber(value) {
    return typeof value === "number" && Number.isFinite(value);
  }

  /** Decimals that tell numbers of this size apart: two for probabilities, more for small ones. */
  function digitsFor(largest) {
    return largest >= 100 ? 0 : largest >= 20 ? 1 : largest >= 0.1 || !(largest > 0) ? 2 : largest >= 0.01 ? 3 : 4;
  }

  function number(value, digits) {
    if (!isNumber(value)) return "–";
    const text = Math.abs(value).toFixed(digits);
    return value < 0 && Number(text) !== 0 ? MINUS + text : text;
  }

  function signed(value, digits) {
    const text = number(value, digits);
    return isNumber(value) && value > 0 && Number(text) !== 0 ? `+${text}` : text;
  }

  function percent(share) {
    return isNumber(share) ? `${number(100 * share, Math.abs(share) < 0.095 ? 1 : 0)}\u00a0%` : "–";
  }

  /** Where black letters read as well as white ones; above it black ones read better. */
  const EVEN_LUMINANCE = 0.179;

  function luminance(rgb) {
    const [red, green, blue] = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  /** Colour of a signed value on the palette of signed maps, and whether dark letters read on it. */
  function signedColour(value, largest) {
    const position = isNumber(value) && largest > 0 ? 0.5 + (0.5 * value) / largest : 0.5;
    const rgb = vitrine.palettes.colourAt("diverging", position).map(Math.round);
    return { css: `rgb(${rgb.join(", ")})`, isPale: luminance(rgb) > EVEN_LUMINANCE };
  }

  /** Places a bar from one value to another on a track whose ends are `low` and `high`. */
  function placeBar(bar, from, to, low, high) {
    const place = (value) => (100 * (value - low)) / (high - low || 1);
    const [left, right] = [Math.min(place(from), place(to)), Math.max(place(from), place(to))];
    bar.style.left = `${left.toFixed(2)}%`;
    bar.style.width = `${Math.max(0, right - left).toFixed(2)}%`;
    bar.classList.toggle("is-against", to < from);
  }

  function register(kind, maker) {
    makers.set(kind, maker);
  }

  /** Resolves to the exhibit of a run as soon as its viewer is on the page, or to null when it never comes. */
  async function exhibitOf(run) {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      const exhibit = vitrine.viewer.exhibitOf(run);
      if (exhibit) return exhibit;
      await new Promise((resolve) => setTimeout(resolve, TRY_MS));
    }
    return null;
  }

  function upgrade(root) {
    const text = root.getAttribute("data-facts");
    const maker = makers.get(root.getAttribute("data-panel"));
    const known = panels.get(root);
    if (!text || !maker || (known && known.text === text)) return;
    let facts;
    try {
      facts = JSON.parse(text);
    } catch {
      return;
    }
    panels.set(root, Object.assign({ text, run: facts.run }, maker(root, facts)));
  }

  /** A crosshair stands in all linked maps of a picture; the rest is said of one run. */
  function concerns({ run, x, values }, own) {
    return run === own || (values !== undefined && (x === null || own in values));
  }

  function hear(name, event) {
    for (const [root, panel] of panels) {
      if (!root.isConnected) panels.delete(root);
      else if (panel[name] && concerns(event.detail, panel.run)) panel[name](event.detail);
    }
  }

  function onMutations(records) {
    for (const record of records) {
      if (record.type === "attributes") upgrade(record.target);
      for (const node of record.addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        if (node.classList.contains("v-panel")) upgrade(node);
        else node.querySelectorAll(".v-panel[data-facts]").forEach(upgrade);
      }
    }
  }

  function start() {
    document.querySelectorAll(".v-panel[data-facts]").forEach(upgrade);
    const options = { subtree: true, childList: true, attributes: true, attributeFilter: ["data-facts"] };
    new MutationObserver(onMutations).observe(document.body, options);
    for (const [type, name] of [["region", "onRegion"], ["hover", "onHover"], ["layer", "onLayer"]]) {
      document.addEventListener(`vitrine:${type}`, (event) => hear(name, event));
    }
  }

  vitrine.panels = { register };
  vitrine.pieces = { exhibitOf, make, button, select, isNumber, digitsFor, number, signed, percent, signedColour, placeBar };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

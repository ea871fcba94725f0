// The tool row and the panels: what they say becomes looks of the viewers. Nothing here asks the server.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const NOTHING = "-";
  const chosen = new Map();
  let linked = true;

  function number(value, otherwise) {
    const read = typeof value === "number" ? value : parseFloat(value);
    return Number.isFinite(read) ? read : otherwise;
  }

  function threshold(show, value, top) {
    if (show === "value") return { kind: "value", value: number(value, 0) };
    if (show === "top") return { kind: "top", value: Math.min(100, Math.max(0.1, number(top, 10))) };
    return { kind: "all", value: 0 };
  }

  function viewerOf(run) {
    return document.querySelector(`.v-cell[data-run="${run}"] .v-viewer`);
  }

  /** What was chosen for one map, so that a share can show it the same way. */
  function remember(run, change) {
    chosen.set(run, Object.assign({}, chosen.get(run), change));
  }

  /** Shows a layer; buttons and lists of the panel then say the same. */
  function setLayer(run, layer) {
    remember(run, { layer, k: null });
    const shown = vitrine.viewer.setLayer(run, layer);
    const cell = document.querySelector(`.v-cell[data-run="${run}"]`);
    if (!cell) return shown;
    cell.querySelectorAll('[data-action="layer"]').forEach((button) => {
      const on = button.dataset.layer === layer;
      button.setAttribute("aria-pressed", String(on));
      button.classList.toggle("is-on", on);
    });
    showChoice(run, layer);
    document.dispatchEvent(new CustomEvent("vitrine:layer", { detail: { run, layer } }));
    return shown;
  }

  /**
   * Gives a viewer a layer that is made in the browser, and perhaps a region that belongs to it; those of the same name
   * are replaced. Shows nothing by itself.
   */
  function addLayer(run, layer, region) {
    const node = viewerOf(run);
    const spec = JSON.parse(node.getAttribute("data-viewer"));
    const put = (list, made, same) => {
      const at = list.findIndex(same);
      if (at >= 0) list[at] = made;
      else list.push(made);
    };
    put(spec.layers, layer, (one) => one.name === layer.name);
    if (region) put(spec.regions, region, (one) => one.id === region.id);
    const text = JSON.stringify(spec);
    if (text !== node.getAttribute("data-viewer")) node.setAttribute("data-viewer", text);
  }

  function showChoice(run, layer) {
    const node = viewerOf(run);
    if (!node) return;
    const shown = JSON.parse(node.getAttribute("data-viewer")).layers.find((one) => one.name === layer);
    if (!shown || shown.a !== undefined) {
      if (shown) say(run, "list", null);
      return;
    }
    const isClass = hasOption(run, "class", layer);
    if (isClass) say(run, "class", layer);
    say(run, "minus", NOTHING);
    say(run, "list", hasOption(run, "layer", layer) ? layer : null);
  }

  function dashId(run, kind) {
    return JSON.stringify({ run, type: `panel-${kind}` });
  }

  function hasOption(run, kind, layer) {
    const box = document.getElementById(dashId(run, kind));
    const names = box && box.closest("[data-options]");
    return Boolean(names) && names.dataset.options.split("|").includes(layer);
  }

  /** Sets a list without hearing it as somebody's choice. */
  function say(run, what, value) {
    const kind = what === "list" ? "layer" : what;
    if (!document.getElementById(dashId(run, kind)) || (chosen.get(run) || {})[what] === value) return;
    remember(run, { [what]: value });
    window.dash_clientside.set_props({ type: `panel-${kind}`, run }, { value });
  }

  /** Adds a layer "A minus B" to a viewer; it subtracts what it already has. */
  function contrast(run, first, second) {
    const node = viewerOf(run);
    const spec = JSON.parse(node.getAttribute("data-viewer"));
    const a = spec.layers.find((layer) => layer.name === first);
    const b = spec.layers.find((layer) => layer.name === second);
    if (!a || !b) return;
    const name = `contrast ${first} ${second}`;
    const title = `${a.title} minus ${b.title}`;
    const ends = [`more for ${short(b.title)}`, `more for ${short(a.title)}`];
    addLayer(run, { name, title, a: first, b: second, encoding: "signed", frame: a.frame, range: null, ends, unit: a.unit, smooth: a.smooth, target: null, role: "detail" });
    setLayer(run, name);
  }

  function short(title) {
    return title.length > 18 ? `${title.slice(0, 17)}…` : title;
  }

  function showClasses(run, pair) {
    if (!pair.class) return;
    if (!pair.minus || pair.minus === NOTHING || pair.minus === pair.class) setLayer(run, pair.class);
    else contrast(run, pair.class, pair.minus);
  }

  function pairOf(run) {
    const node = viewerOf(run);
    const spec = node ? JSON.parse(node.getAttribute("data-viewer")) : { active: "" };
    const known = chosen.get(run) || {};
    return { class: known.class || spec.active, minus: known.minus || NOTHING };
  }

  async function groupWords(run, k) {
    const box = document.querySelector(`.v-groups[data-run="${run}"]`);
    if (!box) return;
    const isExact = k === Number(box.dataset.exact);
    box.querySelector(".v-groups-count").textContent = String(k);
    let share = isExact && box.dataset.share ? Number(box.dataset.share) : null;
    if (share === null && box.dataset.explained) {
      const array = await vitrine.npy.load(box.dataset.explained);
      share = array.data[k - 1];
    }
    const explains = Number.isFinite(share) ? `, explains ${Math.round(100 * share)} %` : "";
    box.querySelector(".v-groups-words").textContent = `${isExact ? "exact" : "nested"}${explains}`;
  }

  function isNews(run, what, value) {
    return (chosen.get(run) || {})[what] !== value;
  }

  actions.linked = (button) => {
    linked = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(linked));
    button.classList.toggle("is-on", linked);
    vitrine.viewer.setLooks({ linked });
  };

  actions.layer = (button) => setLayer(button.dataset.run, button.dataset.layer);

  actions.region = async (button) => {
    const { run, region, layer } = button.dataset;
    const on = button.getAttribute("aria-pressed") === "true";
    const node = viewerOf(run);
    // A part with a map of its own is shown alone; without it, all parts together again.
    if (layer && node) await setLayer(run, on ? JSON.parse(node.getAttribute("data-viewer")).layers[0].name : layer);
    await vitrine.viewer.selectRegion(run, on ? null : Number(region));
  };

  /** Shows another picture of a result; linked cells that have it follow. */
  function showPicture(run, place) {
    const node = viewerOf(run);
    if (!node) return;
    const wanted = JSON.parse(node.getAttribute("data-viewer")).pictures[place].picture.url;
    const nodes = linked ? document.querySelectorAll(".v-cell .v-viewer") : [node];
    for (const one of nodes) {
      const spec = JSON.parse(one.getAttribute("data-viewer") || "{}");
      const at = (spec.pictures || []).findIndex((part) => part.picture.url === wanted);
      if (at >= 0) turnTo(one, spec, at);
    }
  }

  function turnTo(node, spec, place) {
    const part = spec.pictures[place];
    const shown = part.layers.some((layer) => layer.name === spec.active) ? spec.active : part.layers[0].name;
    node.setAttribute("data-viewer", JSON.stringify(Object.assign(spec, part, { active: shown })));
    node.closest(".v-case").style.setProperty("--v-ratio", (part.picture.width / part.picture.height).toFixed(4));
    remember(spec.run, { picture: place });
    node.closest(".v-cell").querySelectorAll('[data-action="show-picture"]').forEach((button) => {
      const on = Number(button.dataset.place) === place;
      button.setAttribute("aria-pressed", String(on));
      button.classList.toggle("is-on", on);
    });
  }

  actions["show-picture"] = (button) => showPicture(button.dataset.run, Number(button.dataset.place));

  /** Swatches in the tables of a cell follow the colours that its map has on the canvas. */
  document.addEventListener("vitrine:colours", (event) => {
    const { run, colours } = event.detail;
    const given = new Map(colours);
    document.querySelectorAll(`.v-cell[data-run="${run}"]`).forEach((cell) => {
      for (const name of [...cell.style]) if (name.startsWith("--v-group-") && !given.has(Number(name.slice(10)))) cell.style.removeProperty(name);
      for (const [group, colour] of given) cell.style.setProperty(`--v-group-${group}`, vitrine.palettes.toHex(vitrine.palettes.category(colour)));
    });
  });

  document.addEventListener("vitrine:region", (event) => {
    const { run, id } = event.detail;
    document.querySelectorAll('[data-action="region"]').forEach((button) => {
      const on = id !== null && button.dataset.run === run && Number(button.dataset.region) === id;
      button.setAttribute("aria-pressed", String(on));
    });
  });

  actions.png = async () => {
    const runs = [...document.querySelectorAll('.v-cell[data-state="done"]')].filter((cell) => cell.offsetParent).map((cell) => cell.dataset.run);
    for (const run of runs) await vitrine.viewer.savePng(run);
    vitrine.announce(runs.length === 1 ? "1 picture saved" : `${runs.length} pictures saved`);
  };

  /** The lists of the panels were drawn anew and say what they said at first. */
  function forgetLists() {
    for (const [run, { layer, k, picture }] of chosen) chosen.set(run, { layer, k, picture });
  }

  vitrine.looks = { addLayer, contrast, forgetLists, chosen: (run) => chosen.get(run) || {}, all: () => Object.fromEntries(chosen), remember, setLayer };

  const none = () => window.dash_clientside.no_update;
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.looks = {
    change(mode, opacity, palette, range, low, high, show, value, top, smooth, contour, match) {
      const custom = [number(low, 0), number(high, 1)];
      const looks = { mode, opacity: opacity / 100, palette, range, custom, threshold: threshold(show, value, top), smooth, contour, match, linked };
      const page = document.getElementById("inspect");
      const isFirstVisit = page && page.dataset.stage === "choose";
      vitrine.store.keep("looks", Object.assign(vitrine.viewer.getLooks(), looks));
      vitrine.viewer.setLooks(isFirstVisit ? Object.assign({}, looks, { mode: "swipe" }) : looks);
      return ["v-tool-group" + (range === "custom" ? "" : " is-off"), `v-tool-group shows-${show}` + (show === "all" ? " is-off" : "")];
    },
    class(value, id) {
      const pair = Object.assign(pairOf(id.run), { class: value });
      if (!isNews(id.run, "class", value)) return none();
      remember(id.run, pair);
      showClasses(id.run, pair);
      return none();
    },
    minus(value, id) {
      const pair = Object.assign(pairOf(id.run), { minus: value });
      if (!isNews(id.run, "minus", value)) return none();
      remember(id.run, pair);
      showClasses(id.run, pair);
      return none();
    },
    layer(value, id) {
      if (!value || !isNews(id.run, "list", value)) return none();
      remember(id.run, { list: value });
      setLayer(id.run, value);
      return none();
    },
    groups(value, id) {
      const box = document.querySelector(`.v-groups[data-run="${id.run}"]`);
      if (!box) return none();
      remember(id.run, { k: value });
      if (value === Number(box.dataset.exact)) setLayer(id.run, box.dataset.layer);
      else {
        remember(id.run, { layer: null });
        vitrine.viewer.setK(id.run, value);
      }
      groupWords(id.run, value);
      return none();
    },
  };
})();

// All viewers of the page: shared looks, linked view and crosshair, choice of regions, one drawing loop, and the
// functions other scripts call (window.vitrine.viewer). Upgrades every <div class="v-viewer" data-viewer="{...}">.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const { Cell, STACK, COLOURS, MOST_ZOOM } = vitrine.cell;
  const { DEFAULTS, checked, stageOf } = vitrine.looksOf;
  const REST_MS = 140;
  const OFF_SCREEN_MARGIN = "1200px";

  const cells = new Map();
  const views = new Map();
  const ranges = new Map();
  const waiting = new Set();
  let looks = Object.assign({}, DEFAULTS);
  let colours = null;
  let choice = null;
  let swipe = 0.5;
  let hovered = null;
  let hoverDue = false;
  let frame = 0;
  let moving = 0;
  let matchDue = false;
  const newLegends = new Set();

  function tell(name, detail) {
    document.dispatchEvent(new CustomEvent(name, { detail }));
  }

  function each(run) {
    return [...cells.values()].filter((cell) => cell.exhibit && (run === undefined || cell.exhibit.run === run));
  }

  function pictureOf(cell) {
    return cell.exhibit.picture.url;
  }

  /** Cells that move, point and light up together with this one, itself included. */
  function company(cell) {
    return looks.linked ? each().filter((other) => pictureOf(other) === pictureOf(cell)) : [cell];
  }

  function readColours() {
    const style = getComputedStyle(document.body);
    const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
    const mat = read("--v-case", "#ECECE9");
    return { veil: mat, mat };
  }

  function drawAll(now) {
    frame = 0;
    colours = colours || readColours();
    if (hoverDue) sendHover();
    if (matchDue) matchColours();
    const due = [...waiting];
    waiting.clear();
    for (const cell of due) {
      if (!cell.root.isConnected) continue;
      if (!cell.onScreen && cell.drawn) continue;
      if (cell.draw(now)) hub.request(cell);
    }
    // Reading sizes after all writing: one layout for the whole grid.
    for (const cell of newLegends) cell.placeSize();
    newLegends.clear();
  }

  function sendHover() {
    hoverDue = false;
    if (!hovered || !hovered.cell.root.isConnected) return;
    const { cell, point } = hovered;
    const values = {};
    for (const other of company(cell)) {
      other.showPoint(point);
      if (point) values[other.exhibit.run] = other.exhibit.wordsAt(point.x, point.y).value;
    }
    tell("vitrine:hover", { run: cell.exhibit.run, x: point ? point.x : null, y: point ? point.y : null, values });
  }

  function matchSoon() {
    matchDue = true;
    if (!frame) frame = requestAnimationFrame(drawAll);
  }

  /** Cells with a label map, in the order in which they are read. */
  function labelMaps() {
    const follows = (one, other) => one.root.compareDocumentPosition(other.root) & Node.DOCUMENT_POSITION_FOLLOWING;
    return each()
      .filter((cell) => cell.exhibit.encoding === "labels" && cell.exhibit.field)
      .sort((one, other) => (follows(one, other) ? -1 : 1));
  }

  /**
   * Label maps of one picture take the colours of the first of them, group by group, as far as they overlap. Maps whose
   * groups mean the same in several pictures are compared in all pictures that both have, so that they keep one colour.
   */
  function matchColours() {
    matchDue = false;
    const references = [];
    for (const cell of labelMaps()) {
      const parts = cell.exhibit.partitions;
      const isLike = (one) => one.parts.some((part) => parts.some((other) => other.url === part.url));
      const reference = looks.match ? references.find(isLike) : undefined;
      if (reference) reference.followers.push({ cell, parts });
      else references.push({ cell, parts, followers: [] });
    }
    for (const { cell, parts, followers } of references) {
      recolour(cell, null, "");
      const which = followers.length > 1 ? "all maps" : "both maps";
      for (const follower of followers) {
        const given = vitrine.matching.colours(parts, follower.parts, (label) => cell.exhibit.ownColour(label));
        recolour(follower.cell, given, pictureOf(follower.cell) === pictureOf(cell) ? `same colour in ${which}: they overlap most` : "");
      }
    }
  }

  function recolour(cell, given, words) {
    const { exhibit } = cell;
    if (exhibit.recolour(given, words)) cell.refresh(COLOURS);
    // The table of regions speaks of the map itself, not of what the slider makes of it.
    const colours = given ? [...given] : [];
    const told = `${exhibit.run} ${JSON.stringify(colours)}`;
    if (exhibit.isNested || cell.toldColours === told) return;
    cell.toldColours = told;
    tell("vitrine:colours", { run: exhibit.run, colours });
  }

  function clamp(value, low, high) {
    return Math.min(high, Math.max(low, value));
  }

  function rest() {
    moving = 0;
    for (const cell of each()) if (cell.ratio >= 1.5) cell.refresh(STACK);
  }

  const hub = {
    get looks() {
      return looks;
    },

    get colours() {
      return colours || (colours = readColours());
    },

    request(cell) {
      waiting.add(cell);
      if (!frame) frame = requestAnimationFrame(drawAll);
    },

    /** Whether someone zooms or pans just now. */
    get moving() {
      return moving !== 0;
    },

    legendChanged(cell) {
      newLegends.add(cell);
    },

    viewOf(cell) {
      return looks.linked ? views.get(pictureOf(cell)) || cell.ownView : cell.ownView;
    },

    setView(cell, wanted) {
      const zoom = clamp(wanted.zoom, 1, MOST_ZOOM);
      const room = 0.5 / zoom;
      const view = { x: clamp(wanted.x, room, 1 - room), y: clamp(wanted.y, room, 1 - room), zoom };
      if (looks.linked) views.set(pictureOf(cell), view);
      for (const other of company(cell)) {
        other.ownView = view;
        other.fade = null;
        other.stage.classList.toggle("v-viewer-zoomed", zoom > 1);
        other.refresh(STACK);
      }
      clearTimeout(moving);
      moving = setTimeout(rest, REST_MS);
      return view;
    },

    swipeOf(cell) {
      return looks.linked ? swipe : cell.ownSwipe;
    },

    setSwipe(cell, share) {
      const place = clamp(share, 0, 1);
      cell.ownSwipe = place;
      if (looks.linked) swipe = place;
      for (const other of looks.linked ? each() : [cell]) other.refresh(STACK);
    },

    /** Range of the numbers a cell is coloured by: its own, or that of all cells that show the same kind. */
    extentFor(cell) {
      const { field, rangeKey } = cell.exhibit;
      if (looks.range === "own" || !rangeKey) return [field.min, field.max];
      const fields = each().filter((other) => other.exhibit.rangeKey === rangeKey).map((other) => other.exhibit.field);
      return [Math.min(...fields.map((one) => one.min)), Math.max(...fields.map((one) => one.max))];
    },

    rangeShown(cell, lo, hi) {
      const { run } = cell.exhibit;
      const known = ranges.get(run);
      if (known && known[0] === lo && known[1] === hi) return;
      ranges.set(run, [lo, hi]);
      tell("vitrine:range", { run, lo, hi });
    },

    /** A cell shows another field: whoever shares its range or its choice is coloured again. */
    changed(cell) {
      const key = cell.exhibit.rangeKey;
      matchSoon();
      if (choice && choice.run === cell.exhibit.run && choice.stamp !== stampOf(cell)) hub.unselect();
      for (const other of each()) if (other !== cell && key && other.exhibit.rangeKey === key) other.refresh(COLOURS);
    },

    hover(cell, point) {
      if (hovered && hovered.cell !== cell && hovered.cell.root.isConnected) clearPoint(hovered.cell, cell);
      hovered = { cell, point };
      hoverDue = true;
      if (!frame) frame = requestAnimationFrame(drawAll);
    },

    prepareRegions(cell) {
      return cell.exhibit.loadRegionLayers().catch(() => undefined);
    },

    async pick(cell, point) {
      await hub.prepareRegions(cell);
      const region = cell.exhibit.regionAt(point.x, point.y);
      if (!region) hub.unselect();
      else choose(cell, Object.assign({ point }, region), true);
    },

    unselect() {
      if (!choice) return;
      const { run } = choice;
      choice = null;
      for (const cell of each()) cell.refresh(COLOURS);
      tell("vitrine:region", { run, id: null, label: null });
    },

    async cycle(cell, direction) {
      await hub.prepareRegions(cell);
      const { exhibit } = cell;
      const ids = exhibit.labels.length ? exhibit.labels : exhibit.data.regions.map((region) => region.id);
      if (!ids.length) return;
      const at = choice && choice.run === exhibit.run ? ids.indexOf(choice.id) : direction > 0 ? -1 : 0;
      const region = exhibit.regionById(ids[(at + direction + ids.length) % ids.length]);
      if (region) choose(cell, region, false);
    },

    /** What is lit in a cell: its own region, the one under the same point, or the outline of the place. */
    choiceFor(cell) {
      const { exhibit } = cell;
      if (!choice || !exhibit.field) return null;
      const isHere = choice.picture === pictureOf(cell);
      const isOwn = choice.run === exhibit.run && choice.layer === exhibit.active && exhibit.encoding === "labels";
      // A group that means the same in several pictures stays lit in the next one.
      if (isOwn && (isHere || exhibit.data.shared)) return outlined(exhibit, { id: choice.id, label: choice.label, layer: exhibit.active });
      if (!isHere) return null;
      if (choice.run !== exhibit.run && exhibit.encoding === "labels") {
        const region = exhibit.regionAt(choice.point.x, choice.point.y);
        return region ? outlined(exhibit, region) : null;
      }
      return { path: choice.path, label: choice.run === exhibit.run ? choice.label : "" };
    },
  };

  function stampOf(cell) {
    return JSON.stringify([cell.exhibit.active, cell.exhibit.isNested ? cell.exhibit.k : null]);
  }

  function outlined(exhibit, region) {
    const cache = (exhibit.field.outlines = exhibit.field.outlines || new Map());
    if (!cache.has(region.id)) cache.set(region.id, exhibit.outlineOf(region));
    return { id: region.id, label: region.label, path: cache.get(region.id) };
  }

  function clearPoint(cell, except) {
    for (const other of company(cell)) if (other !== except) other.showPoint(null);
  }

  function choose(cell, region, toggles) {
    const { run } = cell.exhibit;
    const again = choice && choice.run === run && choice.id === region.id && choice.layer === region.layer;
    if (again && toggles) {
      hub.unselect();
      return;
    }
    choice = Object.assign({}, region, { run, picture: pictureOf(cell), path: cell.exhibit.outlineOf(region), stamp: stampOf(cell) });
    for (const other of each()) other.refresh(COLOURS);
    cell.say(`${region.label} is marked`);
    tell("vitrine:region", { run, id: region.id, label: region.label });
  }

  /** Changes how every viewer looks; never asks the server for anything. */
  function setLooks(change) {
    const next = Object.assign({}, looks, checked(change || {}));
    const names = Object.keys(next).filter((name) => JSON.stringify(next[name]) !== JSON.stringify(looks[name]));
    if (!names.length) return;
    if (names.includes("linked") && !next.linked) for (const cell of each()) cell.ownView = hub.viewOf(cell);
    looks = next;
    if (names.includes("match")) matchSoon();
    for (const cell of each()) cell.refresh(stageOf(names));
    tell("vitrine:looks", getLooks());
  }

  function getLooks() {
    return JSON.parse(JSON.stringify(looks));
  }

  /** Takes in descriptions that were written a moment ago and that the observer has not told of yet. */
  function catchUp() {
    for (const root of cells.keys()) upgrade(root);
  }

  async function selectRegion(run, id) {
    catchUp();
    if (id === null || id === undefined) {
      hub.unselect();
      return;
    }
    for (const cell of each(run)) {
      await hub.prepareRegions(cell);
      const region = cell.exhibit.regionById(id);
      if (region) {
        choose(cell, region, false);
        return;
      }
    }
  }

  async function setLayer(run, name) {
    catchUp();
    await Promise.all(each(run).map((cell) => cell.showLayer(name)));
  }

  async function setK(run, k) {
    catchUp();
    await Promise.all(each(run).map((cell) => cell.showGroups(Number(k))));
  }

  /** zoom(run, 2): by a factor; zoom(run, null): back; zoom(run, {x, y, zoom}): centre in picture pixels and magnification. */
  function zoom(run, how) {
    const [cell] = each(run);
    if (!cell) return;
    const view = hub.viewOf(cell);
    const { width, height } = cell.exhibit.picture;
    if (how === null || how === undefined) hub.setView(cell, { x: 0.5, y: 0.5, zoom: 1 });
    else if (typeof how === "number") hub.setView(cell, Object.assign({}, view, { zoom: view.zoom * how }));
    else hub.setView(cell, { x: how.x / width, y: how.y / height, zoom: how.zoom });
  }

  async function savePng(run) {
    const [cell] = each(run);
    return cell ? vitrine.picture.save(cell) : null;
  }

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const cell = cells.get(entry.target);
        if (!cell) continue;
        cell.onScreen = entry.isIntersecting;
        if (cell.onScreen && cell.dirty) hub.request(cell);
      }
    },
    { rootMargin: OFF_SCREEN_MARGIN },
  );

  function upgrade(root) {
    const text = root.getAttribute("data-viewer");
    if (!text) return;
    let cell = cells.get(root);
    if (cell && cell.text === text) return;
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return;
    }
    if (!cell) {
      cell = new Cell(root, hub);
      cells.set(root, cell);
      watcher.observe(root);
    }
    cell.text = text;
    if (cell.exhibit && cell.exhibit.run !== data.run) forget(cell.exhibit.run, cell);
    cell.update(data);
  }

  /** Ends a choice whose run is no longer on the page. */
  function forget(run, leaving) {
    if (choice && choice.run === run && !each(run).some((cell) => cell !== leaving)) hub.unselect();
  }

  function sweep() {
    for (const [root, cell] of cells) {
      if (root.isConnected) continue;
      cell.remove();
      watcher.unobserve(root);
      cells.delete(root);
      waiting.delete(cell);
      if (cell.exhibit) forget(cell.exhibit.run, cell);
      if (hovered && hovered.cell === cell) hovered = null;
    }
    matchSoon();
  }

  function onMutations(records) {
    let removed = false;
    for (const record of records) {
      if (record.type === "attributes") {
        if (record.target.classList.contains("v-viewer")) upgrade(record.target);
        continue;
      }
      removed = removed || record.removedNodes.length > 0;
      for (const node of record.addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        if (node.classList.contains("v-viewer")) upgrade(node);
        else node.querySelectorAll(".v-viewer[data-viewer]").forEach(upgrade);
      }
    }
    if (removed) sweep();
  }

  function repaint() {
    colours = null;
    for (const cell of each()) cell.refresh(STACK);
  }

  function start() {
    document.querySelectorAll(".v-viewer[data-viewer]").forEach(upgrade);
    const options = { subtree: true, childList: true, attributes: true, attributeFilter: ["data-viewer"] };
    new MutationObserver(onMutations).observe(document.body, options);
    new MutationObserver(repaint).observe(document.documentElement, { attributes: true, attributeFilter: ["data-mantine-color-scheme", "class"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
    window.addEventListener("resize", () => each().forEach((cell) => cell.measure()));
  }

  /** What a run shows just now, for panels that draw from the same arrays: its Exhibit, or null before it is here. */
  function exhibitOf(run) {
    const [cell] = each(run);
    return cell ? cell.exhibit : null;
  }

  vitrine.viewer = { setLooks, getLooks, selectRegion, setLayer, setK, zoom, savePng, exhibitOf };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

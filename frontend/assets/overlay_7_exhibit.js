// What one viewer shows: its layers, fields, labels, names and ranges. Loads arrays, knows no canvas and no pointer.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const ORDINALS = ["1st", "2nd", "3rd"];
  /** From this many groups on, numbers and borders are drawn whatever the looks say: colours alone no longer suffice. */
  const NUMBERED_FROM = 6;
  const MARKED_PERCENT = 10;

  /** Returns a number as it is printed: few digits, a real minus sign. `span` is the width of the range it lives in. */
  function format(value, span, withSign) {
    if (!Number.isFinite(value)) return "";
    const wide = Math.abs(span || value || 1);
    const digits = wide >= 100 ? 0 : wide >= 20 ? 1 : wide >= 0.1 ? 2 : wide >= 0.01 ? 3 : -1;
    const size = Math.abs(value);
    const text = digits >= 0 ? size.toFixed(digits) : size === 0 ? "0" : size.toPrecision(2).replace("e-", "e−");
    const sign = value < 0 && Number(size.toFixed(Math.max(0, digits))) !== 0 ? "−" : digits < 0 && value < 0 ? "−" : "";
    return (sign || (withSign && value > 0 ? "+" : "")) + text;
  }

  class Exhibit {
    constructor(data) {
      this.fields = new Map();
      this.stale = new Set();
      this.images = null;
      this.overlay = null;
      this.lines = [];
      this.numbers = [];
      this.nested = null;
      this.matched = null;
      this.matchWords = "";
      this.others = new Map();
      this.data = null;
      this.accept(data);
    }

    /** Takes a new description; keeps what is still valid. Returns whether the picture changed. */
    accept(data) {
      const before = this.data;
      const layers = Array.isArray(data.layers) ? data.layers : [];
      this.data = Object.assign({}, data, { layers, regions: data.regions || [], state: data.state || "done" });
      this.run = data.run;
      this.picture = data.picture;
      this.seen = data.seen || null;
      const moved = !before || before.picture.url !== data.picture.url;
      if (moved) this.images = null;
      if (!before || before.run !== data.run || before.active !== data.active || !this.layer(this.active)) {
        this.active = this.layer(data.active) ? data.active : layers.length ? layers[0].name : null;
      }
      const nestedBefore = before && before.nested ? before.nested : null;
      if (!data.nested) this.k = null;
      else if (!nestedBefore || nestedBefore.k !== data.nested.k || this.k === null) this.k = data.nested.k;
      if (!before || before.run !== data.run) this.others = new Map();
      this.keepValidFields(before);
      return moved;
    }

    /** Fields whose address changed stay on screen until the new ones are here; those of another run do not. */
    keepValidFields(before) {
      const address = (layer) => JSON.stringify([layer.url, layer.index, layer.frame, layer.a, layer.b, layer.paint, layer.grid]);
      const old = new Map((before ? before.layers : []).map((layer) => [layer.name, address(layer)]));
      const sameRun = before && before.run === this.data.run && before.picture.url === this.data.picture.url;
      const kept = new Map();
      const stale = new Set();
      for (const layer of this.data.layers) {
        if (!this.fields.has(layer.name)) continue;
        const valid = layer.a === undefined && old.get(layer.name) === address(layer) && !this.stale.has(layer.name);
        if (!valid && !sameRun) continue;
        kept.set(layer.name, this.fields.get(layer.name));
        if (!valid) stale.add(layer.name);
      }
      this.fields = kept;
      this.stale = stale;
      const tables = (data) => JSON.stringify(data && data.nested ? [data.nested.lut_url, data.nested.colour_url] : null);
      if (tables(before) !== tables(this.data)) this.nested = null;
    }

    layer(name) {
      return this.data.layers.find((layer) => layer.name === name) || null;
    }

    get activeLayer() {
      return this.layer(this.active);
    }

    get encoding() {
      const layer = this.activeLayer;
      return layer ? layer.encoding : null;
    }

    /** "add": ranked maps in the colours of their parts; "cover": drawn over the picture as they are. */
    get mixing() {
      const layer = this.activeLayer;
      if (!layer || layer.encoding !== "rgb") return "cover";
      return layer.mixing || (/composite/i.test(layer.name) ? "add" : "cover");
    }

    get isNested() {
      return Boolean(this.data.nested && this.nested && this.active === this.data.nested.base);
    }

    /** The field of the active layer as it is shown now (nested groups looked up), or null while it is not here. */
    get field() {
      const field = this.fields.get(this.active);
      return field ? this.grouped(field) : null;
    }

    /** The field with as many groups as the slider says. */
    grouped(field) {
      if (!this.isNested) return field;
      field.atK = field.atK || new Map();
      if (!field.atK.has(this.k)) field.atK.set(this.k, vitrine.field.relabel(field, this.nested.lut, this.k - 1));
      return field.atK.get(this.k);
    }

    async load() {
      const wanted = this.active;
      const images = vitrine.paint.loadPicture(this.picture.url).then((ready) => (this.images = ready));
      const regions = this.data.numbered && this.loadRegionLayers();
      await Promise.all([images, wanted && this.loadLayer(wanted), this.data.nested && this.loadNested(), this.loadOthers(), regions]);
    }

    /** Groups that mean the same in several pictures: the maps of all of them, so that colours are chosen for all at once. */
    async loadOthers() {
      if (!this.data.shared || this.encoding !== "labels") return;
      const wanted = this.data.pictures.map(({ picture, layers }) => [picture, layers.find((layer) => layer.name === this.active)]);
      const load = async ([picture, layer]) => {
        const array = await vitrine.npy.load(layer.url);
        this.others.set(layer.url, vitrine.field.makeField(array, layer.frame, picture));
      };
      // A map that does not arrive is missed where it is shown; here it only counts for nothing.
      await Promise.all(wanted.filter(([, layer]) => layer && !this.others.has(layer.url)).map((one) => load(one).catch(() => undefined)));
    }

    /** Label maps that are compared with those of other cells: [{url, field, seen}], one for each picture. */
    get partitions() {
      const shown = { url: this.picture.url, field: this.field, seen: this.seen };
      if (!this.data.shared) return [shown];
      const parts = this.data.pictures.map(({ picture, layers, seen }) => {
        if (picture.url === this.picture.url) return shown;
        const layer = layers.find((one) => one.name === this.active);
        const field = layer ? this.others.get(layer.url) : null;
        return { url: picture.url, field: field && this.grouped(field), seen };
      });
      return parts.filter((part) => part.field);
    }

    async loadNested() {
      const { lut_url: lut, colour_url: colour, words_url: words, base } = this.data.nested;
      // What the slider says comes along, so that sliding asks the server for nothing.
      if (words) vitrine.npy.load(words).catch(() => undefined);
      const [lutArray, colourArray] = await Promise.all([vitrine.npy.load(lut), vitrine.npy.load(colour), this.loadLayer(base)]);
      this.nested = { lut: lutArray, colour: colourArray };
    }

    async loadLayer(name) {
      if (this.fields.has(name) && !this.stale.has(name)) return this.fields.get(name);
      const layer = this.layer(name);
      if (!layer) return null;
      const field = await this.makeLayer(layer);
      if (this.layer(name) !== layer) return field;
      this.fields.set(name, field);
      this.stale.delete(name);
      return field;
    }

    /** Layers are fetched, subtracted, or made here of what is here: values of regions ("paint"), numbers of cells ("grid"). */
    makeLayer(layer) {
      if (layer.a !== undefined) return this.subtract(layer);
      if (layer.paint) return this.paint(layer);
      if (layer.grid) return vitrine.field.makeField({ shape: layer.grid.shape, data: Float32Array.from(layer.grid.data), kind: "f4" }, layer.frame, this.picture);
      return this.fetchField(layer);
    }

    /** With an index, one map of a stack that is fetched whole: its other maps then need no further request. */
    async fetchField(layer) {
      const { width, height } = this.picture;
      const array = await vitrine.npy.load(layer.url);
      const map = Number.isInteger(layer.index) ? vitrine.field.sliceOf(array, layer.index) : array;
      return vitrine.field.makeField(map, layer.frame || [0, 0, width, height], this.picture);
    }

    async paint(layer) {
      const { labels, values } = layer.paint;
      return vitrine.field.paintRegions(await this.loadLayer(labels), new Map(values));
    }

    async subtract(layer) {
      const [a, b] = await Promise.all([this.loadLayer(layer.a), this.loadLayer(layer.b)]);
      return vitrine.field.contrast(a, b);
    }

    /** Label layers that regions point at, so that they can be outlined when they are picked. */
    async loadRegionLayers() {
      const names = new Set(this.data.regions.map((region) => region.layer).filter((name) => name && this.layer(name)));
      await Promise.all([...names].map((name) => this.loadLayer(name)));
    }

    /** Key under which cells share a common range: same kind of numbers, same meaning of the ends. */
    get rangeKey() {
      const layer = this.activeLayer;
      if (!layer || !this.field || (layer.encoding !== "sequential" && layer.encoding !== "signed")) return null;
      return JSON.stringify([this.data.group || this.run, layer.encoding, layer.unit || "", layer.ends || []]);
    }

    get ends() {
      const layer = this.activeLayer;
      if (this.matchWords && this.encoding === "labels") return [this.matchWords, ""];
      const [low, high] = (layer && layer.ends) || ["", ""];
      if (layer && layer.a !== undefined && !low && !high) {
        return [`${this.titleOf(layer.b)} higher`, `${this.titleOf(layer.a)} higher`];
      }
      if (low || high) return [low, high];
      if (!layer || layer.encoding === "labels") return ["same colour: one group", ""];
      return layer.encoding === "signed" ? ["against", "for"] : ["low", "high"];
    }

    titleOf(name) {
      const layer = this.layer(name);
      return layer ? layer.title || layer.name : name;
    }

    /** Takes the colours that make this map comparable with another one (null: its own); returns whether they are news. */
    recolour(matched, words) {
      const text = (colours) => JSON.stringify(colours && [...colours]);
      const isNews = text(matched) !== text(this.matched) || words !== this.matchWords;
      this.matched = matched;
      this.matchWords = words;
      return isNews;
    }

    colourIndex(label) {
      const matched = this.matched ? this.matched.get(label) : undefined;
      return matched === undefined ? this.ownColour(label) : matched;
    }

    ownColour(label) {
      if (this.isNested) {
        const [rows, columns] = this.nested.colour.shape;
        const row = Math.min(rows - 1, this.k - 1);
        const base = this.baseLabel(label, row);
        return base < 0 ? label : this.nested.colour.data[row * columns + base];
      }
      const region = this.regionOf(label);
      if (region && Number.isInteger(region.colour)) return region.colour;
      const known = ((this.activeLayer || {}).colours || []).find(([number]) => number === label);
      return known ? known[1] : label;
    }

    baseLabel(label, row) {
      const [, columns] = this.nested.lut.shape;
      for (let base = 0; base < columns; base += 1) if (this.nested.lut.data[row * columns + base] === label) return base;
      return -1;
    }

    regionOf(label) {
      if (this.isNested) return null;
      return this.data.regions.find((region) => region.id === label && (!region.layer || region.layer === this.active)) || null;
    }

    nameOf(label) {
      const region = this.regionOf(label);
      return (region && region.label) || `group ${label + 1}`;
    }

    get labels() {
      return this.encoding === "labels" && this.field ? [...vitrine.outline.middles(this.field).keys()] : [];
    }

    get isNumbered() {
      return this.labels.length >= NUMBERED_FROM || Boolean(this.data.numbered && this.encoding === "labels");
    }

    /** The region under a point of the picture: {id, label, layer}, or null. */
    regionAt(x, y) {
      if (this.encoding === "labels" && this.field) {
        const id = vitrine.field.valueAt(this.field, x, y);
        return id >= 0 ? { id, label: this.nameOf(id), layer: this.active } : null;
      }
      const holding = this.data.regions.filter((region) => this.holds(region, x, y));
      holding.sort((one, two) => (one.area || 0) - (two.area || 0));
      const found = holding[0];
      return found ? { id: found.id, label: found.label, layer: found.layer || null, box: found.box } : null;
    }

    holds(region, x, y) {
      const field = region.layer ? this.fields.get(region.layer) : null;
      if (field) return vitrine.field.valueAt(field, x, y) === region.id;
      const [left, top, right, bottom] = region.box || [0, 0, 0, 0];
      return x >= left && x < right && y >= top && y < bottom;
    }

    /** The region with this number: in the shown label map, else in the list. */
    regionById(id) {
      const place = this.encoding === "labels" && this.field ? vitrine.outline.middles(this.field).get(id) : null;
      if (place) return { id, label: this.nameOf(id), layer: this.active, point: { x: place.x, y: place.y } };
      const region = this.data.regions.find((candidate) => candidate.id === id);
      if (!region) return null;
      const field = region.layer ? this.fields.get(region.layer) : null;
      const middle = field ? vitrine.outline.middles(field).get(id) : null;
      const [left, top, right, bottom] = region.box;
      const point = middle ? { x: middle.x, y: middle.y } : { x: (left + right) / 2, y: (top + bottom) / 2 };
      return { id, label: region.label, layer: region.layer || null, box: region.box, point };
    }

    outlineOf(region) {
      const shown = region.layer === this.active ? this.field : this.fields.get(region.layer);
      if (shown) return vitrine.outline.outline(shown, (value) => value === region.id);
      return region.box ? vitrine.outline.boxPath(region.box) : new Path2D();
    }

    /** Lines of the looks: contour of what is marked, or borders of regions. */
    staticLines(looks, scale, level) {
      const field = this.field;
      if (!field || field.channels > 1) return [];
      if (this.encoding === "labels") {
        return looks.contour || this.isNumbered ? [{ path: (field.borders = field.borders || vitrine.outline.borders(field)), width: 1 }] : [];
      }
      const partition = this.activeLayer.smooth === false ? this.partition() : null;
      if (!(partition && this.data.numbered) && (!looks.contour || this.data.state === "partial")) return [];
      if (partition) return [{ path: (partition.borders = partition.borders || vitrine.outline.borders(partition)), width: 1 }];
      return this.contourLines(looks, scale, level);
    }

    partition() {
      const named = this.data.regions.find((region) => region.layer && this.fields.get(region.layer));
      const field = named ? this.fields.get(named.layer) : null;
      return field && field.width === this.field.width && field.height === this.field.height ? field : null;
    }

    contourLines(looks, scale, level) {
      const field = this.field;
      const at = Number.isFinite(level) ? level : vitrine.field.topLevel(field, MARKED_PERCENT, scale.size);
      if (!(field.max > field.min) || !Number.isFinite(at)) return [];
      const smooth = this.isSmooth(looks);
      const key = [at, scale.size, smooth].join("|");
      if (!field.contour || field.contour.key !== key) {
        const inside = (value) => (scale.size ? Math.abs(value) : value) >= at;
        const path = smooth ? vitrine.outline.contour(field, at, scale.size) : vitrine.outline.outline(field, inside);
        field.contour = { key, path };
      }
      return [{ path: field.contour.path, width: 1 }];
    }

    isSmooth(looks) {
      const layer = this.activeLayer;
      return Boolean(layer && looks.smooth && layer.encoding !== "labels" && layer.smooth !== false);
    }

    regionNumbers() {
      if (this.hasValues) return this.regionValues();
      if (!this.isNumbered) return [];
      return [...vitrine.outline.middles(this.field)].map(([label, place]) => ({
        x: place.x,
        y: place.y,
        text: String(label + 1),
        pale: vitrine.palettes.isPale(vitrine.palettes.category(this.colourIndex(label))),
      }));
    }

    /** Whether the map gives each region one value, which is then printed on it with its sign. */
    get hasValues() {
      const layer = this.activeLayer;
      return Boolean(this.data.numbered && layer && layer.encoding === "signed" && layer.smooth === false && this.field && this.partition());
    }

    regionValues() {
      const { field } = this;
      const span = Math.max(Math.abs(field.min), Math.abs(field.max));
      return [...vitrine.outline.middles(this.partition())].map(([label, place]) => {
        const value = vitrine.field.valueAt(field, place.x, place.y);
        const text = Number.isFinite(value) ? `${label + 1}\n${format(value, span, true)}` : String(label + 1);
        return { x: place.x, y: place.y, text, pale: false };
      });
    }

    /** What the badge says about a point of the picture. */
    wordsAt(x, y) {
      const field = this.field;
      if (!field) return { value: null, text: "" };
      const cell = vitrine.field.cellAt(field, x, y);
      const hidden = this.seen && !(x >= this.seen[0] && x < this.seen[2] && y >= this.seen[1] && y < this.seen[3]);
      if (cell < 0 || hidden) return { value: null, text: "not seen" };
      if (this.encoding === "rgb") return this.partAt(field, cell);
      const value = field.data[cell];
      if (this.encoding === "labels") return value >= 0 ? { value, text: this.nameOf(value) } : { value: null, text: "left out" };
      if (!Number.isFinite(value)) return { value: null, text: this.data.state === "partial" ? "not yet" : "no value" };
      const unit = this.activeLayer.unit ? ` ${this.activeLayer.unit}` : "";
      const number = format(value, field.max - field.min, this.encoding === "signed") + unit;
      const region = this.hasValues ? this.regionAt(x, y) : null;
      const words = region ? `${region.label} ${number}` : number;
      return { value, text: this.data.state === "partial" ? `${words} so far` : words };
    }

    partAt(field, cell) {
      if (this.mixing !== "add") return { value: null, text: "" };
      const parts = Array.from(field.data.slice(cell * 3, cell * 3 + 3), (value) => value / 255);
      const best = parts.indexOf(Math.max(...parts));
      return { value: parts[best], text: `${ORDINALS[best]} ${parts[best].toFixed(2)}` };
    }
  }

  vitrine.exhibit = { Exhibit, format };
})();

// The panel of learned words: two lists with what each word adds to a class, as a sum that runs to the logit; the card
// of one word (its place on the picture, where it was taken from, what resembles it); words of the cell one points at.
// Class, counterpart, list and word change here, out of arrays that are fetched once.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const { exhibitOf, make, button, select, isNumber, digitsFor, number, signed, placeBar } = vitrine.pieces;
  const NOTHING = "-";
  const HERE_WORDS = 3;
  const THUMB = 64;
  const MOST_CLASSES_NAMED = 3;

  class WordPanel {
    constructor(root, facts) {
      Object.assign(this, { root, facts, list: "decide", minus: null, chosen: null, pointed: null, isPartOf: null });
      this.known = new Map(facts.known.map((word) => [word.id, word]));
      this.layer = facts.active;
      this.isReady = false;
      this.build();
      this.loading = Promise.all([this.load(), exhibitOf(facts.run)]).then(() => this.begin(), () => this.tell("The words did not arrive. The map is not affected."));
    }

    async load() {
      const names = Object.keys(this.facts.arrays);
      const arrays = await Promise.all(names.map((name) => vitrine.npy.load(this.facts.arrays[name])));
      names.forEach((name, at) => {
        this[name] = arrays[at];
      });
      const [, rows, columns] = this.word_maps.shape;
      Object.assign(this, { rows, columns });
      this.places = new Map([...this.word_ids.data].map((id, at) => [id, at]));
      this.classRows = new Map([...this.contribution_classes.data].map((index, at) => [index, at]));
    }

    begin() {
      this.isReady = true;
      const shown = this.facts.classes.filter((one) => this.classRows.has(one.index));
      this.target = this.classRows.has(this.facts.target) ? this.facts.target : shown.length ? shown[0].index : [...this.classRows.keys()][0];
      this.buildControls(shown);
      this.show();
      // What was chosen before (a share, a reload) and is made here is shown again.
      const [, word] = /^word (\d+)$/.exec(this.facts.shown) || [];
      if (word !== undefined && this.places.has(Number(word))) this.light(Number(word), true);
    }

    tell(words) {
      this.here.textContent = words;
    }

    // ---- Numbers --------------------------------------------------------------------------------------------------

    get count() {
      return this.scores.shape[0];
    }

    /** What a word adds to the class, or to the difference of two classes, in logits. */
    addsOf(word) {
      const at = (index) => this.contributions.data[this.classRows.get(index) * this.count + word];
      return this.minus === null ? at(this.target) : at(this.target) - at(this.minus);
    }

    listed() {
      const all = Array.from({ length: this.count }, (_, word) => word);
      const size = this.list === "similar" ? (word) => this.scores.data[word] : (word) => Math.abs(this.addsOf(word));
      return all.sort((one, two) => size(two) - size(one) || one - two).slice(0, this.facts.length);
    }

    cellOf(word) {
      return [this.word_cells.data[2 * word], this.word_cells.data[2 * word + 1]];
    }

    /** Box of a word in pixels of the picture; where it was not computed, the block of its cell. */
    boxOf(word) {
      const known = this.known.get(word);
      if (known) return known.box;
      const given = this.word_boxes ? [...this.word_boxes.data.slice(4 * word, 4 * word + 4)] : [NaN];
      if (given.every(isNumber)) return given;
      const [left, top, right, bottom] = this.facts.frame;
      const [row, column] = this.cellOf(word);
      const [wide, tall] = [(right - left) / this.columns, (bottom - top) / this.rows];
      return [left + column * wide, top + row * tall, left + (column + 1) * wide, top + (row + 1) * tall];
    }

    nameOf(word) {
      const known = this.known.get(word);
      return known ? known.label.split(",")[0] : `word ${word}`;
    }

    sourceOf(word) {
      const crop = this.facts.crops.find((one) => one.word === word && one.kind === "source");
      const known = this.known.get(word);
      return (known && known.source_class) || (crop && crop.class) || "";
    }

    labelOf(index) {
      const found = this.facts.classes.find((one) => one.index === index);
      return found ? found.label : `class ${index}`;
    }

    // ---- Controls -------------------------------------------------------------------------------------------------

    build() {
      this.controls = make("div", "v-word-controls");
      this.here = make("p", "v-note v-here", "Reading the words of this picture.", { "data-testid": "here" });
      this.rowsBox = make("ol", "v-word-list", null, { "aria-label": "Words" });
      this.root.replaceChildren(this.controls, this.here, this.rowsBox);
    }

    buildControls(classes) {
      const named = (one) => ({ value: String(one.index), label: isNumber(one.probability) ? `${one.label} ${number(one.probability, 2)}` : one.label });
      const options = classes.map(named);
      this.classList = select("Class", options, String(this.target), (value) => this.setClass(Number(value)));
      this.minusList = select("Compare with", [{ value: NOTHING, label: "nothing" }, ...options], NOTHING, (value) => this.setMinus(value === NOTHING ? null : Number(value)));
      const listChip = (list, words) => button("v-chip", words, () => this.setList(list), { "data-list": list });
      this.lists = make("div", "v-chips", [listChip("decide", ""), listChip("similar", "In this picture")], { role: "group", "aria-label": "List of words" });
      const layerChip = (name, words) => button("v-chip", words, () => this.setLayer(name), { "data-shows": name });
      const chips = [layerChip("word", "One word"), ...this.facts.layers.map((layer) => layerChip(layer.signed ? "logit" : layer.name, layer.title))];
      this.layers = make("div", "v-chips", chips, { role: "group", "aria-label": "Layer shown" });
      this.controls.replaceChildren(make("div", "v-control-pair", [this.classList, this.minusList]), this.layers, this.lists);
    }

    setClass(index) {
      this.target = index;
      if (this.minus === index) {
        this.minus = null;
        this.minusList.querySelector("select").value = NOTHING;
      }
      this.changed();
    }

    setMinus(index) {
      this.minus = index === this.target ? null : index;
      if (this.minus === null) this.minusList.querySelector("select").value = NOTHING;
      this.changed();
    }

    setList(list) {
      this.list = list;
      this.changed();
    }

    /** Another class or list: the card stays with its word while the list has it. */
    changed() {
      const ids = this.listed();
      if (!ids.includes(this.chosen)) this.chosen = null;
      this.show();
      if (this.shows === "logit") this.setLayer("logit");
      else if (this.shows === "word") this.setLayer("word");
    }

    get shows() {
      if (String(this.layer).startsWith("word ")) return "word";
      return this.isLogit(this.layer) ? "logit" : this.layer;
    }

    isLogit(name) {
      return String(name).startsWith("logit of ") || this.facts.layers.some((one) => one.signed && one.name === name);
    }

    setLayer(name) {
      if (name === "word") this.light(this.chosen === null ? this.listed()[0] : this.chosen, true);
      else {
        vitrine.viewer.selectRegion(this.facts.run, null);
        this.keep(name === "logit" ? this.logitLayer() : name);
      }
    }

    keep(name) {
      this.layer = name;
      vitrine.looks.setLayer(this.facts.run, name);
      this.mark();
    }

    /** The layer with every word's part on its cell: the run's own for its class, else made here. */
    logitLayer() {
      const own = this.facts.layers.find((layer) => layer.signed);
      if (own && this.target === this.facts.target && this.minus === null) return own.name;
      const data = new Array(this.rows * this.columns).fill(0);
      for (let word = 0; word < this.count; word += 1) {
        const [row, column] = this.cellOf(word);
        data[row * this.columns + column] += this.addsOf(word);
      }
      const label = this.labelOf(this.target);
      const ends = this.minus === null ? [`against ${label}`, `for ${label}`] : [`for ${this.labelOf(this.minus)}`, `for ${label}`];
      const name = `logit of ${this.target} ${this.minus === null ? "" : this.minus}`.trim();
      const look = { encoding: "signed", range: null, unit: "logits", smooth: false, target: this.target, role: "detail" };
      const layer = Object.assign(look, { name, title: own ? own.title : "Logit by cell", frame: this.facts.frame, ends, grid: { shape: [this.rows, this.columns], data } });
      vitrine.looks.addLayer(this.facts.run, layer);
      return name;
    }

    // ---- One word on the map --------------------------------------------------------------------------------------

    wordLayer(word) {
      const { run, arrays, frame } = this.facts;
      const name = `word ${word}`;
      const exhibit = vitrine.viewer.exhibitOf(run);
      const isThere = exhibit && exhibit.layer(name) && exhibit.data.regions.some((region) => region.id === word);
      if (isThere || !this.places.has(word)) return name;
      const title = this.nameOf(word);
      const look = { encoding: "sequential", range: [0, 9.21], unit: "", smooth: true, target: null, role: "detail" };
      const known = exhibit && exhibit.layer(name);
      const layer = known || Object.assign(look, { name, title, url: arrays.word_maps, index: this.places.get(word), frame, ends: [`unlike ${title}`, `like ${title}`] });
      const region = { id: word, label: title, layer: null, colour: null, box: this.boxOf(word), score: this.scores.data[word], area: 0 };
      vitrine.looks.addLayer(run, layer, region);
      return name;
    }

    /** Shows a word's map and box; for good when it was chosen, else as long as one points at it. */
    light(word, isChosen) {
      const { run } = this.facts;
      const name = this.wordLayer(word);
      if (isChosen) {
        this.keep(name);
        this.setChosen(word);
      } else vitrine.viewer.setLayer(run, name);
      this.lit = word;
      vitrine.viewer.selectRegion(run, word);
    }

    point(word) {
      this.pointed = word;
      if (word !== null) {
        if (this.lit !== word || this.shows !== "word") this.light(word, false);
        return;
      }
      const { run } = this.facts;
      vitrine.viewer.setLayer(run, this.layer);
      this.lit = this.shows === "word" ? this.chosen : null;
      vitrine.viewer.selectRegion(run, this.lit);
    }

    setChosen(word) {
      if (this.chosen === word) return;
      this.chosen = word;
      this.show();
    }

    mark() {
      for (const chip of this.layers.children) {
        const on = chip.dataset.shows === this.shows;
        chip.setAttribute("aria-pressed", String(on));
        chip.classList.toggle("is-on", on);
      }
      const label = this.labelOf(this.target);
      const words = this.minus === null ? `Decide for ${label}` : `Decide between ${label} and ${this.labelOf(this.minus)}`;
      for (const chip of this.lists.children) {
        const on = chip.dataset.list === this.list;
        chip.setAttribute("aria-pressed", String(on));
        chip.classList.toggle("is-on", on);
        if (chip.dataset.list === "decide") chip.textContent = words;
      }
    }

    // ---- The list -------------------------------------------------------------------------------------------------

    show() {
      const ids = this.listed();
      if (this.chosen === null || !ids.includes(this.chosen)) this.chosen = ids[0];
      const all = Array.from({ length: this.count }, (_, word) => this.addsOf(word));
      const total = all.reduce((sum, value) => sum + value, 0);
      const steps = [];
      let running = 0;
      for (const word of ids) steps.push({ word, from: running, to: (running += this.addsOf(word)) });
      const ends = [0, total, ...steps.map((step) => step.to)];
      const scale = { low: Math.min(...ends), high: Math.max(...ends), digits: Math.min(2, digitsFor(Math.max(...ends.map(Math.abs)))) };
      const focused = document.activeElement && this.rowsBox.contains(document.activeElement) ? document.activeElement.dataset.word : null;
      const rest = this.count - ids.length;
      const rows = steps.map((step) => this.row(step, scale));
      if (rest > 0) rows.push(this.plainRow(`the other ${rest} words`, running, total, scale));
      rows.push(this.totalRow(total, scale));
      this.rowsBox.replaceChildren(...rows);
      this.mark();
      if (this.isPartOf === null) this.tell("Point at the picture to read the words of a cell.");
      const again = focused && this.rowsBox.querySelector(`button[data-word="${focused}"]`);
      if (again) again.focus({ preventScroll: true });
    }

    track(from, to, { low, high }) {
      const bar = make("i", "v-signed-bar");
      placeBar(bar, from, to, low, high);
      const zero = make("i", "v-zero");
      placeBar(zero, 0, 0, low, high);
      return make("span", "v-track is-running", [zero, bar], { "aria-hidden": "true" });
    }

    row({ word, from, to }, scale) {
      const on = word === this.chosen;
      const source = this.sourceOf(word);
      const crop = this.facts.crops.find((one) => one.word === word && one.kind === "source");
      const picture = crop ? make("img", "v-word-crop", null, { src: crop.url, alt: "", loading: "lazy" }) : make("span", "v-word-crop");
      const names = make("span", "v-word-names", [make("b", "", this.nameOf(word)), source ? make("span", "", `from ${source}`) : null]);
      const value = make("b", "v-value", signed(to - from, scale.digits));
      const label = `${this.nameOf(word)}${source ? `, from ${source}` : ""}, adds ${signed(to - from, scale.digits)}, ${number(to, scale.digits)} so far`;
      const head = button("v-word-row", [picture, names, this.track(from, to, scale), value], () => this.light(word, true), { "data-word": word, "aria-expanded": String(on), "aria-label": label });
      head.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.point(word));
      head.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.point(null));
      head.addEventListener("focus", () => head.matches(":focus-visible") && this.point(word));
      head.addEventListener("blur", () => this.pointed === word && this.root.isConnected && this.point(null));
      return make("li", on ? "is-on" : "", on ? [head, this.card(word, to)] : head, { "data-testid": "word" });
    }

    plainRow(words, from, to, scale) {
      const parts = [make("span", "v-word-crop is-none"), make("span", "v-word-names", words), this.track(from, to, scale), make("b", "v-value", signed(to - from, scale.digits))];
      return make("li", "v-word-rest", make("div", "v-word-row", parts));
    }

    totalRow(total, scale) {
      const words = this.minus === null ? `Logit of ${this.labelOf(this.target)}` : `Logit of ${this.labelOf(this.target)} minus ${this.labelOf(this.minus)}`;
      const parts = [make("span", "v-word-names", words), make("b", "v-value", number(total, scale.digits))];
      return make("li", "v-word-total", make("div", "v-word-row is-total", parts), { "data-testid": "total" });
    }

    // ---- The card of one word -------------------------------------------------------------------------------------

    card(word, sum) {
      const score = this.scores.data[word];
      const adds = this.addsOf(word);
      const weight = score ? adds / score : 0;
      const made = make("p", "v-word-sum", [`score ${number(score, 2)} × weight ${signed(weight, Math.max(2, digitsFor(Math.abs(weight))))} = `, make("b", "", signed(adds, 2)), `, sum so far ${number(sum, 2)}`]);
      const crops = this.facts.crops.filter((one) => one.word === word);
      const source = crops.filter((one) => one.kind === "source").map((one) => this.crop(one, "taken from"));
      const near = crops.filter((one) => one.kind !== "source").map((one) => this.crop(one, "nearest"));
      const here = make("figure", "v-word-figure", [this.thumb(word), make("figcaption", "", [make("span", "", "here"), make("span", "", " ")])]);
      const pictures = make("div", "v-word-pictures", [here, ...source, ...near]);
      const known = this.known.get(word) || {};
      const shared = String(known.shared_usage || "").split(", ").filter(Boolean);
      const named = shared.slice(0, MOST_CLASSES_NAMED).join(", ");
      const more = shared.length > MOST_CLASSES_NAMED ? ` and ${shared.length - MOST_CLASSES_NAMED} more` : "";
      const use = shared.length ? make("p", "v-note", `Used by ${named}${more}.`) : null;
      const flags = known.flags ? make("p", "v-note", String(known.flags)) : null;
      return make("div", "v-word-card", [pictures, made, use, flags], { "data-testid": "word-card" });
    }

    crop({ url, class: label, kind }, words) {
      const image = make("img", "", null, { src: url, alt: `${kind === "source" ? "source" : "nearest patch"}, ${label}`, loading: "lazy" });
      return make("figure", "v-word-figure", [image, make("figcaption", "", [make("span", "", words), make("span", "", label)], { title: `${words} ${label}` })]);
    }

    /** What the model saw of the picture, with the word's map and its box; drawn as soon as the picture is here. */
    thumb(word) {
      const ratio = window.devicePixelRatio || 1;
      const [left, top, right, bottom] = this.facts.frame;
      const shape = (right - left) / (bottom - top);
      const canvas = vitrine.paint.makeCanvas(THUMB * ratio * Math.min(1, shape), THUMB * ratio * Math.min(1, 1 / shape));
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${this.nameOf(word)} on this picture`);
      this.drawThumb(canvas, word, 0);
      return canvas;
    }

    drawThumb(canvas, word, tries) {
      const exhibit = vitrine.viewer.exhibitOf(this.facts.run);
      if (!exhibit || !exhibit.images || !this.places.has(word)) {
        if (tries < 200) setTimeout(() => this.root.isConnected && this.drawThumb(canvas, word, tries + 1), 100);
        return;
      }
      const [left, top, right, bottom] = this.facts.frame;
      const { images, picture } = exhibit;
      const context = canvas.getContext("2d");
      const stretch = images.grey.width / picture.width;
      const [sx, sy] = [canvas.width / (right - left), canvas.height / (bottom - top)];
      context.drawImage(images.grey, left * stretch, top * stretch, (right - left) * stretch, (bottom - top) * stretch, 0, 0, canvas.width, canvas.height);
      this.drawMap(context, word);
      const [boxLeft, boxTop, boxRight, boxBottom] = this.boxOf(word);
      const box = [(boxLeft - left) * sx, (boxTop - top) * sy, (boxRight - boxLeft) * sx, (boxBottom - boxTop) * sy];
      const unit = canvas.width / THUMB;
      for (const [colour, width] of [["rgba(12, 13, 13, 0.6)", 3], ["#FFFFFF", 1.5]]) {
        context.strokeStyle = colour;
        context.lineWidth = width * unit;
        context.strokeRect(...box);
      }
    }

    drawMap(context, word) {
      const map = vitrine.field.sliceOf(this.word_maps, this.places.get(word)).data;
      const [low, high] = [Math.min(...map), Math.max(...map)];
      const cells = vitrine.paint.makeCanvas(this.columns, this.rows);
      const image = new ImageData(this.columns, this.rows);
      const pixels = new Uint32Array(image.data.buffer);
      const table = vitrine.palettes.table(vitrine.viewer.getLooks().palette);
      map.forEach((value, at) => {
        pixels[at] = table[Math.round((vitrine.palettes.STEPS - 1) * (high > low ? (value - low) / (high - low) : 0))];
      });
      cells.getContext("2d").putImageData(image, 0, 0);
      context.imageSmoothingEnabled = true;
      context.globalAlpha = 0.86;
      context.drawImage(cells, 0, 0, context.canvas.width, context.canvas.height);
      context.globalAlpha = 1;
    }

    // ---- What happens on the map ----------------------------------------------------------------------------------

    onHover({ x, y }) {
      if (!this.isReady || !this.facts.frame) return;
      const [left, top, right, bottom] = this.facts.frame;
      const inside = x !== null && x >= left && x < right && y >= top && y < bottom;
      const column = inside ? Math.floor(((x - left) / (right - left)) * this.columns) : -1;
      const row = inside ? Math.floor(((y - top) / (bottom - top)) * this.rows) : -1;
      const key = inside ? row * this.columns + column : null;
      if (key === this.isPartOf) return;
      this.isPartOf = key;
      const at = (word) => this.word_maps.data[this.places.get(word) * this.rows * this.columns + key];
      const best = inside ? [...this.places.keys()].sort((one, two) => at(two) - at(one) || one - two).slice(0, HERE_WORDS) : [];
      this.tell(inside ? `This cell: ${best.map((word) => `${this.nameOf(word)} ${number(at(word), 2)}`).join(", ")}` : "Point at the picture to read the words of a cell.");
      this.rowsBox.querySelectorAll("button[data-word]").forEach((node) => {
        const [wordRow, wordColumn] = this.cellOf(Number(node.dataset.word));
        node.classList.toggle("is-pointed", wordRow === row && wordColumn === column);
      });
    }

    onRegion({ id }) {
      if (id === null || !this.isReady || this.pointed !== null || !this.listed().includes(id) || id === this.chosen) return;
      this.setChosen(id);
    }

    /** A layer that was chosen elsewhere (the class in the row's head) is the one that stays. */
    onLayer({ layer }) {
      this.layer = layer;
      if (this.isReady) this.mark();
    }
  }

  vitrine.panels.register("visual_words", (root, facts) => {
    const panel = new WordPanel(root, facts);
    return {
      onRegion: (detail) => panel.onRegion(detail),
      onHover: (detail) => panel.onHover(detail),
      onLayer: (detail) => panel.onLayer(detail),
    };
  });
})();

// The panel of values of regions: the caption in words that can be chosen (or classes), what the model says with one
// region alone and without it, the values as bars with their errors, and the table of words by regions.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const { make, button, select, isNumber, digitsFor, number, signed, percent, signedColour, placeBar } = vitrine.pieces;
  const THUMB = 76;
  const WHOLE = "whole";
  const BLUR_PART = 12;

  class RegionPanel {
    constructor(root, facts) {
      Object.assign(this, { root, facts, chosen: null, anchor: null, level: "phrase", region: null, pointed: null, table: null });
      this.values = new Map(facts.regions.map((one) => [one.id, one.value]));
      this.order = facts.regions.filter((one) => isNumber(one.value)).sort((one, two) => two.value - one.value);
      const kinds = new Set(facts.rows ? facts.rows.choices.map((one) => one.kind) : []);
      if (!kinds.has("phrase")) this.level = kinds.has("word") ? "word" : "class";
      this.hasLevels = kinds.has("phrase") && kinds.has("word");
      this.build();
      if (facts.rows) this.loading = vitrine.npy.load(facts.rows.url).then((array) => this.take(array), () => null);
    }

    get names() {
      return this.facts.rows && this.facts.rows.kind === "classes" ? "class" : "word";
    }

    build() {
      this.card = make("div", "v-region-card", null, { "data-testid": "region-card" });
      this.bars = make("div", "v-values", null, { role: "group", "aria-label": "Values of the regions" });
      this.sum = make("p", "v-note v-sum", null, { "data-testid": "sum" });
      this.heat = make("div", "v-heat-box");
      const what = make("div", "v-whole", this.makeChoice());
      this.root.replaceChildren(...[what.childNodes.length ? what : null, this.card, this.bars, this.sum, this.heat].filter(Boolean));
      this.what = what;
      this.buildBars();
      this.showValues();
      this.showCard();
    }

    // ---- What is explained: the caption's words, or classes -------------------------------------------------------

    makeChoice() {
      const { rows, caption } = this.facts;
      if (!rows) return caption ? [make("p", "v-caption-words", `“${caption}”`)] : [];
      if (rows.kind === "classes") {
        const options = rows.choices.map((one, at) => ({ value: String(at), label: isNumber(one.full) ? `${one.text} ${number(one.full, 2)}` : one.text }));
        const own = rows.choices.findIndex((one) => one.text === this.facts.target);
        return [select("Class", options, String(Math.max(0, own)), (at) => this.choose(Number(at) === own ? null : rows.choices[Number(at)]))];
      }
      return [this.makeLevels(), this.makeWords()];
    }

    makeLevels() {
      const level = (name, words) => button("v-plain v-level", words, () => this.setLevel(name), { "data-level": name });
      const whole = button("v-chip", "Whole caption", () => this.choose(null), { "data-level": WHOLE });
      const parts = this.hasLevels ? [make("span", "v-note", "or one of its"), level("phrase", "phrases"), level("word", "words")] : [];
      this.levels = make("div", "v-chips is-levels", [whole, ...parts], { role: "group", "aria-label": "What the values explain" });
      return this.levels;
    }

    makeWords() {
      const choices = this.facts.rows.choices.filter((one) => one.kind === this.level);
      const nodes = choices.map((one, at) =>
        button("v-word", one.text, (event) => this.chooseWord(choices, at, event.shiftKey), { "data-first": one.first, "data-last": one.last, "aria-pressed": "false" }),
      );
      const line = make("p", "v-caption-words", null, { role: "group", "aria-label": "Words of the caption", "data-testid": "caption-words" });
      line.append("“");
      nodes.forEach((node, at) => line.append(...(at ? [" ", node] : [node])));
      line.append("”");
      this.words = line;
      return line;
    }

    setLevel(level) {
      if (this.level === level) return;
      this.level = level;
      this.choose(null);
      this.words.replaceWith(this.makeWords());
      this.markChoice();
    }

    /** With Shift, everything from the word chosen before to this one. */
    chooseWord(choices, at, extends_) {
      const from = extends_ && this.anchor !== null ? this.anchor : at;
      if (!extends_) this.anchor = at;
      const part = choices.slice(Math.min(from, at), Math.max(from, at) + 1);
      const span = { kind: this.level, text: part.map((one) => one.text).join(" "), first: part[0].first, last: part[part.length - 1].last };
      const again = this.chosen && this.chosen.first === span.first && this.chosen.last === span.last;
      this.choose(again ? null : span);
    }

    take(array) {
      const [count, width] = array.shape;
      const { rows, regions } = this.facts;
      this.table = { count, at: (row, place) => array.data[row * width + place] };
      if (rows.kind === "words" && regions.length === width) this.buildHeat();
    }

    /** Values of a span: logarithms of probabilities add up, so a phrase is the sum of its words. */
    valuesOf(choice) {
      const sums = new Map();
      this.facts.regions.forEach((region, place) => {
        let sum = 0;
        for (let row = choice.first; row < choice.last; row += 1) sum += this.table.at(row, place);
        sums.set(region.id, sum);
      });
      return sums;
    }

    async choose(choice) {
      if (choice && !this.table) await this.loading;
      if (choice && !this.table) return;
      this.chosen = choice;
      if (!choice) this.anchor = null;
      this.markChoice();
      this.showValues();
      this.paint();
    }

    paint() {
      const { run, main, labels, rows } = this.facts;
      if (!this.chosen) {
        vitrine.looks.setLayer(run, main);
        return;
      }
      const exhibit = vitrine.viewer.exhibitOf(run);
      const partition = exhibit && exhibit.layer(labels);
      if (!partition) return;
      const own = exhibit.layer(main) || {};
      const isClass = rows.kind === "classes";
      const name = `values ${this.chosen.kind} ${this.chosen.first}-${this.chosen.last}`;
      const ends = isClass ? own.ends : ["less likely", `“${this.chosen.text}” more likely`];
      const look = { encoding: "signed", frame: partition.frame, range: null, unit: isClass ? own.unit : rows.unit, smooth: false, target: null, role: "detail" };
      vitrine.looks.addLayer(run, Object.assign(look, { name, title: this.chosen.text, ends, paint: { labels, values: [...this.valuesOf(this.chosen)] } }));
      vitrine.looks.setLayer(run, name);
    }

    markChoice() {
      const { chosen } = this;
      if (this.words) {
        for (const node of this.words.querySelectorAll(".v-word")) {
          const on = Boolean(chosen) && Number(node.dataset.first) >= chosen.first && Number(node.dataset.last) <= chosen.last;
          node.setAttribute("aria-pressed", String(on));
        }
      }
      for (const chip of this.levels ? this.levels.querySelectorAll("[data-level]") : []) {
        const on = chip.dataset.level === WHOLE ? !chosen : chip.dataset.level === this.level;
        chip.setAttribute("aria-pressed", String(on));
        chip.classList.toggle("is-on", on);
      }
      this.heat.querySelectorAll("tr[data-first]").forEach((row) => {
        const on = Boolean(chosen) && Number(row.dataset.first) >= chosen.first && Number(row.dataset.last) <= chosen.last;
        row.classList.toggle("is-on", on);
      });
    }

    // ---- Bars -----------------------------------------------------------------------------------------------------

    buildBars() {
      const { run } = this.facts;
      this.rows = this.order.map((region) => {
        const bar = make("i", "v-signed-bar");
        const whisker = make("i", "v-whisker");
        const value = make("b", "v-value");
        const attributes = { "data-action": "region", "data-run": run, "data-region": region.id, "aria-pressed": "false" };
        const track = make("span", "v-track", [bar, whisker], { "aria-hidden": "true" });
        const row = button("v-value-row", [make("span", "v-value-name", region.label), track, value], () => undefined, attributes);
        row.addEventListener("pointerenter", () => this.point(region.id));
        row.addEventListener("pointerleave", () => this.point(null));
        row.addEventListener("focus", () => this.point(region.id));
        row.addEventListener("blur", () => this.point(null));
        this.bars.append(row);
        return { region, row, bar, whisker, value };
      });
    }

    showValues() {
      const { chosen } = this;
      const values = chosen ? this.valuesOf(chosen) : this.values;
      const errorOf = (region) => (!chosen && isNumber(region.error) ? region.error : 0);
      const sizes = this.rows.map(({ region }) => Math.abs(values.get(region.id)) + errorOf(region));
      const largest = Math.max(...sizes, 0) || 1;
      const digits = digitsFor(largest);
      for (const { region, row, bar, whisker, value } of this.rows) {
        const own = values.get(region.id);
        const error = errorOf(region);
        placeBar(bar, 0, own, -largest, largest);
        placeBar(whisker, own - error, own + error, -largest, largest);
        whisker.hidden = error === 0;
        value.textContent = signed(own, digits);
        const said = [error ? `plus or minus ${number(error, digits)}` : "", region.only.caption ? `only this: ${region.only.caption}` : "", region.without.caption ? `without this: ${region.without.caption}` : ""];
        row.setAttribute("aria-label", [`${region.label}, ${signed(own, digits)}`, ...said.filter(Boolean)].join(", "));
      }
      this.showSum(values, digits);
    }

    showSum(values, digits) {
      const { chosen, facts } = this;
      const isClass = chosen && chosen.kind === "class";
      const [full, empty] = isClass ? [chosen.full, chosen.empty] : [facts.full, facts.empty];
      const total = [...values.values()].filter(isNumber).reduce((sum, value) => sum + value, 0);
      if (chosen && !isClass) this.sum.textContent = `Values of “${chosen.text}” in nats; their sum is ${signed(total, digits)}.`;
      else if (isNumber(full) && isNumber(empty)) {
        this.sum.textContent = `Sum of values ${signed(total, digits)} = whole picture ${number(full, digits)} − everything hidden ${number(empty, digits)}.`;
      } else this.sum.textContent = `Sum of values ${signed(total, digits)}.`;
    }

    // ---- The card -------------------------------------------------------------------------------------------------

    point(id) {
      this.pointed = id;
      this.showCard();
    }

    showCard() {
      const id = this.pointed === null ? this.region : this.pointed;
      const region = this.facts.regions.find((one) => one.id === id) || null;
      const key = region ? region.id : WHOLE;
      const exhibit = vitrine.viewer.exhibitOf(this.facts.run);
      const ready = this.isReady();
      const isDrawn = this.shown === key && this.drawn;
      if (isDrawn) return;
      this.shown = key;
      this.drawn = ready;
      this.card.replaceChildren(...(region ? this.regionCard(region, exhibit, ready) : this.wholeCard(exhibit, ready)));
      if (!ready) this.waitForPicture();
    }

    /** The small pictures are cut out of what the viewer has; until it has it, their places are empty. */
    waitForPicture() {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => {
        if (!this.root.isConnected) return;
        if (this.isReady()) this.showCard();
        else this.waitForPicture();
      }, 120);
    }

    isReady() {
      const exhibit = vitrine.viewer.exhibitOf(this.facts.run);
      return Boolean(exhibit && exhibit.images && exhibit.fields.get(this.facts.labels));
    }

    wholeCard(exhibit, ready) {
      const { caption, full, empty, hidden } = this.facts;
      return [
        make("p", "v-card-head", "Point at a region, or choose one, to see what the model makes of it."),
        this.look("Whole picture", caption, full, ready ? this.thumb(exhibit, () => true) : null),
        this.look("Everything hidden", hidden, empty, ready ? this.thumb(exhibit, () => false) : null),
      ];
    }

    regionCard(region, exhibit, ready) {
      const digits = digitsFor(Math.abs(region.value));
      const error = isNumber(region.error) && region.error > 0 ? ` ± ${number(region.error, digits)}` : "";
      const facts = [isNumber(region.share) ? `${percent(region.share)} of the effect` : "", `${percent(region.area)} of the picture`, region.flags];
      return [
        make("p", "v-card-head", [make("b", "", region.label), " ", make("b", "v-card-value", `${signed(region.value, digits)}${error}`), " ", facts.filter(Boolean).join(", ")]),
        this.look("Only this", region.only.caption, region.only.value, ready ? this.thumb(exhibit, (label) => label === region.id) : null),
        this.look("Without this", region.without.caption, region.without.value, ready ? this.thumb(exhibit, (label) => label !== region.id) : null),
      ];
    }

    look(title, caption, value, thumb) {
      const unit = this.facts.caption ? "closeness" : this.facts.target || "value";
      const words = caption ? make("span", "v-look-words", `“${caption}”`) : null;
      const size = isNumber(value) ? make("span", "v-look-value", `${unit} ${number(value, 2)}`) : null;
      return make("div", "v-look", [thumb || make("canvas", "v-look-thumb", null, { width: THUMB, height: 1 }), make("div", "", [make("b", "", title), words, size])]);
    }

    /** The picture as the model got it: regions for which `keeps(label)` holds, the others filled. */
    thumb(exhibit, keeps) {
      const ratio = window.devicePixelRatio || 1;
      const { picture, images } = exhibit;
      const field = exhibit.fields.get(this.facts.labels);
      const scale = (THUMB * ratio) / Math.max(picture.width, picture.height);
      const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
      const canvas = vitrine.paint.makeCanvas(width, height);
      canvas.className = "v-look-thumb";
      canvas.setAttribute("aria-hidden", "true");
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(images.colour, 0, 0, width, height);
      const shown = context.getImageData(0, 0, width, height);
      const filling = this.filling(context, shown, images, width, height);
      for (let y = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1) {
          const label = vitrine.field.valueAt(field, (x + 0.5) / scale, (y + 0.5) / scale);
          const at = 4 * (y * width + x);
          if (!(label >= 0)) shown.data[at + 3] = 70;
          else if (!keeps(label)) for (let channel = 0; channel < 3; channel += 1) shown.data[at + channel] = filling(at + channel);
        }
      }
      context.putImageData(shown, 0, 0);
      return canvas;
    }

    filling(context, shown, images, width, height) {
      if (this.facts.filling === "mean") {
        const sums = [0, 0, 0];
        for (let at = 0; at < shown.data.length; at += 1) if (at % 4 < 3) sums[at % 4] += shown.data[at];
        return (at) => sums[at % 4] / (width * height);
      }
      if (this.facts.filling === "blur") {
        const soft = vitrine.paint.makeCanvas(width, height).getContext("2d", { willReadFrequently: true });
        soft.filter = `blur(${Math.min(width, height) / BLUR_PART}px)`;
        soft.drawImage(images.colour, 0, 0, width, height);
        const blurred = soft.getImageData(0, 0, width, height).data;
        return (at) => blurred[at];
      }
      return () => 0;
    }

    // ---- Words by regions -----------------------------------------------------------------------------------------

    buildHeat() {
      const { regions, rows } = this.facts;
      const words = rows.choices.filter((one) => one.kind === (this.hasLevels ? "word" : this.level));
      const numbers = words.map((word) => [...this.valuesOf(word).values()]);
      const largest = Math.max(...numbers.flat().map(Math.abs), 0);
      const digits = largest >= 1 ? 1 : 2;
      const head = make("tr", "", [make("th", "", "Word", { scope: "col" }), ...regions.map((region) => make("th", "", this.regionButton(region), { scope: "col" }))]);
      const body = words.map((word, at) => {
        const cells = numbers[at].map((value) => {
          const { css, isPale } = signedColour(value, largest);
          const cell = make("td", isPale ? "is-pale" : "is-dark", signed(value, digits));
          cell.style.backgroundColor = css;
          return cell;
        });
        const name = button("v-plain v-region", word.text, () => this.choose(word));
        return make("tr", "", [make("th", "", name, { scope: "row" }), ...cells], { "data-first": word.first, "data-last": word.last });
      });
      const table = make("table", "v-heat", [make("thead", "", head), make("tbody", "", body)]);
      const box = make("div", "v-table-box", table, { tabindex: "0", role: "region", "aria-label": "Words by regions, in nats" });
      const frame = make("div", "v-table-frame", box);
      this.heat.replaceChildren(make("details", "v-fold", [make("summary", "", "Every word by region, in nats"), frame], { "data-testid": "heat" }));
      this.markChoice();
    }

    regionButton(region) {
      return make("button", "v-plain v-region", String(region.id + 1), {
        type: "button",
        "data-action": "region",
        "data-run": this.facts.run,
        "data-region": region.id,
        "aria-pressed": "false",
        "aria-label": region.label,
      });
    }

    // ---- What happens on the map ----------------------------------------------------------------------------------

    onRegion({ id }) {
      this.region = id;
      this.showCard();
    }

    onHover({ x, y }) {
      const exhibit = vitrine.viewer.exhibitOf(this.facts.run);
      const field = exhibit && exhibit.fields.get(this.facts.labels);
      const label = field && x !== null ? vitrine.field.valueAt(field, x, y) : NaN;
      const id = label >= 0 ? label : null;
      if (id === this.pointed) return;
      this.point(id);
      for (const { region, row } of this.rows) row.classList.toggle("is-pointed", region.id === id);
    }

    /** Another layer was chosen beside the panel: no word is shown any more. */
    onLayer({ layer }) {
      if (!this.chosen || String(layer).startsWith("values ")) return;
      this.chosen = null;
      this.anchor = null;
      this.markChoice();
      this.showValues();
    }
  }

  vitrine.panels.register("region_values", (root, facts) => {
    const panel = new RegionPanel(root, facts);
    panel.markChoice();
    return {
      onRegion: (detail) => panel.onRegion(detail),
      onHover: (detail) => panel.onHover(detail),
      onLayer: (detail) => panel.onLayer(detail),
    };
  });
})();

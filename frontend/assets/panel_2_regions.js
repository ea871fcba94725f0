// The panel of values of regions: the caption in words that can be chosen (or classes), what the model says with one
// region alone and without it, the values as bars with their errors, and the table of words by regions.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const { exhibitOf, make, button, select, isNumber, digitsFor, number, signed, percent, signedColour, placeBar } = vitrine.pieces;
  const THUMB = 76;
  const WHOLE = "whole";
  /** Opacity (of 255) of what the model does not see. */
  const UNSEEN = 70;

  class RegionPanel {
    constructor(root, facts) {
      const { levels } = facts;
      Object.assign(this, { root, facts, levels, level: levels[0] || null, chosen: null, anchor: null, region: null, pointed: null });
      this.values = new Map(facts.regions.map((one) => [one.id, one.value]));
      this.order = facts.regions.filter((one) => isNumber(one.value)).sort((one, two) => two.value - one.value);
      this.build();
      // They come along with the map, so that choosing asks the server for nothing.
      this.loading = Promise.all(levels.map((level) => vitrine.npy.load(level.url).then((array) => (level.array = array)))).then(() => this.begin(), () => null);
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
      const { caption, target } = this.facts;
      if (!this.level) return caption ? [make("p", "v-caption-words", `“${caption}”`)] : [];
      if (this.level.kind === "class") {
        const { choices } = this.level;
        const options = choices.map((one, at) => ({ value: String(at), label: isNumber(one.full) ? `${one.text} ${number(one.full, 2)}` : one.text }));
        const own = Math.max(0, choices.findIndex((one) => one.class === target));
        return [select("Class", options, String(own), (at) => this.choose(Number(at) === own ? null : this.spanOf(Number(at), Number(at))))];
      }
      return [this.makeLevels(), this.makeWords()];
    }

    makeLevels() {
      const level = (one) => button("v-plain v-level", `${one.kind}s`, () => this.setLevel(one), { "data-level": one.kind });
      const whole = button("v-chip", "Whole caption", () => this.choose(null), { "data-level": WHOLE });
      this.chips = make("div", "v-chips is-levels", [whole, make("span", "v-note", "or one of its"), ...this.levels.map(level)], { role: "group", "aria-label": "What the values explain" });
      return this.chips;
    }

    makeWords() {
      const nodes = this.level.choices.map((one, at) => button("v-word", one.text, (event) => this.chooseWord(at, event.shiftKey), { "data-at": at, "aria-pressed": "false" }));
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
      this.words.replaceWith(this.makeWords());
      this.choose(null);
    }

    /** Neighbouring parts of the caption (or one class); the end counts in. */
    spanOf(first, last, level = this.level) {
      const parts = level.choices.slice(first, last + 1);
      return { level, first, last, text: parts.map((one) => one.text).join(" "), full: parts[0].full, empty: parts[0].empty };
    }

    /** With Shift, everything from the word chosen before to this one. */
    chooseWord(at, extend) {
      const from = extend && this.anchor !== null ? this.anchor : at;
      if (!extend) this.anchor = at;
      const [first, last] = [Math.min(from, at), Math.max(from, at)];
      const again = this.chosen && this.chosen.level === this.level && this.chosen.first === first && this.chosen.last === last;
      this.choose(again ? null : this.spanOf(first, last));
    }

    /** The values are here: the table of words can be drawn, and what was chosen before (a share, a reload) shown. */
    begin() {
      const words = this.levels.find((level) => level.kind === "word") || this.levels.find((level) => level.kind !== "class");
      if (words) this.buildHeat(words);
      const [, kind, first, last] = /^values (\w+) (\d+)-(\d+)$/.exec(this.facts.shown) || [];
      const level = this.levels.find((one) => one.kind === kind);
      if (!level || Number(last) >= level.choices.length) return;
      const list = this.what.querySelector("select");
      if (list) list.value = first;
      this.choose(this.spanOf(Number(first), Number(last)));
    }

    /** Values of a span: logarithms of probabilities add up, so a phrase is the sum of its words. */
    valuesOf({ level, first, last }) {
      const { data, shape } = level.array;
      const sums = new Map();
      this.facts.regions.forEach((region, place) => {
        let sum = 0;
        for (let row = first; row <= last; row += 1) sum += data[row * shape[1] + place];
        sums.set(region.id, sum);
      });
      return sums;
    }

    async choose(choice) {
      if (choice && !choice.level.array) await this.loading;
      if (choice && !choice.level.array) return;
      this.chosen = choice;
      if (!choice) this.anchor = null;
      if (choice && choice.level !== this.level && this.words) {
        this.level = choice.level;
        this.words.replaceWith(this.makeWords());
      }
      this.markChoice();
      this.showValues();
      this.paint();
    }

    async paint() {
      const { run, main, labels } = this.facts;
      const { chosen } = this;
      if (!chosen) {
        vitrine.looks.setLayer(run, main);
        return;
      }
      const exhibit = vitrine.viewer.exhibitOf(run) || (await exhibitOf(run));
      const partition = exhibit && exhibit.layer(labels);
      if (!partition || chosen !== this.chosen) return;
      const own = exhibit.layer(main) || {};
      const isClass = chosen.level.kind === "class";
      const name = `values ${chosen.level.kind} ${chosen.first}-${chosen.last}`;
      const ends = isClass ? own.ends : ["less likely", `“${chosen.text}” more likely`];
      const look = { encoding: "signed", frame: partition.frame, range: null, unit: isClass ? own.unit : chosen.level.unit, smooth: false, target: null, role: "detail" };
      vitrine.looks.addLayer(run, Object.assign(look, { name, title: chosen.text, ends, paint: { labels, values: [...this.valuesOf(chosen)] } }));
      vitrine.looks.setLayer(run, name);
    }

    /** Whether a part of the caption lies in what was chosen. */
    isChosen(level, at) {
      const { chosen } = this;
      return Boolean(chosen) && chosen.level === level && at >= chosen.first && at <= chosen.last;
    }

    markChoice() {
      if (this.words) for (const node of this.words.querySelectorAll(".v-word")) node.setAttribute("aria-pressed", String(this.isChosen(this.level, Number(node.dataset.at))));
      for (const chip of this.chips ? this.chips.querySelectorAll("[data-level]") : []) {
        const on = chip.dataset.level === WHOLE ? !this.chosen : chip.dataset.level === this.level.kind;
        chip.setAttribute("aria-pressed", String(on));
        chip.classList.toggle("is-on", on);
      }
      this.heat.querySelectorAll("tr[data-at]").forEach((row) => row.classList.toggle("is-on", this.isChosen(this.heatLevel, Number(row.dataset.at))));
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
      const isClass = chosen && chosen.level.kind === "class";
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
      const { run, labels, filling } = this.facts;
      const exhibit = vitrine.viewer.exhibitOf(run);
      if (!exhibit || !exhibit.images || !exhibit.fields.get(labels)) return false;
      if (!filling || exhibit.fields.get(filling)) return true;
      if (!this.isFetching) this.isFetching = exhibit.loadLayer(filling).catch(() => (this.facts.filling = ""));
      return false;
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
      const unit = this.facts.caption ? "closeness" : this.facts.name || "value";
      const words = caption ? make("span", "v-look-words", `“${caption}”`) : null;
      const size = isNumber(value) ? make("span", "v-look-value", `${unit} ${number(value, 2)}`) : null;
      return make("div", "v-look", [thumb || make("canvas", "v-look-thumb", null, { width: THUMB, height: 1 }), make("div", "", [make("b", "", title), words, size])]);
    }

    /** The picture as the model got it: regions for which `keeps(label)` holds, the others filled. */
    thumb(exhibit, keeps) {
      const ratio = window.devicePixelRatio || 1;
      const { picture, images } = exhibit;
      const field = exhibit.fields.get(this.facts.labels);
      const hidden = exhibit.fields.get(this.facts.filling);
      const scale = (THUMB * ratio) / Math.max(picture.width, picture.height);
      const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
      const canvas = vitrine.paint.makeCanvas(width, height);
      canvas.className = "v-look-thumb";
      canvas.setAttribute("aria-hidden", "true");
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(images.colour, 0, 0, width, height);
      const shown = context.getImageData(0, 0, width, height);
      for (let y = 0; y < height; y += 1) {
        for (let x = 0; x < width; x += 1) {
          const place = [(x + 0.5) / scale, (y + 0.5) / scale];
          const label = vitrine.field.valueAt(field, ...place);
          const at = 4 * (y * width + x);
          if (!(label >= 0)) shown.data[at + 3] = UNSEEN;
          else if (!keeps(label)) {
            const cell = hidden ? vitrine.field.cellAt(hidden, ...place) : -1;
            for (let channel = 0; channel < 3; channel += 1) shown.data[at + channel] = cell < 0 ? 0 : hidden.data[3 * cell + channel];
          }
        }
      }
      context.putImageData(shown, 0, 0);
      return canvas;
    }

    // ---- Words by regions -----------------------------------------------------------------------------------------

    buildHeat(level) {
      const { regions } = this.facts;
      this.heatLevel = level;
      const numbers = level.choices.map((_, at) => [...this.valuesOf(this.spanOf(at, at, level)).values()]);
      const largest = Math.max(...numbers.flat().map(Math.abs), 0);
      const digits = largest >= 1 ? 1 : 2;
      const head = make("tr", "", [make("th", "", "Word", { scope: "col" }), ...regions.map((region) => make("th", "", this.regionButton(region), { scope: "col" }))]);
      const body = level.choices.map((word, at) => {
        const cells = numbers[at].map((value) => {
          const { css, isPale } = signedColour(value, largest);
          const cell = make("td", isPale ? "is-pale" : "is-dark", signed(value, digits));
          cell.style.backgroundColor = css;
          return cell;
        });
        const name = button("v-plain v-region", word.text, () => this.choose(this.isChosen(level, at) ? null : this.spanOf(at, at, level)));
        return make("tr", "", [make("th", "", name, { scope: "row" }), ...cells], { "data-at": at });
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

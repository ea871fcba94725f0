// One viewer on the page: its elements, its state, and when which stage is drawn again.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const FADE_MS = 150;
  const MOST_ZOOM = 24;
  /** Stages, from the cheapest to the dearest; each includes the ones before it. */
  const STACK = 1;
  const COLOURS = 2;
  const VALUES = 3;
  const KEYS = "ArrowLeft ArrowRight ArrowUp ArrowDown + - 0 Enter R Escape";

  const { element } = vitrine.legend;
  const parts = vitrine.parts;

  function prefersStill() {
    return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  class Cell {
    constructor(root, hub) {
      this.root = root;
      this.hub = hub;
      this.dirty = VALUES;
      this.onScreen = true;
      this.drawn = false;
      this.ownView = { x: 0.5, y: 0.5, zoom: 1 };
      this.ownSwipe = 0.5;
      this.point = null;
      this.fade = null;
      this.ticket = 0;
      this.build();
      this.resizer = new ResizeObserver(() => this.measure());
      this.resizer.observe(this.stage);
    }

    build() {
      this.figure = element("figure", "v-viewer-figure");
      this.stage = element("div", "v-viewer-stage v-viewer-empty");
      this.canvas = element("canvas", "v-viewer-canvas");
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("role", "img");
      this.canvas.setAttribute("aria-keyshortcuts", KEYS);
      this.context = this.canvas.getContext("2d", { alpha: false });
      this.cross = parts.makeCross();
      this.valueBadge = element("div", "v-viewer-badge v-viewer-badge-value");
      this.noteBadge = element("div", "v-viewer-badge v-viewer-badge-note");
      this.sizeBadge = element("div", "v-viewer-badge v-viewer-badge-size");
      this.handle = parts.makeHandle();
      this.notice = parts.makeNotice(() => this.reload());
      this.said = element("p", "v-viewer-said");
      this.said.setAttribute("role", "status");
      this.legend = element("figcaption", "v-viewer-legend");
      this.stage.append(this.canvas, this.cross, this.valueBadge, this.noteBadge, this.sizeBadge, this.handle, this.notice);
      this.figure.append(this.stage, this.legend, this.said);
      this.root.replaceChildren(this.figure);
      vitrine.input.attach(this);
    }

    /** Takes the description from the page; the zoom stays while the picture does. */
    update(data) {
      const first = !this.exhibit;
      if (first) this.exhibit = new vitrine.exhibit.Exhibit(data);
      else {
        const moved = this.exhibit.accept(data);
        if (moved) this.ownView = { x: 0.5, y: 0.5, zoom: 1 };
      }
      this.figure.setAttribute("aria-label", data.title || "map");
      // Until it is drawn and can be described, the canvas has at least its name.
      if (first) this.canvas.setAttribute("aria-label", data.title || "picture");
      this.stage.style.aspectRatio = `${data.picture.width} / ${data.picture.height}`;
      this.noteBadge.textContent = data.badge || "";
      this.noteBadge.hidden = !data.badge;
      return this.reload();
    }

    async reload() {
      const ticket = (this.ticket += 1);
      this.notice.hidden = true;
      this.root.dataset.viewerState = "loading";
      try {
        await this.exhibit.load();
      } catch (error) {
        if (ticket === this.ticket) this.showFailure(error);
        return;
      }
      if (ticket !== this.ticket) return;
      this.keepFrame();
      this.root.dataset.viewerState = "ready";
      this.measure();
      this.refresh(VALUES);
      this.hub.changed(this);
    }

    showFailure(error) {
      this.root.dataset.viewerState = "failed";
      this.notice.firstChild.textContent =
        error && error.status === 410 ? "This map is no longer kept here." : "This map did not arrive. The others are not affected.";
      this.notice.hidden = false;
      this.refresh(STACK);
    }

    /** Keeps what is on the canvas, to fade from it to the next state. */
    keepFrame() {
      if (!this.drawn || prefersStill() || !this.canvas.width) return;
      const frame = vitrine.paint.makeCanvas(this.canvas.width, this.canvas.height);
      frame.getContext("2d").drawImage(this.canvas, 0, 0);
      this.fade = { frame, start: null };
    }

    measure() {
      const ratio = window.devicePixelRatio || 1;
      const box = this.stage.getBoundingClientRect();
      const width = Math.round(box.width * ratio);
      const height = Math.round(box.height * ratio);
      this.cssWidth = box.width;
      this.cssHeight = box.height;
      if (!width || !height || (width === this.canvas.width && height === this.canvas.height && ratio === this.ratio)) return;
      this.ratio = ratio;
      this.size = [width, height];
      if (this.exhibit) this.hub.legendChanged(this);
      this.refresh(VALUES);
    }

    refresh(stage) {
      this.dirty = Math.max(this.dirty, stage);
      this.hub.request(this);
    }

    get isWaiting() {
      return ["queued", "running", "failed", "waiting"].includes(this.exhibit.data.state) && !this.exhibit.field;
    }

    /** Panels on the canvas: [kind, x, width] in screen pixels, with the view of each. */
    panels() {
      const [width, height] = this.size;
      const full = { x: 0, y: 0, width, height };
      const mode = this.hub.looks.mode;
      if (this.isWaiting) return [["waiting", full]];
      if (mode === "picture") return [["picture", full]];
      if (mode !== "side") return [["map", full]];
      const gap = Math.round(4 * this.ratio);
      const half = Math.floor((width - gap) / 2);
      const tall = Math.round((half * height) / width);
      const y = Math.floor((height - tall) / 2);
      return [["picture", { x: 0, y, width: half, height: tall }], ["map", { x: width - half, y, width: half, height: tall }]];
    }

    /** How pixels of the picture lie on a panel: screen = picture * s + o. */
    viewOn(panel) {
      const { picture } = this.exhibit;
      const { x, y, zoom } = this.hub.viewOf(this);
      const sx = (panel.width / picture.width) * zoom;
      const sy = (panel.height / picture.height) * zoom;
      return {
        width: panel.width,
        height: panel.height,
        sx,
        sy,
        ox: panel.width / 2 - x * picture.width * sx,
        oy: panel.height / 2 - y * picture.height * sy,
      };
    }

    draw(now) {
      if (!this.exhibit || !this.exhibit.images || !this.size) return false;
      const stage = this.dirty;
      this.dirty = 0;
      if (this.canvas.width !== this.size[0]) this.canvas.width = this.size[0];
      if (this.canvas.height !== this.size[1]) this.canvas.height = this.size[1];
      const panels = this.panels();
      const mapPanel = panels.find(([kind]) => kind === "map");
      if (stage >= COLOURS || !this.scale) this.prepareScale();
      if (mapPanel && this.exhibit.field) this.prepareMap(this.viewOn(mapPanel[1]), stage);
      this.stack(panels);
      this.drawFade(now);
      this.placeMarks();
      this.describe();
      this.drawn = true;
      this.stage.classList.remove("v-viewer-empty");
      return Boolean(this.fade);
    }

    prepareScale() {
      const { exhibit, hub } = this;
      this.scale = null;
      this.level = -Infinity;
      if (exhibit.field && (exhibit.encoding === "sequential" || exhibit.encoding === "signed")) {
        this.scale = vitrine.scale.scaleFor(exhibit.encoding, hub.looks, hub.extentFor(this), exhibit.activeLayer.range);
        this.level = vitrine.scale.thresholdLevel(hub.looks.threshold, exhibit.field, this.scale);
        hub.rangeShown(this, this.scale.lo, this.scale.hi);
      }
      if (vitrine.legend.show(this.legend, exhibit, this.scale)) this.hub.legendChanged(this);
    }

    /** The map's own resolution stands in the legend, or, where that is full, in a badge while one points at the map. */
    placeSize() {
      vitrine.legend.fit(this.legend);
      this.sizeBadge.textContent = vitrine.legend.sizeOf(this.exhibit);
      this.sizeBadge.hidden = !this.sizeBadge.textContent || vitrine.legend.hasRoom(this.legend);
    }

    prepareMap(view, stage) {
      const { exhibit, hub } = this;
      const smooth = exhibit.isSmooth(hub.looks) || (exhibit.encoding === "rgb" && hub.looks.smooth);
      // While it moves, a smooth map on a sharp screen is reckoned at half its pixels; the full ones follow at rest.
      const magnified = smooth && hub.moving && this.ratio >= 1.5 ? this.ratio : 1;
      const key = [...Object.values(view), smooth, magnified].join("|");
      const fresh = stage >= VALUES || key !== this.viewKey || !this.sample || this.sample.field !== exhibit.field;
      if (fresh) {
        const clip = exhibit.seen || [0, 0, exhibit.picture.width, exhibit.picture.height];
        const box = vitrine.field.resample(exhibit.field, vitrine.field.coarser(view, magnified), clip, smooth);
        this.sample = Object.assign(box, { field: exhibit.field, magnified });
        this.viewKey = key;
      }
      if (fresh || stage >= COLOURS) this.colourMap();
    }

    colourMap() {
      const { exhibit, sample } = this;
      const { width, height } = sample;
      this.chosen = this.hub.choiceFor(this);
      const overlay = (exhibit.overlay = exhibit.overlay || { canvas: vitrine.paint.makeCanvas(1, 1), box: sample });
      overlay.box = sample;
      if (width && height) {
        if (overlay.canvas.width !== width) overlay.canvas.width = width;
        if (overlay.canvas.height !== height) overlay.canvas.height = height;
        if (!this.image || this.image.width !== width || this.image.height !== height) this.image = new ImageData(width, height);
        this.fillPixels(sample.values, new Uint32Array(this.image.data.buffer));
        overlay.canvas.getContext("2d").putImageData(this.image, 0, 0);
      }
      const lines = exhibit.staticLines(this.hub.looks, this.scale || {}, this.level);
      // Two white lines of different meaning in one picture would be one too many: the choice replaces the contour.
      const kept = this.chosen && exhibit.encoding !== "labels" && !exhibit.hasValues ? [] : lines;
      exhibit.lines = this.chosen ? kept.concat([{ path: this.chosen.path, width: 1.75 }]) : kept;
      exhibit.numbers = exhibit.regionNumbers();
    }

    fillPixels(values, pixels) {
      const { exhibit } = this;
      if (exhibit.encoding === "labels") {
        const id = this.chosen && this.chosen.id !== undefined ? this.chosen.id : null;
        vitrine.scale.colourLabels(values, (label) => exhibit.colourIndex(label), id, pixels);
      } else if (exhibit.encoding !== "rgb") vitrine.scale.colourNumbers(values, this.scale, this.level, pixels);
      else if (exhibit.mixing === "add") vitrine.scale.colourComposite(values, pixels);
      else vitrine.scale.colourPicture(values, exhibit.field.max <= 1 && exhibit.field.kind[0] === "f" ? 255 : 1, pixels);
    }

    stack(panels) {
      const { context } = this;
      const colours = this.hub.colours;
      const options = { colours, ratio: this.ratio, opacity: this.hub.looks.opacity };
      context.fillStyle = colours.mat;
      if (panels.length > 1) context.fillRect(0, 0, ...this.size);
      const swipe = this.hub.looks.mode === "swipe" && panels[0][0] === "map";
      for (const [kind, panel] of panels) {
        context.save();
        context.translate(panel.x, panel.y);
        context.beginPath();
        context.rect(0, 0, panel.width, panel.height);
        context.clip();
        const view = this.viewOn(panel);
        vitrine.paint.drawPanel(context, kind, this.exhibit, view, options);
        if (swipe) {
          context.beginPath();
          context.rect(0, 0, Math.round(panel.width * this.hub.swipeOf(this)), panel.height);
          context.clip();
          vitrine.paint.drawPanel(context, "picture", this.exhibit, view, options);
        }
        context.restore();
      }
      this.handle.hidden = !swipe;
      if (swipe) this.placeHandle();
    }

    placeHandle() {
      const share = this.hub.swipeOf(this);
      this.handle.style.left = `${share * 100}%`;
      const percent = Math.round(share * 100);
      this.handle.setAttribute("aria-valuenow", String(percent));
      this.handle.setAttribute("aria-valuetext", `${percent} % picture, ${100 - percent} % map`);
    }

    drawFade(now) {
      if (!this.fade) return;
      if (this.fade.start === null) this.fade.start = now;
      const left = 1 - (now - this.fade.start) / FADE_MS;
      if (left <= 0 || this.fade.frame.width !== this.canvas.width) {
        this.fade = null;
        return;
      }
      this.context.globalAlpha = left;
      this.context.drawImage(this.fade.frame, 0, 0);
      this.context.globalAlpha = 1;
      this.dirty = Math.max(this.dirty, STACK);
    }

    /** Panel under a point of the stage (CSS pixels) and the point of the picture there. */
    toPicture(left, top) {
      const panels = this.panels();
      const [x, y] = [left * this.ratio, top * this.ratio];
      const hit = panels.find(([, panel]) => x >= panel.x && x < panel.x + panel.width && y >= panel.y && y < panel.y + panel.height);
      if (!hit) return null;
      const view = this.viewOn(hit[1]);
      return { x: (x - hit[1].x - view.ox) / view.sx, y: (y - hit[1].y - view.oy) / view.sy };
    }

    showPoint(point) {
      this.point = point;
      this.placeMarks();
    }

    placeMarks() {
      const { point, exhibit } = this;
      if (!exhibit || !this.size) return;
      const panel = (this.panels().find(([kind]) => kind === "map") || this.panels()[0])[1];
      const view = this.viewOn(panel);
      const left = point ? (point.x * view.sx + view.ox + panel.x) / this.ratio : -1;
      const top = point ? (point.y * view.sy + view.oy + panel.y) / this.ratio : -1;
      const inside = point && !this.isWaiting && left >= 0 && top >= 0 && left <= this.cssWidth && top <= this.cssHeight;
      this.cross.classList.toggle("v-viewer-cross-on", Boolean(inside));
      if (inside) this.cross.style.transform = `translate(${left - 11}px, ${top - 11}px)`;
      const chosen = this.hub.choiceFor(this);
      const text = inside ? exhibit.wordsAt(point.x, point.y).text : chosen && chosen.label ? chosen.label : "";
      if (this.valueBadge.textContent !== text) this.valueBadge.textContent = text;
      this.valueBadge.hidden = !text;
    }

    describe() {
      const { exhibit } = this;
      const layer = exhibit.activeLayer;
      const words = [exhibit.data.title, layer && layer.title !== exhibit.data.title ? layer.title : "", exhibit.data.reading];
      const legend = vitrine.legend.sentence(exhibit, this.scale);
      const label = [...words.filter(Boolean), legend].filter(Boolean).join(". ");
      if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label || "picture");
    }

    say(text) {
      this.said.textContent = text;
    }

    async showLayer(name) {
      if (!this.exhibit.layer(name) || this.exhibit.active === name) return;
      this.exhibit.active = name;
      await this.reload();
    }

    async showGroups(count) {
      const { nested } = this.exhibit.data;
      if (!nested) return;
      this.exhibit.k = Math.max(1, Math.round(count));
      if (this.exhibit.active !== nested.base) {
        this.exhibit.active = nested.base;
        await this.reload();
        return;
      }
      this.refresh(VALUES);
      this.hub.changed(this);
    }

    remove() {
      this.ticket += 1;
      this.resizer.disconnect();
    }
  }

  vitrine.cell = { Cell, STACK, COLOURS, VALUES, MOST_ZOOM };
})();

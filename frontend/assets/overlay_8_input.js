// Hands on a viewer: mouse, touch and keyboard become zoom, pan, crosshair, choice and swipe.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const CLICK_SLACK = 5;
  const KEY_ZOOM = 1.4;
  const KEY_PAN = 0.12;
  const SWIPE_STEP = 0.02;

  function spot(cell, event) {
    const box = cell.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function zoomBy(cell, factor, left, top) {
    const before = cell.toPicture(left, top);
    const view = cell.hub.viewOf(cell);
    const zoom = cell.hub.setView(cell, { x: view.x, y: view.y, zoom: view.zoom * factor }).zoom;
    const after = before && cell.toPicture(left, top);
    if (!after) return;
    const { width, height } = cell.exhibit.picture;
    const now = cell.hub.viewOf(cell);
    cell.hub.setView(cell, { x: now.x + (before.x - after.x) / width, y: now.y + (before.y - after.y) / height, zoom });
  }

  /** The wheel zooms where it cannot be meant for the page: with Ctrl, by pinch, or on a viewer that has the focus. */
  function onWheel(cell, event) {
    const view = cell.hub.viewOf(cell);
    const focused = document.activeElement === cell.canvas;
    const leaving = view.zoom <= 1 && event.deltaY > 0;
    if (!(event.ctrlKey || event.metaKey || (focused && !leaving))) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const factor = Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.008 : 0.002));
    zoomBy(cell, Math.min(4, Math.max(0.25, factor)), ...spot(cell, event));
  }

  function panBy(cell, left, top) {
    const view = cell.hub.viewOf(cell);
    const { width, height } = cell.exhibit.picture;
    const panel = (cell.panels().find(([kind]) => kind === "map") || cell.panels()[0])[1];
    const on = cell.viewOn(panel);
    const x = view.x - (left * cell.ratio) / (on.sx * width);
    const y = view.y - (top * cell.ratio) / (on.sy * height);
    cell.hub.setView(cell, { x, y, zoom: view.zoom });
  }

  function distance(points) {
    return Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]);
  }

  function middle(points) {
    return [(points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2];
  }

  /** One finger or button drags, two fingers pinch; a press without a move is a click. */
  function trackPointers(cell) {
    const down = new Map();
    let travelled = 0;
    const { canvas } = cell;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      down.set(event.pointerId, spot(cell, event));
      travelled = down.size > 1 ? Infinity : 0;
      if (event.pointerType === "mouse" || cell.hub.viewOf(cell).zoom > 1 || down.size > 1) canvas.setPointerCapture(event.pointerId);
      if (event.pointerType !== "mouse") cell.hub.hover(cell, cell.toPicture(...spot(cell, event)));
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = spot(cell, event);
      const before = down.get(event.pointerId);
      if (before) {
        const old = [...down.values()];
        down.set(event.pointerId, here);
        travelled += Math.hypot(here[0] - before[0], here[1] - before[1]);
        if (down.size === 2) pinch(cell, old, [...down.values()]);
        else if (travelled > CLICK_SLACK && cell.hub.viewOf(cell).zoom > 1) panBy(cell, here[0] - before[0], here[1] - before[1]);
      }
      cell.hub.hover(cell, cell.toPicture(...here));
    });
    const up = (event) => {
      const pressed = down.delete(event.pointerId);
      if (event.type === "pointerup" && pressed && travelled <= CLICK_SLACK) pickAt(cell, spot(cell, event));
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerenter", () => cell.hub.prepareRegions(cell));
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") cell.hub.hover(cell, null);
    });
  }

  function pinch(cell, old, now) {
    const from = middle(old);
    const to = middle(now);
    const apart = distance(old);
    if (apart > 0) zoomBy(cell, distance(now) / apart, ...to);
    panBy(cell, to[0] - from[0], to[1] - from[1]);
  }

  function pickAt(cell, place) {
    const point = cell.toPicture(...place);
    if (point) cell.hub.pick(cell, point);
  }

  function step(cell, left, top) {
    if (cell.hub.viewOf(cell).zoom <= 1) return false;
    panBy(cell, -left * cell.cssWidth * KEY_PAN, -top * cell.cssHeight * KEY_PAN);
    return true;
  }

  const KEYS = {
    ArrowLeft: (cell) => step(cell, -1, 0),
    ArrowRight: (cell) => step(cell, 1, 0),
    ArrowUp: (cell) => step(cell, 0, -1),
    ArrowDown: (cell) => step(cell, 0, 1),
    "+": (cell) => zoomBy(cell, KEY_ZOOM, cell.cssWidth / 2, cell.cssHeight / 2),
    "=": (cell) => zoomBy(cell, KEY_ZOOM, cell.cssWidth / 2, cell.cssHeight / 2),
    "-": (cell) => zoomBy(cell, 1 / KEY_ZOOM, cell.cssWidth / 2, cell.cssHeight / 2),
    "0": (cell) => cell.hub.setView(cell, { x: 0.5, y: 0.5, zoom: 1 }),
    Escape: (cell) => cell.hub.unselect(),
    Enter: (cell) => pickMiddle(cell),
    " ": (cell) => pickMiddle(cell),
    r: (cell) => cell.hub.cycle(cell, 1),
    R: (cell) => cell.hub.cycle(cell, -1),
  };

  function pickMiddle(cell) {
    const point = cell.point || cell.toPicture(cell.cssWidth / 2, cell.cssHeight / 2);
    if (point) cell.hub.pick(cell, point);
  }

  function onKey(cell, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = KEYS[event.key];
    if (act && cell.exhibit && act(cell) !== false) event.preventDefault();
  }

  function trackHandle(cell) {
    const { handle, hub } = cell;
    const follow = (event) => hub.setSwipe(cell, spot(cell, event)[0] / cell.cssWidth);
    handle.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
      handle.focus();
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) follow(event);
    });
    handle.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -SWIPE_STEP, ArrowDown: -SWIPE_STEP, ArrowRight: SWIPE_STEP, ArrowUp: SWIPE_STEP };
      const ends = { Home: 0, End: 1 };
      const far = { PageDown: -0.1, PageUp: 0.1 };
      const delta = moves[event.key] || far[event.key];
      if (delta === undefined && ends[event.key] === undefined) return;
      hub.setSwipe(cell, delta === undefined ? ends[event.key] : hub.swipeOf(cell) + delta);
      event.preventDefault();
    });
  }

  function attach(cell) {
    cell.canvas.addEventListener("wheel", (event) => onWheel(cell, event), { passive: false });
    cell.canvas.addEventListener("keydown", (event) => onKey(cell, event));
    trackPointers(cell);
    trackHandle(cell);
  }

  vitrine.input = { attach, zoomBy };
})();

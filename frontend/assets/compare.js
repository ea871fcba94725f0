// Comparison of all finished maps: asked below the grid, computed like a run, looked at pair by pair in the browser.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const FINAL = ["done", "failed", "cancelled"];
  const ORDERED = ["sequential", "signed"];
  const MOST_MAPS = 24;
  let waiting = null;
  let due = 0;

  function say(words) {
    if (document.getElementById("compare-text")) window.dash_clientside.set_props("compare-text", { children: words });
  }

  function specOf(run) {
    const node = document.querySelector(`#grid .v-cell[data-run="${run}"] .v-viewer`);
    try {
      return node ? JSON.parse(node.getAttribute("data-viewer")) : null;
    } catch {
      return null;
    }
  }

  /** Finished maps whose places have an order, with the layer that is shown if it has one. */
  function comparable() {
    const found = [];
    for (const cell of vitrine.inspect.finished()) {
      const spec = specOf(cell.key);
      const ordered = spec ? spec.layers.filter((layer) => ORDERED.includes(layer.encoding) && layer.a === undefined && layer.url) : [];
      if (!ordered.length) continue;
      const shown = ordered.find((layer) => layer.name === spec.active);
      found.push({ cell, layer: shown ? shown.name : "" });
    }
    return found.slice(0, MOST_MAPS);
  }

  function refresh() {
    due = 0;
    const node = document.querySelector(".v-compare");
    if (node) node.classList.toggle("is-hidden", comparable().length < 2);
  }

  function refreshSoon() {
    if (!due && document.querySelector(".v-compare")) due = setTimeout(refresh, 200);
  }

  function take(view) {
    if (!waiting || (view.key || view.run) !== waiting) return;
    if (!FINAL.includes(view.state)) {
      say(view.state === "queued" ? "waiting for a worker" : "comparing");
      return;
    }
    const key = waiting;
    waiting = null;
    say(view.state === "done" ? "" : (view.problem && view.problem.message) || "The comparison was stopped.");
    if (view.state === "done") window.dash_clientside.set_props("compare-run", { data: { key, at: Date.now() } });
    vitrine.inspect.follow();
  }

  actions.compare = async () => {
    const maps = comparable();
    const method = vitrine.inspect.comparisonMethod();
    if (maps.length < 2 || !method) return say(method ? "Two finished maps are needed." : "No worker offers a comparison.");
    say("asked");
    const [{ cell }] = maps;
    const params = { results: maps.map((each) => each.cell.key) };
    if (maps.every((each) => each.layer)) params.layers = maps.map((each) => each.layer);
    try {
      const view = await vitrine.ask("POST", "/runs", { image_id: cell.picture.id, model: cell.model, method, params });
      waiting = view.key;
      take(view);
      vitrine.inspect.follow();
    } catch (problem) {
      say(problem.message);
    }
  };

  actions.pair = (button) => {
    const { run, a, b } = button.dataset;
    for (const other of button.closest(".v-triangle").querySelectorAll(".v-pair")) {
      other.classList.toggle("is-on", other === button);
      other.setAttribute("aria-pressed", String(other === button));
    }
    vitrine.looks.contrast(run, a, b);
  };

  document.addEventListener("vitrine:run", (event) => take(event.detail));
  new MutationObserver(refreshSoon).observe(document.documentElement, { childList: true, subtree: true });

  vitrine.comparison = { waiting: () => (waiting ? [waiting] : []) };
})();

// Checks of maps against chance: started under a map, followed like a run, drawn by the server when done.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const KEPT = "vitrine.checks";
  const MOST_KEPT = 200;
  const FINAL = ["done", "failed", "cancelled"];

  /** Checks under way: key of the check -> key of the map it checks. */
  const waiting = new Map();
  let known = read();

  function read() {
    try {
      return JSON.parse(window.sessionStorage.getItem(KEPT)) || {};
    } catch {
      return {};
    }
  }

  function remember(run, check) {
    delete known[run];
    known = Object.fromEntries([...Object.entries(known), [run, check]].slice(-MOST_KEPT));
    try {
      window.sessionStorage.setItem(KEPT, JSON.stringify(known));
    } catch {
      // full or forbidden: the strip is gone after a reload, and comes back from the cache
    }
  }

  function idOf(type, run) {
    return { run, type };
  }

  function isOnPage(id) {
    return Boolean(document.getElementById(JSON.stringify(id)));
  }

  function say(run, words) {
    const id = idOf("trust-text", run);
    if (isOnPage(id)) window.dash_clientside.set_props(id, { children: words });
  }

  function show(run, data) {
    const id = idOf("trust-run", run);
    if (isOnPage(idOf("trust", run))) window.dash_clientside.set_props(id, { data: Object.assign({ at: Date.now() }, data) });
  }

  /** What the strip says while the check runs, and what it becomes. */
  function take(check, view) {
    const run = waiting.get(check);
    if (!run) return;
    if (!FINAL.includes(view.state)) {
      const { progress } = view;
      const count = (number) => number.toLocaleString("en");
      say(run, progress && progress.total ? `${count(progress.done)} / ${count(progress.total)} passes` : "waiting for a worker");
      return;
    }
    waiting.delete(check);
    if (view.state === "done") {
      remember(run, check);
      show(run, { key: check });
    } else show(run, { problem: (view.problem && view.problem.message) || "The check was stopped." });
    vitrine.inspect.follow();
  }

  function layerOf(run) {
    const chosen = vitrine.looks.chosen(run) || {};
    return chosen.layer || "";
  }

  actions.check = async (button) => {
    const { run } = button.dataset;
    const question = vitrine.inspect.questionOf(run);
    const method = vitrine.inspect.checkMethod();
    if (!question || !method) return say(run, "No worker offers this check.");
    if ([...waiting.values()].includes(run)) return;
    say(run, "asked");
    const params = { result: run };
    if (layerOf(run)) params.layer = layerOf(run);
    try {
      const view = await vitrine.ask("POST", "/runs", { image_id: question.image_id, model: question.model, method, params });
      waiting.set(view.key, run);
      take(view.key, view);
      vitrine.inspect.follow();
    } catch (problem) {
      say(run, problem.message);
    }
  };

  document.addEventListener("vitrine:run", (event) => take(event.detail.run, event.detail));

  vitrine.trust = {
    /** The check of a map that is done, or null. */
    known: (run) => known[run] || null,
    waiting: () => [...waiting.keys()],
  };
})();

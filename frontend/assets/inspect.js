// Inspect: which questions the page asks, how each one stands, and which cells must be drawn again.
// A question is known by its signature (the request as JSON); `runs` remembers the run key of each.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const PARTIAL_EVERY_MS = 600;
  const LOOK_AGAIN_MS = 1500;
  const MOST_REMEMBERED = 400;
  const FINAL = ["done", "failed", "cancelled"];

  let offer = null;
  let cells = [];
  let structureKey = "";
  let isEager = false;
  let submitting = 0;
  let catalogue = 0;
  let looking = 0;
  let awaited = 0;
  const standing = new Map();
  const refusals = new Map();
  const pushed = new Map();
  const timers = new Map();
  const asked = new Set();
  const shown = { model: null, method: null };

  const get = (name) => vitrine.store.get(name);
  const isFinal = (view) => Boolean(view) && FINAL.includes(view.state);
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

  function dashId(id) {
    return JSON.stringify(id, Object.keys(id).sort());
  }

  function isOnPage(id) {
    return Boolean(document.getElementById(dashId(id)));
  }

  function setProps(id, props) {
    window.dash_clientside.set_props(id, props);
  }

  // ---- The plan: from what is chosen to cells -------------------------------------------------------------------

  /** Pictures that a method looks at together with the first one. */
  function furtherFor(method) {
    return method.several_pictures ? vitrine.further.list() : [];
  }

  /** Whether a method can look at several pictures as at one: its settings then have a switch of this name. */
  function hasJoint(method) {
    return Boolean(method.several_pictures) && typeof method.defaults.joint === "boolean";
  }

  function paramsFor(method) {
    const params = Object.assign({}, ((get("methods") || {}).params || {})[method.name]);
    if (hasJoint(method) && !furtherFor(method).length) delete params.joint;
    return params;
  }

  function requestFor(picture, model, method) {
    const methods = get("methods") || {};
    const request = { image_id: picture.id, model, method: method.name };
    const further = furtherFor(method);
    if (further.length) request.more_image_ids = further.map((record) => record.id);
    const params = paramsFor(method);
    if (Object.keys(params).length) request.params = params;
    const target = (get("targets") || {})[model];
    if (method.has_target && Number.isInteger(target)) request.target = target;
    const seed = (methods.seeds || {})[method.name];
    if (method.has_seed && seed) request.seed = seed;
    return request;
  }

  function makeCell(picture, model, method) {
    const request = requestFor(picture, model, method);
    const signature = vitrine.signature(request);
    const can = ((offer.can || {})[model] || {})[method.name];
    const card = offer.cards[model] || { title: model };
    const isUnread = !card.described && !card.problem;
    const key = (get("runs") || {})[signature] || "";
    return {
      picture,
      model,
      method: method.name,
      model_title: card.title,
      method_title: method.title.split(":")[0],
      kind: method.kind,
      request,
      signature,
      key,
      passes: passesOf(can, method),
      seconds: secondsOf(can, method),
      isUnread,
      refusal: key ? null : refusalOf(card, can, isUnread) || refusals.get(signature) || null,
    };
  }

  function passesOf(can, method) {
    if (!can || can.passes === null) return null;
    const given = paramsFor(method);
    if (hasJoint(method)) delete given.joint;
    const wanted = Object.assign({}, method.defaults, given);
    // Settings beside the preset's own (a batch size, say) leave its cost as it is; the most particular preset counts.
    const fitting = Object.keys(method.presets).filter((name) => canonical(Object.assign({}, wanted, method.presets[name])) === canonical(wanted));
    const [preset] = fitting.sort((one, other) => Object.keys(method.presets[other]).length - Object.keys(method.presets[one]).length);
    const known = preset ? (can.preset_passes || {})[preset] : undefined;
    return (known === undefined ? can.passes : known) * (1 + furtherFor(method).length);
  }

  /** The rate is measured for the model, so the time goes with the passes. */
  function secondsOf(can, method) {
    if (!can || can.seconds === null || !can.passes) return null;
    return (can.seconds / can.passes) * passesOf(can, method);
  }

  function canonical(value) {
    return JSON.stringify(Object.entries(value).sort());
  }

  /** What each method costs on all chosen models together, beside its name. */
  function showCosts(models) {
    for (const method of offer ? offer.methods : []) {
      const each = models.map((model) => ((offer.can || {})[model] || {})[method.name]).filter((can) => can && can.possible);
      const passes = each.reduce((sum, can) => sum + (passesOf(can, method) || 0), 0);
      const times = each.map((can) => secondsOf(can, method));
      const isTimed = times.length > 0 && times.every((time) => time !== null);
      const time = isTimed ? `, ${duration(times.reduce((sum, value) => sum + value, 0))}` : "";
      vitrine.say(`cost-${method.name}`, passes ? `${passes.toLocaleString("en")} ${passes === 1 ? "pass" : "passes"}${time}` : "");
    }
  }

  /** Methods that take one picture say so as long as there are more. */
  function showPictures() {
    const count = 1 + vitrine.further.list().length;
    for (const method of offer ? offer.methods : []) {
      vitrine.say(`pictures-${method.name}`, count === 1 || method.several_pictures ? "" : "Looks at the first picture only.");
    }
  }

  /** More than one picture: their groups are shared, unless somebody says otherwise; with one there is nothing to share. */
  function setJoint(joint) {
    const methods = get("methods");
    if (!offer || !methods) return;
    const params = Object.assign({}, methods.params);
    for (const method of offer.methods.filter(hasJoint)) {
      const given = Object.assign({}, params[method.name]);
      if (joint === method.defaults.joint) delete given.joint;
      else given.joint = joint;
      params[method.name] = given;
      const control = { type: "param-switch", method: method.name, name: "joint" };
      if (isOnPage(control)) setProps(control, { checked: joint });
    }
    vitrine.store.set("methods", Object.assign({}, methods, { params }));
  }

  function refusalOf(card, can, isUnread) {
    if (card.problem) return card.problem;
    if (isUnread || !can || can.possible) return null;
    const message = [can.reason, can.remedy].filter(Boolean).join(" ");
    return { code: "not_supported", title: "Cannot be combined", message, retry: false };
  }

  function chosenMethods() {
    const chosen = (get("methods") || {}).chosen || [];
    return offer ? offer.methods.filter((method) => chosen.includes(method.name)) : [];
  }

  function plan() {
    const picture = get("picture");
    const models = (get("models") || []).filter((name) => offer && offer.cards[name]);
    const methods = chosenMethods();
    cells = [];
    if (picture && offer) for (const model of models) for (const method of methods) cells.push(makeCell(picture, model, method));
    lookUp();
    predict();
    if (isEager && cells.length && !cells.some((cell) => cell.isUnread)) {
      isEager = false;
      submit(cells.filter(isIdle));
    }
    showStructure(picture, models, methods);
    showCosts(models);
    showPictures();
    follow();
    refresh();
  }

  function isIdle(cell) {
    return !cell.key && !cell.refusal;
  }

  // ---- Asking ---------------------------------------------------------------------------------------------------

  async function submit(wanted) {
    if (!wanted.length) return;
    submitting += 1;
    // The quick answers first: something is there to look at while the long ones run.
    wanted = wanted.slice().sort((one, other) => (one.passes || 0) - (other.passes || 0));
    refresh();
    const known = [];
    try {
      const answers = await vitrine.ask("POST", "/runs/batch", { runs: wanted.map((cell) => cell.request) });
      const runs = Object.assign({}, get("runs"));
      answers.forEach((answer, index) => {
        const { signature } = wanted[index];
        if (answer.run) {
          runs[signature] = answer.run.key;
          take(answer.run);
          known.push(answer.run.key);
        } else refusals.set(signature, answer.problem);
      });
      vitrine.store.set("runs", newest(runs));
      hideProblem();
    } catch (problem) {
      showProblem(problem);
    } finally {
      submitting -= 1;
    }
    plan();
    // What was there already is finished before its cell knows the run: the list of what was seen gets it now.
    for (const key of known) if ((standing.get(key) || {}).state === "done") keepHistory(standing.get(key));
    stopReplaced(wanted);
  }

  /** A question put again with other settings: nobody waits for the earlier answer, and it would hold up the new one. */
  function stopReplaced(wanted) {
    const place = ({ image_id: picture, model, method }) => JSON.stringify([picture, model, method]);
    const places = wanted.map((cell) => place(cell.request));
    const kept = new Set(cells.map((cell) => cell.key));
    for (const [signature, key] of Object.entries(get("runs") || {})) {
      const view = standing.get(key);
      if (!view || isFinal(view) || kept.has(key) || !places.includes(place(JSON.parse(signature)))) continue;
      vitrine
        .ask("DELETE", `/runs/${key}`)
        .then((now) => (now.state === "done" ? take(now) : forget(key)))
        .catch(() => {});
    }
  }

  function newest(runs) {
    return Object.fromEntries(Object.entries(runs).slice(-MOST_REMEMBERED));
  }

  /** Runs known from before (a reload, a share): how do they stand now? */
  function lookUp() {
    for (const cell of cells) {
      if (!cell.key || standing.has(cell.key) || asked.has(cell.key)) continue;
      asked.add(cell.key);
      const { key } = cell;
      vitrine
        .ask("GET", `/runs/${key}`)
        .then((view) => {
          take(view);
          plan();
        })
        .catch((problem) => {
          if (problem.retry && problem.code !== "result_gone") showProblem(problem);
          else forget(key);
        });
    }
  }

  function forget(key) {
    const runs = Object.fromEntries(Object.entries(get("runs") || {}).filter(([, other]) => other !== key));
    vitrine.store.set("runs", runs);
    standing.delete(key);
    asked.delete(key);
    plan();
  }

  /** Keeps an answer of the API about a run. */
  function take(view) {
    const { key, state, progress, position, partial, problem, cached, attempt } = view;
    const now = { key, state, progress, position, partial: FINAL.includes(state) ? null : partial, problem, cached, attempt };
    standing.set(key, now);
    if (state === "done") keepHistory(now);
  }

  function follow() {
    const keys = cells.map((cell) => cell.key).filter((key) => key && !isFinal(standing.get(key)));
    keys.push(...vitrine.trust.waiting(), ...vitrine.comparison.waiting());
    const predictions = Object.values(get("predictions") || {});
    for (const view of predictions) if (view.key && !FINAL.includes(view.state)) keys.push(view.key);
    vitrine.events.follow(keys);
  }

  function onRun(event) {
    const news = event.detail;
    onPrediction(news);
    const before = standing.get(news.run);
    if (!before) return;
    const now = Object.assign({}, before, { state: news.state });
    for (const name of ["progress", "problem"]) if (news[name] !== null && news[name] !== undefined) now[name] = news[name];
    now.position = news.position;
    now.partial = isFinal(now) ? null : news.partial || before.partial;
    if (before.state !== now.state && now.state === "running") now.problem = null;
    standing.set(news.run, now);
    if (now.state === "done" && before.state !== "done") keepHistory(now);
    for (const cell of cells) if (cell.key === news.run) update(cell, before, now);
    if (isFinal(now) && !isFinal(before)) {
      follow();
      // The rate of this model is measured now: what is left costs what it really costs.
      if (now.state === "done" && cells.some((cell) => cell.key === news.run && cell.seconds === null)) refreshOffer();
    }
    refresh();
  }

  function keepHistory(view) {
    const cell = cells.find((one) => one.key === view.key);
    if (!cell) return;
    const { id, name, width, height } = cell.picture;
    const { model, model_title, method, method_title, request } = cell;
    const when = Date.now();
    vitrine.history.add({ picture: { id, name, width, height }, model, model_title, method, method_title, request, key: view.key, when });
  }

  // ---- Drawing --------------------------------------------------------------------------------------------------

  function dataOf(cell) {
    const view = cell.key ? standing.get(cell.key) : null;
    const prediction = (get("predictions") || {})[cell.model];
    const { picture, model, method, model_title, method_title, kind, key, passes, seconds } = cell;
    const data = {
      picture: { id: picture.id, width: picture.width, height: picture.height },
      seen: prediction && prediction.seen ? prediction.seen : null,
      model,
      method,
      model_title,
      method_title,
      kind,
      key,
      passes,
      seconds,
      state: "idle",
      look: vitrine.looks.chosen(key),
      check: vitrine.trust.known(key),
    };
    if (cell.refusal) {
      const isFixed = cell.refusal.code === "not_supported";
      return Object.assign(data, { state: isFixed ? "refused" : "failed", problem: cell.refusal });
    }
    if (key && !view) return Object.assign(data, { state: "queued", waiting_for: "" });
    if (!view) return data;
    const { state, progress, position, partial, problem, cached, attempt } = view;
    const waiting = state === "queued" ? waitingFor(cell) : "";
    return Object.assign(data, { state, progress, position, partial, problem, cached, attempt, waiting_for: waiting });
  }

  function waitingFor(cell) {
    const busy = cells.find((other) => other.model === cell.model && other !== cell && stateOf(other) === "running");
    return busy ? busy.method_title : "";
  }

  function stateOf(cell) {
    if (cell.refusal) return cell.refusal.code === "not_supported" ? "refused" : "failed";
    if (!cell.key) return "idle";
    const view = standing.get(cell.key);
    return view ? view.state : "queued";
  }

  /** What makes two drawings of a cell different; progress alone is written into the old one. */
  function essence(data) {
    const partial = data.partial ? JSON.stringify(Object.values(data.partial.arrays || {}).map((array) => array.digest)) : "";
    const { key, state, position, problem, cached, seen, attempt, passes, seconds, waiting_for: waiting } = data;
    const price = state === "done" ? "" : [passes, state === "idle" ? seconds : ""];
    return JSON.stringify([data.picture.id, key, state, state === "queued" ? [position, waiting] : "", problem && problem.message, cached, state === "done" ? "" : seen, attempt, price, partial]);
  }

  const cellKey = (cell) => `${cell.model}|${cell.method}`;

  function showStructure(picture, models, methods) {
    if (get("stage") !== "work" || !picture || !document.getElementById("grid")) return;
    const rows = models.map((model) => ({ model, title: offer.cards[model].title }));
    const columns = methods.map(({ name, title, question }) => ({ method: name, title: title.split(":")[0], question }));
    const key = JSON.stringify([picture.id, rows, columns]);
    if (key === structureKey) {
      for (const cell of cells) push(cell);
      return;
    }
    structureKey = key;
    pushed.clear();
    const data = cells.map(dataOf);
    cells.forEach((cell, index) => pushed.set(cellKey(cell), essence(data[index])));
    vitrine.store.set("structure", rows.length && columns.length ? { rows, columns, cells: data } : null);
  }

  function push(cell) {
    const id = { type: "cell-run", model: cell.model, method: cell.method };
    const data = dataOf(cell);
    const now = essence(data);
    if (pushed.get(cellKey(cell)) === now || !isOnPage({ type: "cell", model: cell.model, method: cell.method })) return;
    pushed.set(cellKey(cell), now);
    setProps(id, { data });
  }

  function update(cell, before, now) {
    if (before.state === now.state && now.state === "running") {
      showProgress(cell, now.progress);
      if (now.partial !== before.partial) pushSoon(cell);
    } else push(cell);
  }

  /** Partial maps are drawn at most so often; the last one always. */
  function pushSoon(cell) {
    const key = cellKey(cell);
    if (timers.has(key)) return;
    timers.set(
      key,
      setTimeout(() => {
        timers.delete(key);
        const current = cells.find((one) => cellKey(one) === key);
        if (current) push(current);
      }, PARTIAL_EVERY_MS),
    );
  }

  function showProgress(cell, progress) {
    if (!progress || !progress.total) return;
    const { model, method } = cell;
    const text = { type: "cell-text", model, method };
    if (!isOnPage(text)) return;
    setProps(text, { children: `Running, ${progress.done.toLocaleString("en")} / ${progress.total.toLocaleString("en")} passes` });
    setProps({ type: "cell-left", model, method }, { children: leftWords(progress.seconds_left) });
    setProps({ type: "cell-bar", model, method }, { value: (100 * progress.done) / progress.total });
  }

  function duration(seconds) {
    if (seconds < 1) return "under 1 s";
    if (seconds < 100) return `${Math.round(seconds)} s`;
    return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  }

  function leftWords(seconds) {
    return seconds === null || seconds === undefined ? "" : `${duration(seconds)} left`;
  }

  // ---- Footer, badges, the narrow page --------------------------------------------------------------------------

  function summary() {
    const count = (state) => cells.filter((cell) => stateOf(cell) === state);
    const idle = cells.filter(isIdle);
    const busy = [...count("running"), ...count("queued")];
    const known = busy.map(secondsLeft);
    const left = busy.length && known.every((value) => value !== null) ? known.reduce((sum, value) => sum + value, 0) : null;
    return { total: cells.filter((cell) => stateOf(cell) !== "refused").length, done: count("done").length, failed: count("failed").length, idle, busy, left, share: shareDone() };
  }

  function secondsLeft(cell) {
    const view = standing.get(cell.key);
    const fromRun = view && view.progress ? view.progress.seconds_left : null;
    return fromRun === null || fromRun === undefined ? cell.seconds : fromRun;
  }

  function shareDone() {
    const weighty = cells.filter((cell) => !["refused", "idle"].includes(stateOf(cell)));
    if (!weighty.length) return 0;
    const weight = (cell) => cell.passes || 1;
    const part = (cell) => {
      const view = standing.get(cell.key);
      if (!view || isFinal(view)) return view && view.state === "done" ? 1 : 0;
      return view.progress && view.progress.total ? view.progress.done / view.progress.total : 0;
    };
    const all = weighty.reduce((sum, cell) => sum + weight(cell), 0);
    return weighty.reduce((sum, cell) => sum + weight(cell) * part(cell), 0) / all;
  }

  function refresh() {
    const { total, done, failed, idle, busy, left, share } = summary();
    const isBusy = busy.length > 0 || submitting > 0;
    const state = isBusy ? "busy" : idle.length ? "idle" : "done";
    const price = idle.map((cell) => cell.seconds);
    const cost = price.length && price.every((value) => value !== null) ? price.reduce((sum, value) => sum + value, 0) : null;
    vitrine.live("footer", (node) => {
      node.dataset.state = total ? state : "empty";
    });
    vitrine.say("progress-text", total ? `${done} of ${plural(total, "map")} done${failed ? `, ${failed} failed` : ""}` : "Choose a model and a method");
    vitrine.say("progress-left", isBusy ? leftWords(left) : idle.length && cost !== null ? `about ${duration(cost)} more` : "");
    vitrine.say("progress-detail", detailWords(busy));
    vitrine.say("run-label", idle.length === 1 ? "Run 1 map" : `Run ${idle.length} maps`);
    vitrine.live("progress-bar", (node) => {
      node.style.width = `${(100 * share).toFixed(1)}%`;
    });
    document.querySelectorAll('[data-action="share-open"]').forEach((button) => {
      button.disabled = done === 0;
      button.classList.toggle("is-hidden", get("stage") !== "work");
      button.classList.toggle("is-second", state === "idle");
    });
    showNarrow();
    vitrine.say("method-count", offer ? `${chosenMethods().length} chosen` : "");
  }

  function detailWords(busy) {
    const running = busy.find((cell) => stateOf(cell) === "running");
    const view = running && standing.get(running.key);
    if (!view || !view.progress || !view.progress.total) return "";
    return `, ${running.method_title} on ${running.model_title} ${view.progress.done} / ${view.progress.total}`;
  }

  function showNarrow() {
    const picture = get("picture");
    if (!picture) return;
    vitrine.say("picture-name", picture.name || "Picture");
    vitrine.say("set-words", `${plural((get("models") || []).length, "model")}, ${plural(chosenMethods().length, "method")}`);
    vitrine.live("thumb", (node) => {
      const address = `url("/api/v1/images/${picture.id}/picture?max_side=128")`;
      if (node.dataset.picture !== picture.id) node.style.backgroundImage = address;
      node.dataset.picture = picture.id;
    });
  }

  /** On a phone one cell is shown; which one, the switches say. */
  function showOne() {
    const grid = document.querySelector(".v-grid");
    if (!grid) return;
    const models = [...grid.querySelectorAll(".v-row")].map((row) => row.dataset.model);
    const methods = [...grid.querySelectorAll(".v-tab")].map((tab) => tab.dataset.method);
    if (!models.includes(shown.model)) shown.model = models[0];
    if (!methods.includes(shown.method)) shown.method = methods[0];
    grid.querySelectorAll(".v-row").forEach((row) => row.toggleAttribute("data-shown", row.dataset.model === shown.model));
    grid.querySelectorAll(".v-cell-box").forEach((box) => box.toggleAttribute("data-shown", box.dataset.method === shown.method));
    grid.querySelectorAll(".v-column-head").forEach((head, index) => head.toggleAttribute("data-shown", methods[index] === shown.method));
    const mark = (button, on) => button.setAttribute("aria-pressed", String(on));
    grid.querySelectorAll(".v-switch").forEach((button) => mark(button, button.dataset.model === shown.model));
    grid.querySelectorAll(".v-tab").forEach((button) => mark(button, button.dataset.method === shown.method));
  }

  // ---- Pictures and predictions ---------------------------------------------------------------------------------

  function acceptPicture(record) {
    const before = get("picture");
    vitrine.store.set("picture", record);
    if (!before || before.id !== record.id) {
      vitrine.store.set("targets", {});
      vitrine.store.set("predictions", {});
    }
    isEager = true;
    hideProblem();
    if (window.location.pathname !== "/") vitrine.go("/");
    setStage("work");
  }

  function setStage(stage) {
    vitrine.store.set("stage", stage);
    showStage();
    plan();
  }

  function showStage() {
    const page = document.getElementById("inspect");
    const picture = get("picture");
    const stage = get("stage") === "work" && picture ? "work" : "choose";
    if (!page) return;
    const isNew = page.dataset.stage !== stage;
    page.dataset.stage = stage;
    if (stage === "choose") {
      vitrine.viewer.setLooks({ mode: "swipe", opacity: 0.86 });
      const back = document.getElementById("back-to-work");
      if (back && picture) back.replaceChildren(backButton(picture));
    } else if (isNew) {
      vitrine.viewer.setLooks(Object.assign({ mode: "overlay" }, get("looks")));
      window.scrollTo(0, 0);
    }
  }

  function backButton(picture) {
    const button = document.createElement("button");
    button.className = "v-plain v-link";
    button.dataset.action = "back";
    button.textContent = `Back to ${picture.name || "the picture"}`;
    return button;
  }

  async function predict() {
    const picture = get("picture");
    if (!picture || !offer || get("stage") !== "work") return;
    const known = get("predictions") || {};
    // What may pass (no worker yet, say) is asked again with the next offer; what will not is said.
    for (const [name, { problem }] of Object.entries(offer.cards)) if (problem && !problem.retry && !known[name]) setPrediction(name, { state: "failed", problem });
    const missing = Object.keys(offer.cards).filter((name) => !known[name] && !offer.cards[name].problem);
    if (!missing.length) return;
    const next = Object.assign({}, get("predictions"));
    for (const name of missing) next[name] = { state: "asked" };
    vitrine.store.set("predictions", next);
    try {
      const views = await vitrine.ask("POST", "/predictions", { image_id: picture.id, models: missing });
      await Promise.all(views.map((view) => takePrediction(view.spec.model, view)));
    } catch (problem) {
      for (const name of missing) setPrediction(name, { state: "failed", problem });
    }
    follow();
  }

  function setPrediction(model, change) {
    const all = Object.assign({}, get("predictions"));
    all[model] = Object.assign({}, all[model], change);
    vitrine.store.set("predictions", all);
  }

  async function takePrediction(model, view) {
    const { key, state, problem } = view;
    if (problem && problem.code === "model_not_ready") {
      setPrediction(model, { key, state: "queued", problem: null });
      lookAgain();
      return;
    }
    setPrediction(model, { key, state: state === "done" ? "running" : state, problem: problem || null });
    if (state === "done") await readPrediction(model, key);
  }

  async function readPrediction(model, key) {
    try {
      const manifest = await vitrine.ask("GET", `/runs/${key}/result`);
      setPrediction(model, { key, state: "done", problem: null, seen: manifest.seen, classes: manifest.classes });
      for (const cell of cells) push(cell);
    } catch (problem) {
      setPrediction(model, { key, state: "failed", problem });
    }
  }

  function onPrediction(news) {
    for (const [model, view] of Object.entries(get("predictions") || {})) {
      if (view.key !== news.run || view.state === "done" || view.state === news.state) continue;
      takePrediction(model, { key: news.run, state: news.state, problem: news.problem }).then(follow);
    }
  }

  /** A model that no worker has read yet: ask again until its card says what it offers, or why not. */
  function lookAgain() {
    if (looking) return;
    looking = setTimeout(async () => {
      looking = 0;
      const unread = Object.values((offer || {}).cards || {}).filter((card) => !card.described && !card.problem);
      const cards = await Promise.all(unread.map((card) => vitrine.ask("GET", `/models/${encodeName(card.name)}`).catch(() => null)));
      const ready = cards.filter((card) => card && (card.described || card.problem));
      if (ready.length) {
        const next = Object.fromEntries(Object.entries(get("predictions") || {}).filter(([name]) => !ready.some((card) => card.name === name)));
        vitrine.store.set("predictions", next);
        refreshOffer();
      }
      if (ready.length < unread.length) lookAgain();
    }, LOOK_AGAIN_MS);
  }

  function encodeName(name) {
    return name.split("/").map(encodeURIComponent).join("/");
  }

  /** A worker is there before it has said what it can do: ask again until it has, or the page is another one. */
  function waitForOffer() {
    clearTimeout(awaited);
    awaited = setTimeout(refreshOffer, LOOK_AGAIN_MS);
  }

  function refreshOffer() {
    if (!document.getElementById("inspect")) return;
    catalogue += 1;
    vitrine.store.set("catalogue", catalogue);
  }

  function showProblem(problem) {
    const node = document.getElementById(get("stage") === "work" ? "notice" : "picture-problem");
    if (!node || !problem) return;
    const box = document.createElement("div");
    box.className = "v-notice";
    const icon = document.createElement("span");
    icon.className = "v-failed-icon v-icon v-icon-warning";
    const words = document.createElement("div");
    const title = document.createElement("strong");
    title.textContent = problem.title || "Not possible";
    const text = document.createElement("p");
    text.textContent = problem.message;
    words.append(title, text);
    box.append(icon, words);
    node.replaceChildren(box);
  }

  function hideProblem() {
    for (const name of ["notice", "picture-problem"]) {
      const node = document.getElementById(name);
      if (node) node.replaceChildren();
    }
  }

  // ---- Actions --------------------------------------------------------------------------------------------------

  actions["choose-file"] = () => vitrine.choosePicture();
  actions.change = () => setStage("choose");
  actions.back = () => setStage("work");
  actions.run = () => submit(cells.filter(isIdle));
  actions["run-cell"] = (button) => {
    const cell = cells.find((one) => one.model === button.dataset.model && one.method === button.dataset.method);
    if (!cell) return;
    refusals.delete(cell.signature);
    if (cell.key) forget(cell.key);
    submit(cells.filter((one) => cellKey(one) === cellKey(cell)));
  };

  actions.sample = async (button) => {
    try {
      acceptPicture(await vitrine.ask("POST", `/samples/${encodeURIComponent(button.dataset.sample)}`));
    } catch (problem) {
      showProblem(problem);
    }
  };

  async function change(method, path, key) {
    try {
      const view = await vitrine.ask(method, path);
      if (view && view.key) take(view);
      else {
        asked.delete(key);
        standing.delete(key);
      }
      hideProblem();
    } catch (problem) {
      showProblem(problem);
    }
    plan();
  }

  actions.cancel = (button) => change("DELETE", `/runs/${button.dataset.run}`, button.dataset.run);
  actions.retry = (button) => change("POST", `/runs/${button.dataset.run}/retry`, button.dataset.run);
  actions["stop-all"] = () => {
    for (const cell of summary().busy) change("DELETE", `/runs/${cell.key}`, cell.key);
  };

  actions["remove-model"] = (button) => {
    const { model } = button.dataset;
    vitrine.store.set("models", (get("models") || []).filter((name) => name !== model));
    const predictions = Object.assign({}, get("predictions"));
    delete predictions[model];
    vitrine.store.set("predictions", predictions);
  };

  actions["predict-again"] = (button) => {
    const { model } = button.closest(".v-model").dataset;
    const predictions = Object.assign({}, get("predictions"));
    delete predictions[model];
    vitrine.store.set("predictions", predictions);
    vitrine.ask("POST", "/models", { name: model }).catch(showProblem).then(refreshOffer);
  };

  actions.target = (button) => {
    const { model, target } = button.dataset;
    button.closest("details").removeAttribute("open");
    const targets = Object.assign({}, get("targets"));
    if (target === "") delete targets[model];
    else targets[model] = Number(target);
    const wanted = target === "" ? ownAnswer(model) : Number(target);
    const kept = cells.filter((cell) => cell.model === model && stateOf(cell) === "done" && layerFor(cell, wanted));
    vitrine.store.set("targets", targets);
    const runs = Object.assign({}, get("runs"));
    for (const cell of kept) {
      // The class was computed along with the first one: the same run answers, no new pass is made.
      const method = offer.methods.find((one) => one.name === cell.method);
      runs[vitrine.signature(requestFor(cell.picture, model, method))] ||= cell.key;
      vitrine.looks.setLayer(cell.key, layerFor(cell, wanted));
    }
    vitrine.store.set("runs", runs);
    plan();
    submit(cells.filter((cell) => cell.model === model && isIdle(cell)));
  };

  function ownAnswer(model) {
    const classes = ((get("predictions") || {})[model] || {}).classes || [];
    return classes.length ? classes[0].index : null;
  }

  function layerFor(cell, target) {
    const node = document.querySelector(`.v-cell[data-run="${cell.key}"] .v-viewer`);
    if (!node || target === null) return null;
    const layer = JSON.parse(node.getAttribute("data-viewer")).layers.find((one) => one.target === target);
    return layer ? layer.name : null;
  }

  actions.code = () => {
    const picture = get("picture") || {};
    const wanted = cells.filter((cell) => !cell.refusal).map((cell) => cell.request);
    const urlOf = (record) => (record.source === "upload" ? "" : `/api/v1/images/${record.id}/picture`);
    const further = vitrine.further.list().map((record) => ({ name: record.name || "picture", url: urlOf(record) }));
    const request = { address: window.location.origin, picture: picture.name || "picture", url: urlOf(picture), further, cells: wanted, at: Date.now() };
    vitrine.store.set("code-request", request);
  };

  function setRail(open) {
    const page = document.getElementById("inspect");
    if (!page || page.classList.contains("is-rail-open") === open) return;
    page.classList.toggle("is-rail-open", open);
    const focus = document.querySelector(open ? ".v-rail button" : '[data-action="open-rail"]');
    if (focus) focus.focus();
  }
  actions["open-rail"] = () => setRail(true);
  actions["close-rail"] = () => setRail(false);

  actions["show-model"] = (button) => {
    shown.model = button.dataset.model;
    showOne();
  };
  actions["show-method"] = (button) => {
    shown.method = button.dataset.method;
    showOne();
  };

  document.addEventListener("vitrine:run", onRun);
  document.addEventListener("vitrine:picture", (event) => acceptPicture(event.detail));
  document.addEventListener("vitrine:further", (event) => {
    const { before, after } = event.detail;
    if ((before === 0) !== (after === 0)) setJoint(after > 0);
    plan();
  });
  document.addEventListener("vitrine:problem", (event) => showProblem(event.detail));
  document.addEventListener("vitrine:page", () => {
    if (window.location.pathname !== "/") structureKey = "";
    refresh();
  });
  document.addEventListener("vitrine:workers", (event) => {
    if (event.detail.workers > 0 && offer && !offer.methods.length) refreshOffer();
  });

  /** The cells that can be shared: finished ones, in the order of the grid, with how they are shown. */
  vitrine.inspect = {
    /** What the check of a map against chance needs: the question of its cell, and the method that checks. */
    questionOf: (run) => (cells.find((cell) => cell.key === run) || {}).request || null,
    checkMethod: () => (offer || {}).check || "",
    comparisonMethod: () => (offer || {}).comparison || "",
    follow,
    finished: () => cells.filter((cell) => stateOf(cell) === "done"),
    picture: () => get("picture"),
    cells: () => cells.map((cell) => ({ model: cell.model, method: cell.method, key: cell.key, state: stateOf(cell) })),
  };

  // ---- Callbacks of Dash ----------------------------------------------------------------------------------------

  function changed(values, defaults) {
    const given = {};
    for (const [name, value] of Object.entries(values)) {
      if (JSON.stringify(value) !== JSON.stringify(defaults[name])) given[name] = value;
    }
    return given;
  }

  /** Text of a control as the schema's type: numbers stay numbers, an empty field means "none". */
  function typed(value, standard) {
    if (value === "" || value === undefined) return standard === null ? null : standard === "" ? "" : (standard ?? null);
    if (typeof standard === "number" && typeof value === "string" && value !== "" && !Number.isNaN(Number(value))) return Number(value);
    if (Array.isArray(value)) return value.map((item) => (item !== "" && !Number.isNaN(Number(item)) ? Number(item) : item));
    return value;
  }

  const none = () => window.dash_clientside.no_update;
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.inspect = {
    mounted() {
      structureKey = "";
      showStage();
      plan();
      return none();
    },
    capabilities(found) {
      if (!found) return none();
      offer = found;
      if (found.problem) showProblem(found.problem);
      if (!found.methods.length) waitForOffer();
      if (!(get("models") || []).length && found.suggested.length) vitrine.store.set("models", found.suggested);
      if (Object.values(found.cards).some((card) => !card.described && !card.problem)) lookAgain();
      plan();
      return none();
    },
    methods(_checked, _values, _switches) {
      const [checks, params, switches] = window.dash_clientside.callback_context.inputs_list;
      if (!checks.length) return none();
      const chosen = checks.filter((item) => item.value).map((item) => item.id.method);
      const given = {};
      const seeds = {};
      const defaults = (method) => ((offer || { methods: [] }).methods.find((one) => one.name === method) || { defaults: {} }).defaults;
      if (!offer || !offer.methods.length) {
        const before = get("methods") || {};
        const data = { chosen, params: before.params || {}, seeds: before.seeds || {} };
        vitrine.store.keep("methods", data);
        return data;
      }
      for (const item of [...params, ...switches]) {
        const { method, name } = item.id;
        if (name === "__seed") seeds[method] = Number(item.value) || 0;
        else (given[method] = given[method] || {})[name] = typed(item.value, defaults(method)[name]);
      }
      for (const method of Object.keys(given)) given[method] = changed(given[method], defaults(method));
      const data = { chosen, params: given, seeds };
      if (JSON.stringify(data) === JSON.stringify(get("methods"))) return none();
      vitrine.store.keep("methods", data);
      setTimeout(plan, 0);
      return data;
    },
    preset(name, values, checks) {
      const context = window.dash_clientside.callback_context;
      const [shownValues, shownChecks] = context.states_list;
      const ids = [...shownValues, ...shownChecks];
      const method = offer && ids.length ? offer.methods.find((one) => one.name === ids[0].id.method) : null;
      const params = method && method.presets[name];
      if (!params) return [values.map(none), checks.map(none)];
      const wanted = Object.assign({}, method.defaults, params);
      const shownAs = (value) => (value === null || value === undefined ? "" : Array.isArray(value) ? value.map(String) : value);
      const valueOf = (item) => (item.id.name in wanted ? shownAs(wanted[item.id.name]) : item.value);
      return [shownValues.map(valueOf), shownChecks.map((item) => Boolean(wanted[item.id.name]))];
    },
    pick(name) {
      if (!name) return [none(), none()];
      const models = get("models") || [];
      if (!models.includes(name)) {
        vitrine.store.set("models", [...models, name]);
        vitrine
          .ask("POST", "/models", { name })
          .catch((problem) => setPrediction(name, { state: "failed", problem }))
          .then(refreshOffer);
      }
      return [null, ""];
    },
    drawn() {
      vitrine.looks.forgetLists();
      setTimeout(() => {
        showOne();
        for (const cell of cells) push(cell);
      }, 0);
      return none();
    },
  };

  window.dashMantineFunctions = window.dashMantineFunctions || {};
  /** The server has searched already. */
  window.dashMantineFunctions.everything = ({ options }) => options;
})();

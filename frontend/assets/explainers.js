// The page Explainers: starts trainings, keeps those that run up to date, uploads pictures, orders words.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const FINAL = ["done", "failed", "stopped"];
  const CHART_EVERY_MS = 1000;
  const LOOK_EVERY_MS = 700;
  const LEGEND_PX = 19;
  /** Fields tell what was typed a moment later. */
  const SETTLE_MS = 500;
  const NAMES = {
    accuracy: "Right answers",
    validation_accuracy: "Right answers",
    agreement: "Same answer as the model",
    iou: "Same place as the model",
    distinct_words: "Different words",
    loss: "Loss",
  };

  let form = null;
  let curves = new Map();
  let drawing = new Map();
  let request = null;
  let looking = 0;

  const onPage = () => document.getElementById("explainers-page");

  function nameOf(figure) {
    const words = NAMES[figure] || figure.replace(/_/g, " ");
    return words.charAt(0).toUpperCase() + words.slice(1);
  }

  function valueOf(name, value) {
    if (/accuracy|agreement/.test(name)) return `${(100 * value).toFixed(1)} %`;
    if (Number.isInteger(value)) return value.toLocaleString("en-GB");
    return value.toFixed(Math.abs(value) >= 0.1 || value === 0 ? 2 : 4).replace("-", "−");
  }

  function secondsLeft(value) {
    if (value === null || value === undefined) return "";
    if (value < 1) return "under 1 s left";
    if (value < 100) return `${Math.round(value)} s left`;
    if (value < 5400) return `${Math.round(value / 60)} min left`;
    return `${(value / 3600).toFixed(1)} h left`;
  }

  /** Lists and form are drawn again by the server; with `data` those pictures are chosen. */
  function refresh(data) {
    if (onPage()) window.dash_clientside.set_props("explainers-news", { data: { at: Date.now(), data: data || null } });
  }

  function showProblem(place, problem) {
    const node = document.getElementById(place);
    if (!node) return;
    if (!problem) {
      node.replaceChildren();
      return;
    }
    const box = document.createElement("div");
    const icon = document.createElement("span");
    const words = document.createElement("div");
    const title = document.createElement("strong");
    const text = document.createElement("p");
    box.className = "v-notice";
    box.dataset.code = problem.code || "";
    icon.className = "v-failed-icon v-icon v-icon-warning";
    title.textContent = problem.title || "Not possible";
    text.textContent = problem.message;
    words.append(title, text);
    box.append(icon, words);
    node.replaceChildren(box);
  }

  // ---- Trainings that run -----------------------------------------------------------------------------------------

  function cardOf(id) {
    return document.querySelector(`.v-training[data-training="${id}"]`);
  }

  function part(card, name) {
    return card.querySelector(`[data-part="${name}"]`);
  }

  function write(node, text) {
    if (node && node.textContent !== text) node.textContent = text;
  }

  function followShown() {
    const shown = [...document.querySelectorAll(".v-training[data-training]")].map((card) => card.dataset.training);
    curves = new Map([...curves].filter(([id]) => shown.includes(id)));
    vitrine.events.followTrainings(shown);
  }

  function onTraining({ detail: news }) {
    const card = cardOf(news.training);
    if (!card) return;
    if (FINAL.includes(news.state) || card.dataset.state !== news.state) {
      card.dataset.state = news.state;
      if (FINAL.includes(news.state)) vitrine.announce(`Training ${{ done: "finished", failed: "failed", stopped: "stopped" }[news.state]}`);
      refresh();
      if (FINAL.includes(news.state)) return;
    }
    showProgress(card, news);
    if (news.message !== null) write(part(card, "message"), news.message);
    if (news.values) showValues(part(card, "values"), news.values);
    if (news.pictures) showPictures(part(card, "pictures"), news.training, news.pictures, news.at);
    if (news.points) takePoints(news.training, news.points, news.whole);
  }

  function showProgress(card, { progress, wish, state }) {
    if (progress) card.vitrineProgress = progress;
    const known = card.vitrineProgress;
    part(card, "stop").disabled = wish === "stop";
    part(card, "finish").disabled = Boolean(wish) || state !== "running";
    if (wish) write(part(card, "state"), wish === "stop" ? "Stopping" : "Finishing");
    if (!known) return;
    if (!wish && known.stage) {
      const stage = known.stage.charAt(0).toUpperCase() + known.stage.slice(1);
      write(part(card, "state"), known.epoch && known.epochs ? `${stage}, epoch ${known.epoch} of ${known.epochs}` : stage);
    }
    write(part(card, "left"), secondsLeft(known.seconds_left));
    const share = known.total ? Math.min(1, known.done / known.total) : 0;
    part(card, "bar").style.width = `${(100 * share).toFixed(1)}%`;
    part(card, "meter").setAttribute("aria-valuenow", (100 * share).toFixed(0));
  }

  function showValues(list, values) {
    for (const [name, value] of Object.entries(values)) {
      let row = list.querySelector(`[data-value="${CSS.escape(name)}"]`);
      if (!row) {
        row = document.createElement("div");
        row.dataset.value = name;
        row.append(document.createElement("dt"), document.createElement("dd"));
        row.firstChild.textContent = nameOf(name);
        list.append(row);
      }
      write(row.lastChild, valueOf(name, value));
    }
  }

  /** Small pictures come under the same names again and again; the moment in the address makes the browser look. */
  function showPictures(box, training, names, at) {
    for (const name of names) {
      let figure = [...box.children].find((one) => one.dataset.name === name || one.textContent === name.replace(/\.[^.]*$/, ""));
      if (!figure) {
        figure = document.createElement("figure");
        const caption = document.createElement("figcaption");
        const image = document.createElement("img");
        image.alt = "";
        caption.textContent = name.replace(/\.[^.]*$/, "");
        figure.append(image, caption);
        box.append(figure);
      }
      figure.dataset.name = name;
      figure.querySelector("img").src = `/api/v1/trainings/${training}/pictures/${encodeURIComponent(name)}?at=${at}`;
    }
    for (const figure of [...box.children]) if (figure.dataset.name && !names.includes(figure.dataset.name)) figure.remove();
  }

  function takePoints(training, points, whole) {
    const known = whole ? {} : curves.get(training) || {};
    for (const [name, added] of Object.entries(points)) {
      // A point at or before the last one means that the training went back to a checkpoint.
      const kept = (known[name] || []).filter((point) => !added.length || point[0] < added[0][0]);
      known[name] = [...kept, ...added];
    }
    curves.set(training, known);
    if (drawing.has(training)) return;
    drawing.set(training, setTimeout(() => draw(training), whole ? 0 : CHART_EVERY_MS));
  }

  function draw(training) {
    drawing.delete(training);
    const card = cardOf(training);
    if (!card) return;
    const known = curves.get(training) || {};
    const taken = new Set();
    for (const box of card.querySelectorAll("[data-pattern]")) {
      const pattern = new RegExp(box.dataset.pattern);
      const names = Object.keys(known).filter((name) => !taken.has(name) && pattern.test(name));
      names.forEach((name) => taken.add(name));
      if (!names.length) continue;
      const data = names.map((name) => ({
        type: "scatter",
        name: nameOf(name),
        x: known[name].map((point) => point[0]),
        y: known[name].map((point) => point[1]),
        mode: "lines+markers",
        line: { width: 1.7 },
        marker: { size: 4 },
      }));
      box.classList.remove("is-empty");
      const id = { chart: box.dataset.chart, training, type: "explainer-chart" };
      const layout = JSON.parse(box.dataset.layout);
      // Names stand above the axes, two in a row.
      layout.margin.t = 8 + LEGEND_PX * Math.ceil(data.length / 2);
      window.dash_clientside.set_props(id, { figure: { data, layout } });
    }
  }

  async function change(verb, button) {
    const { training } = button.dataset;
    button.disabled = true;
    try {
      const path = `/trainings/${training}`;
      if (verb === "delete") await vitrine.ask("DELETE", path);
      else await vitrine.ask("POST", `${path}/${verb}`);
      showProblem("explainers-problem", null);
      refresh();
    } catch (problem) {
      button.disabled = false;
      showProblem("explainers-problem", problem);
    }
  }
  actions["training-stop"] = (button) => change("stop", button);
  actions["training-finish"] = (button) => change("finish", button);
  actions["training-resume"] = (button) => change("resume", button);
  actions["training-delete"] = (button) => change("delete", button);

  // ---- The form ---------------------------------------------------------------------------------------------------

  /** What a control holds as the type of the setting: numbers stay numbers, an empty field means "none". */
  function typed(value, standard) {
    if (Array.isArray(value)) return value.map((one) => (one !== "" && !Number.isNaN(Number(one)) ? Number(one) : one));
    if (value === "" || value === undefined || value === null) return standard === undefined ? null : standard === "" ? "" : null;
    if (typeof standard === "number" && typeof value === "string" && !Number.isNaN(Number(value))) return Number(value);
    return value;
  }

  function changedSettings() {
    const holder = document.querySelector(".v-train-settings");
    if (!holder || !form) return {};
    const defaults = JSON.parse(holder.dataset.defaults);
    const changed = {};
    for (const [name, value] of Object.entries(form.settings)) {
      if (!(name in defaults)) continue;
      const given = typed(value, defaults[name]);
      if (JSON.stringify(given) !== JSON.stringify(defaults[name])) changed[name] = given;
    }
    return changed;
  }

  actions["train-start"] = async (button) => {
    button.disabled = true;
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    button.disabled = false;
    if (!form || !form.model || !form.data) {
      showProblem("train-answer", { title: "Not complete", message: "Choose a model and pictures first." });
      return;
    }
    const isWorld = !document.getElementById("explainers-count-box").hidden;
    const body = {
      kind: form.kind,
      model: form.model,
      data: isWorld && form.count ? `${form.data}:${form.count}` : form.data,
      preset: form.preset || null,
      recipe: changedSettings(),
      title: (form.title || "").trim(),
    };
    button.disabled = true;
    try {
      await vitrine.ask("POST", "/trainings", body);
      showProblem("train-answer", null);
      vitrine.announce("The training was put into the queue.");
      refresh();
      document.getElementById("explainers-now").scrollIntoView({ block: "start" });
      window.scrollTo({ top: 0 });
    } catch (problem) {
      showProblem("train-answer", problem);
    }
    button.disabled = false;
  };

  // ---- Pictures to learn from -------------------------------------------------------------------------------------

  function showUpload(text, share) {
    const box = document.getElementById("dataset-progress");
    if (!box) return;
    box.hidden = !text;
    vitrine.say("dataset-progress", text);
    document.getElementById("dataset-bar").style.width = `${(100 * (share || 0)).toFixed(1)}%`;
  }

  async function lookAtUnpacking() {
    const cards = await vitrine.ask("GET", "/datasets").catch(() => []);
    const coming = cards.find((card) => card.state === "unpacking");
    if (!request) return;
    if (coming && coming.total) showUpload(`Unpacking, ${coming.done} of ${coming.total} pictures`, coming.done / coming.total);
    looking = setTimeout(lookAtUnpacking, LOOK_EVERY_MS);
  }

  function unanswered() {
    return { title: "Pictures did not arrive", message: "The server did not answer. Check that Vitrine is still running, then upload the zip again." };
  }

  function answered(sent) {
    let answer = null;
    try {
      answer = JSON.parse(sent.responseText);
    } catch {
      answer = null;
    }
    if (sent.status >= 200 && sent.status < 300 && answer) {
      vitrine.announce(`${answer.title} was uploaded.`);
      refresh(answer.name);
    } else showProblem("dataset-answer", answer && answer.message ? answer : unanswered());
  }

  function send(file) {
    if (request) request.abort();
    showProblem("dataset-answer", null);
    const body = new FormData();
    body.append("file", file, file.name);
    const sent = new XMLHttpRequest();
    request = sent;
    const end = (then) => () => {
      if (request !== sent) return;
      request = null;
      clearTimeout(looking);
      showUpload("", 0);
      then();
    };
    sent.open("POST", "/api/v1/datasets");
    sent.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable || !event.total) return;
      const share = event.loaded / event.total;
      showUpload(share < 1 ? `Uploading, ${Math.floor(100 * share)} %` : "Looking at the pictures", share);
    });
    sent.upload.addEventListener("load", () => {
      clearTimeout(looking);
      looking = setTimeout(lookAtUnpacking, LOOK_EVERY_MS);
    });
    sent.addEventListener("load", end(() => answered(sent)));
    sent.addEventListener("error", end(() => showProblem("dataset-answer", unanswered())));
    showUpload("Uploading", 0);
    sent.send(body);
  }

  actions["dataset-choose"] = () => {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = ".zip,application/zip";
    input.addEventListener("change", () => {
      if (input.files.length) send(input.files[0]);
    });
    input.click();
  };

  actions["dataset-delete"] = async (button) => {
    try {
      await vitrine.ask("DELETE", `/datasets/${encodeURIComponent(button.dataset.dataset)}`);
      vitrine.announce("The pictures were removed.");
      refresh();
    } catch (problem) {
      showProblem("dataset-answer", problem);
    }
  };

  // ---- Explainers -------------------------------------------------------------------------------------------------

  actions["confirm-ask"] = (button) => {
    const sure = button.parentElement.querySelector(".v-confirm");
    button.hidden = true;
    sure.hidden = false;
    sure.querySelector("button").focus();
  };
  actions["confirm-keep"] = (button) => {
    const sure = button.closest(".v-confirm");
    const ask = sure.parentElement.querySelector(".v-explainer-ask");
    sure.hidden = true;
    ask.hidden = false;
    ask.focus();
  };

  actions["explainer-delete"] = async (button) => {
    try {
      await vitrine.ask("DELETE", `/explainers/${button.dataset.explainer}`);
      vitrine.announce("The explainer was deleted.");
      if (onPage()) refresh();
      else vitrine.go("/explainers");
    } catch (problem) {
      vitrine.announce(problem.message);
      showProblem("explainers-problem", problem);
    }
  };

  /** Opens Inspect with the model and the method; a setting that names an explainer names this one. */
  actions["explainer-use"] = async (button) => {
    const { model, method, id } = button.dataset;
    const offered = await vitrine.ask("GET", "/methods").catch(() => []);
    const card = offered.find((one) => one.name === method);
    const properties = (card && card.params_schema.properties) || {};
    const names = Object.keys(properties).filter((name) => properties[name].explainer);
    const before = vitrine.store.get("methods") || {};
    const params = Object.assign({}, before.params);
    params[method] = Object.assign({}, params[method], Object.fromEntries(names.map((name) => [name, id])));
    vitrine.store.set("models", [model]);
    vitrine.store.set("methods", { chosen: [method], params, seeds: before.seeds || {} });
    vitrine.store.set("predictions", {});
    vitrine.go("/");
  };

  // ---- Words ------------------------------------------------------------------------------------------------------

  actions["explainer-word"] = (button) => {
    document.querySelectorAll(".v-book-word").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
    window.dash_clientside.set_props("explainers-word", { data: { word: Number(button.dataset.number), at: Date.now() } });
    const view = document.getElementById("explainers-word-view");
    if (view && view.getBoundingClientRect().top < 0) view.scrollIntoView({ block: "nearest" });
  };

  function arrangeWords() {
    const grid = document.getElementById("word-grid");
    const order = document.getElementById("word-order").value;
    const wanted = document.getElementById("word-class").value;
    const words = [...grid.children];
    // What has no value comes last; equal ones stay in the order of the book.
    const weight = (word) => (word.dataset[order] === "" ? Number.NEGATIVE_INFINITY : Number(word.dataset[order]));
    words.sort((one, other) =>
      order === "number" ? one.dataset.number - other.dataset.number : weight(other) - weight(one) || one.dataset.number - other.dataset.number,
    );
    grid.append(...words);
    for (const word of words) word.hidden = wanted !== "" && !word.dataset.used.split(" ").includes(wanted);
    const shown = words.filter((word) => !word.hidden).length;
    vitrine.say("word-count", shown === words.length ? `${shown} words` : `${shown} of ${words.length} words`);
  }

  document.addEventListener("change", (event) => {
    if (event.target.id === "word-order" || event.target.id === "word-class") arrangeWords();
  });

  document.addEventListener("vitrine:training", onTraining);
  document.addEventListener("vitrine:workers", (event) => {
    const note = document.getElementById("explainers-no-worker");
    if (note) note.hidden = event.detail.workers > 0;
  });
  function showCrops() {
    document.querySelectorAll("img[data-lazy]").forEach((image) => {
      image.loading = "lazy";
      image.src = image.dataset.lazy;
      image.removeAttribute("data-lazy");
    });
  }

  document.addEventListener("vitrine:page", () => {
    showCrops();
    if (!onPage()) {
      vitrine.events.followTrainings([]);
      return;
    }
    followShown();
    const bar = document.querySelector('[data-live="workers"]');
    document.getElementById("explainers-no-worker").hidden = !bar || bar.dataset.state !== "none";
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.explainers = {
    /** What the form says now. */
    form(kind, model, data, count, preset, title) {
      const [, , , , , , values, switches] = window.dash_clientside.callback_context.inputs_list;
      const settings = {};
      for (const item of [...values, ...switches]) if (item.id.method === `training:${kind}`) settings[item.id.name] = item.value;
      form = { kind, model, data, count, preset, title, settings };
      const node = document.getElementById("explainers-form");
      if (node) node.dataset.said = JSON.stringify({ title: title || "", recipe: changedSettings() });
      return window.dash_clientside.no_update;
    },
    /** The list of trainings was drawn anew: follow those on it. */
    listed() {
      setTimeout(followShown, 0);
      return window.dash_clientside.no_update;
    },
  };
})();

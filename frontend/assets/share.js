// Shares: the dialog that makes one, and what the read-only page can do.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});

  function setProps(id, props) {
    window.dash_clientside.set_props(id, props);
  }

  function field(id) {
    const node = document.getElementById(id);
    return node ? node.value : "";
  }

  function answer(...nodes) {
    document.getElementById("share-answer").replaceChildren(...nodes);
    document.getElementById("share-buttons").classList.toggle("has-link", nodes.some((node) => node.matches(".v-share-link")));
  }

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text) node.textContent = text;
    return node;
  }

  function linkRow(url) {
    const row = element("div", "v-share-link");
    const input = element("input");
    input.readOnly = true;
    input.value = url;
    input.setAttribute("aria-label", "Link");
    input.dataset.testid = "share-link";
    const copy = element("button", "v-button");
    copy.dataset.action = "copy-link";
    copy.dataset.url = url;
    copy.append(Object.assign(element("span", "", "Copy"), {}));
    copy.firstChild.dataset.words = "";
    const open = element("a", "v-button", "Open");
    open.href = url;
    open.target = "_blank";
    open.rel = "noopener";
    row.append(input, copy, open);
    return row;
  }

  function suggestedTitle() {
    const picture = vitrine.inspect.picture();
    const name = ((picture && picture.name) || "").replace(/\.\w+$/, "").replace(/[_-]+/g, " ");
    const models = [...new Set(vitrine.inspect.finished().map((cell) => cell.model_title))];
    return name ? `${name[0].toUpperCase()}${name.slice(1)}, by ${models.join(" and ")}`.slice(0, 120) : "";
  }

  function looksNow() {
    const runs = {};
    for (const cell of vitrine.inspect.finished()) {
      const { layer, k, picture } = vitrine.looks.chosen(cell.key);
      const isKept = layer && !layer.startsWith("contrast ");
      if (layer || k || picture) runs[cell.key] = { layer: isKept ? layer : null, k: k || null, picture: picture || null };
    }
    return { viewer: vitrine.viewer.getLooks(), runs };
  }

  actions["share-open"] = () => {
    answer();
    setProps("share-title", { value: suggestedTitle() });
    setProps("share-dialog", { opened: true });
  };
  actions["share-close"] = () => setProps("share-dialog", { opened: false });

  actions["share-create"] = async (button) => {
    button.disabled = true;
    const runs = vitrine.inspect.finished().map((cell) => cell.key);
    const days = Number(document.querySelector('input[name="share-days"]').value);
    try {
      const body = { title: field("share-title").trim(), runs: [...new Set(runs)], looks: looksNow(), expires_days: days };
      const share = await vitrine.ask("POST", "/shares", body);
      vitrine.history.addShare({ id: share.id, url: share.url, title: share.title, expires: share.expires, created: share.created, token: share.owner_token, maps: runs.length });
      answer(linkRow(share.url));
      document.querySelector("#share-answer button").focus();
      vitrine.announce("The link is ready");
    } catch (problem) {
      answer(element("p", "v-reason", problem.message));
    } finally {
      button.disabled = false;
    }
  };

  actions["copy-link"] = (button) => vitrine.copy(button.dataset.url || window.location.href, button);
  actions["copy-recipe"] = async (button) => {
    const recipe = await vitrine.ask("GET", `/shares/${shareId()}/recipe.json`);
    vitrine.copy(JSON.stringify(recipe, null, 2), button);
  };

  function shareId() {
    const page = document.querySelector("[data-share]");
    return page ? page.dataset.share : "";
  }

  function requestOf(manifest) {
    // The same fields as in Inspect's own requests, so that it knows the run by its signature.
    const request = { image_id: manifest.image_ids[0], model: manifest.model, method: manifest.method };
    if (manifest.image_ids.length > 1) request.more_image_ids = manifest.image_ids.slice(1);
    return { request, params: manifest.params, target: manifest.target, seed: manifest.seed };
  }

  /** Puts the share's results back among the live ones, and Inspect in the state they were made in. */
  actions["share-continue"] = async (button) => {
    button.disabled = true;
    try {
      const share = await vitrine.ask("POST", `/shares/${shareId()}/open`);
      const [picture] = share.pictures;
      const manifests = share.manifests.filter((manifest) => manifest.image_ids[0] === picture.id);
      vitrine.store.set("picture", picture);
      vitrine.store.set("further", furtherOf(manifests, share.pictures));
      vitrine.store.set("stage", "work");
      vitrine.store.set("predictions", {});
      vitrine.store.set("models", [...new Set(manifests.map((manifest) => manifest.model))]);
      restore(manifests, await vitrine.ask("GET", "/methods"));
      vitrine.go("/");
    } catch (problem) {
      button.disabled = false;
      vitrine.announce(problem.message);
      const note = document.getElementById("share-problem");
      if (note) note.textContent = problem.message;
    }
  };

  /** Pictures that the results look at beside the first one: those of the result with most. */
  function furtherOf(manifests, pictures) {
    const most = manifests.reduce((best, manifest) => (manifest.image_ids.length > best.length ? manifest.image_ids : best), []);
    return most.slice(1).map((id) => pictures.find((record) => record.id === id)).filter(Boolean);
  }

  function restore(manifests, cards) {
    const params = {};
    const seeds = {};
    const runs = Object.assign({}, vitrine.store.get("runs"));
    const targets = {};
    for (const manifest of manifests) {
      const card = cards.find((one) => one.name === manifest.method);
      const standard = card ? Object.entries(card.params_schema.properties || {}) : [];
      const given = {};
      for (const [name, node] of standard) {
        if (name in manifest.params && JSON.stringify(manifest.params[name]) !== JSON.stringify(node.default ?? null)) given[name] = manifest.params[name];
      }
      params[manifest.method] = given;
      if (card && card.has_seed && manifest.seed) seeds[manifest.method] = manifest.seed;
      const { request } = requestOf(manifest);
      if (Object.keys(given).length) request.params = given;
      if (card && card.has_seed && manifest.seed) request.seed = manifest.seed;
      runs[vitrine.signature(request)] = manifest.run_key;
    }
    vitrine.store.set("targets", targets);
    vitrine.store.set("runs", runs);
    vitrine.store.set("methods", { chosen: [...new Set(manifests.map((manifest) => manifest.method))], params, seeds });
  }

  actions["share-delete"] = async (button) => {
    if (button.dataset.sure !== "yes") {
      button.dataset.sure = "yes";
      button.textContent = "Delete for everybody";
      return;
    }
    const owned = vitrine.history.shares().find((share) => share.id === shareId());
    try {
      await vitrine.ask("DELETE", `/shares/${shareId()}`, undefined, { "X-Vitrine-Owner": owned.token });
      vitrine.history.removeShare(shareId());
      vitrine.go("/");
    } catch (problem) {
      document.getElementById("share-problem").textContent = problem.message;
    }
  };

  /** Looks of a share are those of the moment it was made; its owner sees the way to remove it. */
  function showShare() {
    const page = document.querySelector("[data-share]");
    if (!page) return;
    const looks = JSON.parse(page.dataset.looks || "{}");
    if (looks.viewer) vitrine.viewer.setLooks(looks.viewer);
    const owned = vitrine.history.shares().find((share) => share.id === page.dataset.share);
    const box = document.getElementById("share-owner");
    if (owned && box) box.hidden = false;
  }
  document.addEventListener("vitrine:page", showShare);
})();

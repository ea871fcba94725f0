// The page Library: the browser's own history by picture, and the shares made here.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});

  function node(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  function when(moment) {
    return new Date(moment).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
  }

  function count(number, one) {
    return `${number} ${one}${number === 1 ? "" : "s"}`;
  }

  /** Entries of one picture together, the latest picture first. */
  function byPicture(entries) {
    const found = new Map();
    for (const entry of entries) {
      const group = found.get(entry.picture.id) || [];
      group.push(entry);
      found.set(entry.picture.id, group);
    }
    return [...found.values()];
  }

  /** With how many other pictures a map was made, at most. */
  function company(entries) {
    const most = Math.max(...entries.map(({ request }) => ((request || {}).more_image_ids || []).length));
    return most ? [`with ${count(most, "more picture")}`] : [];
  }

  function pictureCard(entries) {
    const { picture } = entries[0];
    const image = document.createElement("img");
    image.src = `/api/v1/images/${picture.id}/picture?max_side=480`;
    image.alt = "";
    image.loading = "lazy";
    image.addEventListener("error", () => card.classList.add("is-gone"), { once: true });
    const models = [...new Set(entries.map((entry) => entry.model_title))];
    const methods = [...new Set(entries.map((entry) => entry.method_title.split(":")[0]))];
    const card = node(
      "button",
      "v-library-card",
      node("span", "v-library-picture", image),
      node("strong", "", picture.name || "Untitled picture"),
      node("span", "v-text", `${models.join(", ")}: ${methods.join(", ")}`),
      node("span", "v-note", [count(entries.length, "map"), ...company(entries), when(entries[0].when)].join(", ")),
    );
    card.type = "button";
    card.dataset.action = "open-history";
    card.dataset.picture = picture.id;
    return card;
  }

  function shareLine(share) {
    const link = node("a", "v-link", share.title || "Untitled maps");
    link.href = `/s/${share.id}`;
    link.dataset.spa = "";
    const facts = [count(share.maps || 0, "map"), `pinned on ${when(share.created * 1000)}`];
    if (share.expires) facts.push(`opens until ${when(share.expires * 1000)}`);
    return node("li", "v-library-share", link, node("span", "v-note", facts.join(", ")));
  }

  function nothing(words) {
    return node("p", "v-note", words);
  }

  function draw() {
    const pictures = document.getElementById("library-pictures");
    const shares = document.getElementById("library-shares");
    if (!pictures || !shares) return;
    const groups = byPicture(vitrine.history.list());
    const made = vitrine.history.shares();
    pictures.replaceChildren(
      groups.length ? node("div", "v-library-grid", ...groups.map(pictureCard)) : nothing("Nothing yet. Finished maps appear here by themselves."),
    );
    shares.replaceChildren(
      made.length ? node("ul", "v-library-shares", ...made.map(shareLine)) : nothing("None yet. Share pins the maps of a picture and gives you a link."),
    );
    document.getElementById("clear-history").hidden = !groups.length;
  }

  /** Further pictures of the latest question that had some and was not asked again without them. */
  async function furtherOf(entries) {
    const latest = new Map();
    for (const { method, request } of entries) if (!latest.has(method)) latest.set(method, request);
    const found = [...latest.values()].find((request) => (request.more_image_ids || []).length);
    const asked = found ? found.more_image_ids.map((id) => vitrine.ask("GET", `/images/${id}`).catch(() => null)) : [];
    const records = (await Promise.all(asked)).filter(Boolean);
    if (records.length < asked.length) vitrine.announce("Some of its further pictures are no longer kept.");
    return records;
  }

  /** Opens a picture of the list again, with its models and methods; what is still stored appears at once. */
  actions["open-history"] = async (button) => {
    const entries = vitrine.history.list().filter((entry) => entry.picture.id === button.dataset.picture);
    let record;
    try {
      record = await vitrine.ask("GET", `/images/${button.dataset.picture}`);
    } catch (problem) {
      button.classList.add("is-gone");
      vitrine.announce(problem.message);
      return;
    }
    const params = {};
    const seeds = {};
    const further = await furtherOf(entries);
    const runs = Object.assign({}, vitrine.store.get("runs"));
    for (const { method, request, key } of [...entries].reverse()) {
      params[method] = request.params || {};
      if (request.seed) seeds[method] = request.seed;
      runs[vitrine.signature(request)] = key;
    }
    vitrine.store.set("picture", record);
    vitrine.store.set("further", further);
    vitrine.store.set("stage", "work");
    vitrine.store.set("predictions", {});
    vitrine.store.set("targets", {});
    vitrine.store.set("runs", runs);
    vitrine.store.set("models", [...new Set(entries.map((entry) => entry.model))]);
    vitrine.store.set("methods", { chosen: [...new Set(entries.map((entry) => entry.method))], params, seeds });
    vitrine.go("/");
  };

  actions["clear-history"] = () => {
    vitrine.history.clear();
    draw();
  };

  document.addEventListener("vitrine:page", draw);
})();

// Further pictures of Inspect: chosen, dropped or taken from the samples; methods for several pictures look at all.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  /** Of all pictures, the first one included. */
  const MOST = 16;
  let last = Promise.resolve();

  /** The further pictures; the first one never counts twice. */
  function list() {
    const picture = vitrine.store.get("picture");
    return (vitrine.store.get("further") || []).filter((record) => !picture || record.id !== picture.id);
  }

  function say(text) {
    vitrine.say("further-note", text);
  }

  function change(records) {
    const before = list().length;
    vitrine.store.set("further", records);
    draw();
    document.dispatchEvent(new CustomEvent("vitrine:further", { detail: { before, after: list().length } }));
  }

  function add(record) {
    const picture = vitrine.store.get("picture");
    if (list().some((one) => one.id === record.id) || (picture && picture.id === record.id)) {
      say("This picture is there already.");
      return;
    }
    say("");
    change([...list(), record]);
  }

  function isFull() {
    const full = list().length + 1 >= MOST;
    if (full) say(`${MOST} pictures are the most.`);
    return full;
  }

  /** One after the other, so that they stand in the order in which they were chosen. */
  function addNext(fetchRecord) {
    last = last.then(async () => {
      if (isFull()) return;
      try {
        add(await fetchRecord());
      } catch (problem) {
        if (problem) say(problem.message);
      }
    });
  }

  function addFiles(files) {
    for (const file of files) addNext(() => vitrine.upload(file, { further: true }));
  }

  function thumb(record, place) {
    const item = document.createElement("div");
    item.className = "v-further-item";
    const image = document.createElement("img");
    image.src = `/api/v1/images/${record.id}/picture?max_side=128`;
    image.alt = record.name || `Picture ${place + 2}`;
    image.title = record.name || "";
    const remove = document.createElement("button");
    remove.type = "button";
    remove.dataset.action = "remove-further";
    remove.dataset.picture = record.id;
    remove.setAttribute("aria-label", `Remove ${record.name || `picture ${place + 2}`}`);
    const icon = document.createElement("span");
    icon.className = "v-icon v-icon-close";
    remove.append(icon);
    item.append(image, remove);
    return item;
  }

  function draw() {
    const box = document.getElementById("further-list");
    if (box) box.replaceChildren(...list().map(thumb));
  }

  actions["choose-further"] = () => vitrine.choosePictures(addFiles);
  actions["add-sample"] = (button) => {
    const { sample } = button.dataset;
    addNext(() => vitrine.ask("POST", `/samples/${encodeURIComponent(sample)}`));
  };
  actions["remove-further"] = (button) => {
    say("");
    change(list().filter((record) => record.id !== button.dataset.picture));
    const next = document.querySelector('[data-action="remove-further"], [data-testid="add-pictures"]');
    if (next) next.focus();
  };

  document.addEventListener("vitrine:page", draw);
  document.addEventListener("vitrine:picture", () => setTimeout(draw, 0));
  vitrine.further = { list, addFiles, draw };
})();

// Tables: a click on a head sorts by that column (again: the other way round), and a table that is wider than its place
// says how many columns there are. Rows marked "is-rest" stay last. Nothing here asks the server.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const watched = new WeakSet();

  function keyOf(row, place) {
    const cell = row.children[place];
    const number = cell && cell.dataset.value !== undefined ? Number(cell.dataset.value) : NaN;
    const text = cell ? cell.textContent.trim() : "";
    // "region 10" comes after "region 9".
    return Number.isNaN(number) ? { text, isEmpty: text === "" || text === "–" } : { number };
  }

  function compare(one, other) {
    if (one.number !== undefined && other.number !== undefined) return one.number - other.number;
    if (one.number !== undefined || other.number !== undefined) return one.number !== undefined ? -1 : 1;
    return one.text.localeCompare(other.text, "en", { numeric: true });
  }

  /** Largest numbers first, texts from A; empty entries and the rest of a table always last. */
  actions.sort = (button) => {
    const head = button.closest("th");
    const body = button.closest("table").tBodies[0];
    const place = Number(button.dataset.place);
    const rows = [...body.rows].map((row, at) => ({ row, at, key: keyOf(row, place), isRest: row.classList.contains("is-rest") }));
    const isNumeric = rows.some(({ key }) => key.number !== undefined);
    const now = head.getAttribute("aria-sort");
    const order = now ? (now === "ascending" ? "descending" : "ascending") : isNumeric ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((one, other) => {
      const last = Number(one.isRest) - Number(other.isRest) || Number(Boolean(one.key.isEmpty)) - Number(Boolean(other.key.isEmpty));
      return last || sign * compare(one.key, other.key) || one.at - other.at;
    });
    for (const { row } of rows) body.append(row);
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    if (vitrine.announce) vitrine.announce(`Sorted by ${button.textContent}, ${order}`);
  };

  function measure(box) {
    const frame = box.parentElement;
    if (!frame || !frame.classList.contains("v-table-frame")) return;
    const isWide = box.scrollWidth > box.clientWidth + 1;
    const columns = box.querySelectorAll("thead tr:last-child > th").length;
    if (isWide) frame.dataset.hint = `Scroll sideways: ${columns} columns`;
    else delete frame.dataset.hint;
  }

  const resizer = new ResizeObserver((entries) => entries.forEach(({ target }) => measure(target.closest(".v-table-box") || target)));

  function watch(node) {
    const boxes = node.matches && node.matches(".v-table-box") ? [node] : node.querySelectorAll(".v-table-box");
    for (const box of boxes) {
      if (watched.has(box)) continue;
      watched.add(box);
      resizer.observe(box);
      if (box.firstElementChild) resizer.observe(box.firstElementChild);
    }
  }

  function start() {
    watch(document.body);
    new MutationObserver((records) => {
      for (const record of records) for (const node of record.addedNodes) if (node.nodeType === Node.ELEMENT_NODE) watch(node);
    }).observe(document.body, { subtree: true, childList: true });
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();

// What every page needs: stores that outlive a reload, actions of buttons, links without a reload, who computes.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const actions = (vitrine.actions = vitrine.actions || {});
  const KEPT = {
    picture: "session",
    further: "session",
    stage: "session",
    targets: "session",
    runs: "session",
    predictions: "session",
    models: "local",
    methods: "local",
    looks: "local",
  };
  const MOST_HISTORY = 300;
  const FOLDS = ".v-more[open], .v-menu[open], .v-phone-menu[open]";
  const values = new Map();
  let isFirst = true;

  function storage(kind) {
    try {
      return kind === "local" ? window.localStorage : window.sessionStorage;
    } catch {
      return null; // storage may be forbidden: then nothing outlives a reload
    }
  }

  function read(kind, name) {
    try {
      return JSON.parse(storage(kind).getItem(`vitrine.${name}`));
    } catch {
      return null;
    }
  }

  function write(kind, name, value) {
    try {
      storage(kind).setItem(`vitrine.${name}`, JSON.stringify(value));
    } catch {
      // full or forbidden: the page works on without it
    }
  }

  /** The browser's state. get() is always current; set() also tells the page. */
  const store = {
    get: (name) => (values.has(name) ? values.get(name) : null),
    keep(name, value) {
      values.set(name, value);
      if (KEPT[name]) write(KEPT[name], name, value);
    },
    set(name, value) {
      store.keep(name, value);
      window.dash_clientside.set_props(name, { data: value });
    },
  };
  for (const name of Object.keys(KEPT)) values.set(name, read(KEPT[name], name));

  async function ask(method, path, body, headers) {
    let response;
    try {
      response = await fetch(`/api/v1${path}`, {
        method,
        headers: Object.assign(body === undefined ? {} : { "Content-Type": "application/json" }, headers || {}),
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw { code: "internal", title: "No answer", message: "The server did not answer. Check that Vitrine is running.", retry: true };
    }
    const text = await response.text();
    let answer = null;
    try {
      answer = text ? JSON.parse(text) : null;
    } catch {
      answer = null;
    }
    if (response.ok) return answer;
    if (answer && answer.message) throw answer;
    throw { code: "internal", title: "No answer", message: `The server answered ${response.status}. Try again.`, retry: true };
  }

  function live(name, change) {
    document.querySelectorAll(`[data-live="${name}"]`).forEach(change);
  }

  function say(name, text) {
    live(name, (node) => {
      if (node.textContent !== text) node.textContent = text;
    });
  }

  function announce(text) {
    const node = document.getElementById("announcer");
    if (node) node.textContent = text;
  }

  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    announce("Copied");
    const words = button && button.querySelector("[data-words]");
    if (!words || words.dataset.before) return;
    words.dataset.before = words.textContent;
    words.textContent = "Copied";
    setTimeout(() => {
      words.textContent = words.dataset.before;
      delete words.dataset.before;
    }, 1600);
  }

  const history = {
    list: () => read("local", "history") || [],
    add(entry) {
      const rest = history.list().filter((other) => other.key !== entry.key);
      write("local", "history", [entry, ...rest].slice(0, MOST_HISTORY));
    },
    clear: () => write("local", "history", []),
    shares: () => read("local", "shares") || [],
    addShare: (share) => write("local", "shares", [share, ...history.shares().filter((other) => other.id !== share.id)]),
    removeShare: (id) => write("local", "shares", history.shares().filter((share) => share.id !== id)),
  };

  function sorted(value) {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]));
  }

  /** The same question gives the same text, in whatever order its settings were made. */
  function signature(request) {
    return JSON.stringify(sorted(request));
  }

  Object.assign(vitrine, { signature, store, ask, live, say, announce, copy, history });

  function go(address) {
    window.history.pushState({}, "", address);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
    window.scrollTo(0, 0);
  }
  vitrine.go = go;

  function onLink(event) {
    const link = event.target.closest("a[data-spa]");
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    document.querySelectorAll(".v-phone-menu[open]").forEach((menu) => menu.removeAttribute("open"));
    go(link.getAttribute("href"));
  }

  function onAction(event) {
    if (!(event.target instanceof Element)) return;
    onLink(event);
    closeFolds(event.target);
    const button = event.target.closest("[data-action]");
    if (!button || button.disabled || button.getAttribute("aria-disabled") === "true") return;
    const run = actions[button.dataset.action];
    if (run) run(button, event);
  }

  /** Small menus made of <details> close when something else is chosen. */
  function closeFolds(target) {
    document.querySelectorAll(FOLDS).forEach((fold) => {
      if (!fold.contains(target)) fold.removeAttribute("open");
    });
  }

  document.addEventListener("click", onAction);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll(FOLDS).forEach((fold) => {
      fold.removeAttribute("open");
      fold.querySelector("summary").focus();
    });
    if (actions["close-rail"]) actions["close-rail"]();
  });

  actions["copy-code"] = (button) => copy(button.closest(".v-code-block").querySelector("pre").textContent, button);

  function showWorkers({ workers, waiting, busy }) {
    const count = workers === 0 ? "No worker" : workers === 1 ? "1 worker" : `${workers} workers`;
    const load = workers === 0 ? "" : waiting ? `, ${waiting} waiting` : busy >= workers ? ", busy" : ", free";
    live("workers", (node) => {
      node.dataset.state = workers ? "ready" : "none";
    });
    say("workers-text", count + load);
  }

  let lastWorkers = null;
  document.addEventListener("vitrine:workers", (event) => {
    lastWorkers = event.detail;
    showWorkers(lastWorkers);
  });
  document.addEventListener("vitrine:connection", (event) => {
    if (event.detail.connected) return;
    live("workers", (node) => {
      node.dataset.state = "lost";
    });
    say("workers-text", "Connecting again");
    lastWorkers = null;
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.shell = {
    /** An address was opened: hands the server what it needs to draw the page. */
    visit(pathname, search) {
      const stores = Object.fromEntries(values);
      if (isFirst) {
        isFirst = false;
        for (const [name, value] of values) if (value !== null) window.dash_clientside.set_props(name, { data: value });
      }
      return { path: pathname || "/", search: search || "", stores };
    },
    /** A page was drawn: its title, and what only this browser knows. */
    title(title) {
      if (title) {
        document.title = title;
        setTimeout(() => {
          if (lastWorkers) showWorkers(lastWorkers);
          document.dispatchEvent(new CustomEvent("vitrine:page", { detail: { path: window.location.pathname } }));
        }, 0);
        if (!/^\/s\//.test(window.location.pathname)) vitrine.events.follow(vitrine.events.following());
      }
      return window.dash_clientside.no_update;
    },
  };
})();

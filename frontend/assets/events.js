// One stream per page: follow() keeps a single EventSource for all runs on it, because a browser allows only six
// connections to a host. Everything it hears becomes an event on the document.
//   vitrine:run {RunEvent}   vitrine:training {TrainingEvent}   vitrine:workers {workers, waiting, busy}
//   vitrine:connection {connected}
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const ADDRESS = "/api/v1/events";
  const FIRST_WAIT_MS = 1000;
  const LONGEST_WAIT_MS = 15000;
  const GATHER_MS = 40;

  let source = null;
  let wanted = null;
  let trainings = [];
  let wait = FIRST_WAIT_MS;
  let timer = 0;
  let connected = null;

  function tell(name, detail) {
    document.dispatchEvent(new CustomEvent(name, { detail }));
  }

  function setConnected(now) {
    if (connected === now) return;
    connected = now;
    tell("vitrine:connection", { connected: now });
  }

  function hear(name) {
    return (message) => {
      let detail;
      try {
        detail = JSON.parse(message.data);
      } catch {
        return;
      }
      tell(name, detail);
    };
  }

  function close() {
    clearTimeout(timer);
    timer = 0;
    if (source) source.close();
    source = null;
  }

  function open() {
    close();
    const asked = [
      ...(wanted && wanted.length ? [`runs=${wanted.join(",")}`] : []),
      ...(trainings.length ? [`trainings=${trainings.join(",")}`] : []),
    ];
    const stream = new EventSource(asked.length ? `${ADDRESS}?${asked.join("&")}` : ADDRESS);
    source = stream;
    stream.addEventListener("run", hear("vitrine:run"));
    stream.addEventListener("training", hear("vitrine:training"));
    stream.addEventListener("workers", hear("vitrine:workers"));
    stream.addEventListener("open", () => {
      wait = FIRST_WAIT_MS;
      setConnected(true);
    });
    stream.addEventListener("error", () => {
      if (stream !== source) return;
      setConnected(false);
      // The browser reconnects by itself, from the last id, unless the server refused: then we ask again, less and less often.
      if (stream.readyState !== EventSource.CLOSED) return;
      close();
      timer = setTimeout(open, wait);
      wait = Math.min(LONGEST_WAIT_MS, wait * 2);
    });
  }

  function sameRuns(one, other) {
    return one.length === other.length && one.every((key, index) => key === other[index]);
  }

  /** Follows these runs from now on, and the workers. The new stream first tells how each run stands. */
  function follow(runKeys) {
    const next = [...new Set((runKeys || []).filter(Boolean))].sort();
    if (wanted && sameRuns(wanted, next)) return;
    wanted = next;
    openSoon();
  }

  /** Follows these trainings as well, on the same stream. */
  function followTrainings(ids) {
    const next = [...new Set(ids || [])].sort();
    if (sameRuns(trainings, next)) return;
    trainings = next;
    openSoon();
  }

  /** Several changes in one go (a grid being filled) open one stream, not ten. */
  function openSoon() {
    clearTimeout(timer);
    timer = setTimeout(open, GATHER_MS);
  }

  function stop() {
    wanted = null;
    trainings = [];
    close();
    setConnected(false);
  }

  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && wanted) open();
  });

  vitrine.events = { follow, followTrainings, stop, following: () => (wanted || []).slice() };
})();

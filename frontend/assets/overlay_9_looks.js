// The looks all viewers share: their defaults, what is allowed, and what must be drawn again when one of them changes.
//   mode "overlay|side|swipe|picture" · opacity 0-1 · palette · range · custom [lo, hi] · smooth, contour, linked, match
//   threshold {kind: "all"} · {kind: "value", value: least value (signed maps: least size)} · {kind: "top", value: percent}
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const { STACK, COLOURS, VALUES } = vitrine.cell;
  const DEFAULTS = {
    mode: "overlay",
    opacity: 0.86,
    palette: "magma",
    range: "common",
    custom: null,
    threshold: { kind: "all", value: 0 },
    smooth: true,
    contour: true,
    linked: true,
    match: true,
  };
  const ALLOWED = {
    mode: ["overlay", "side", "swipe", "picture"],
    range: ["own", "common", "symmetric", "positive", "negative", "custom"],
    palette: [...vitrine.palettes.names, "diverging"],
  };
  const STAGES = { mode: VALUES, smooth: VALUES, opacity: STACK, linked: VALUES };

  /** Returns the change without what is unknown or not allowed. */
  function checked(change) {
    const clean = {};
    for (const [name, value] of Object.entries(change)) {
      if (name in DEFAULTS && value !== undefined && (!ALLOWED[name] || ALLOWED[name].includes(value))) clean[name] = value;
    }
    if ("opacity" in clean) clean.opacity = Math.min(1, Math.max(0, Number(clean.opacity) || 0));
    if (clean.threshold === null) clean.threshold = DEFAULTS.threshold;
    return clean;
  }

  function stageOf(names) {
    return Math.max(...names.map((name) => STAGES[name] || COLOURS));
  }

  vitrine.looksOf = { DEFAULTS, checked, stageOf };
})();

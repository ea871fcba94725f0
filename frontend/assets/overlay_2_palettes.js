// The palettes of maps. Perceptual and safe for colour-blind eyes; zero is neutral in the diverging one.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const STEPS = 1024;
  /** Share of the opacity slider that the lowest value keeps; with the slider at 0.86 a map runs from 0.38 to 0.86. */
  const LEAST_SEQUENTIAL = 0.38 / 0.86;
  const LEAST_SIGNED = 0.16;
  const LABEL_SHARE = 0.84;

  const SEQUENTIAL = {
    magma: ["#1D1147", "#51127C", "#832681", "#B73779", "#E75263", "#FC8961", "#FEC488", "#FCFDBF"],
    viridis: ["#440154", "#482878", "#3E4A89", "#31688E", "#26828E", "#1F9E89", "#35B779", "#6DCD59", "#B4DE2C", "#FDE725"],
    cividis: ["#00224E", "#434E6C", "#7D7C78", "#BCAE6C", "#FEE838"],
    grey: ["#101110", "#F6F6F4"],
  };
  const DIVERGING = ["#2166AC", "#4393C3", "#92C5DE", "#D1E5F0", "#F1F1EF", "#FDDBC7", "#F4A582", "#D6604D", "#B2182B"];
  const CATEGORICAL = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#8CCBEE", "#D55E00", "#5B4B8A", "#F0E442"];
  const COMPOSITE = ["#ED4538", "#40C76B", "#4D80F5"];

  function toRgb(hex) {
    const number = parseInt(hex.slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  }

  function toHex(rgb) {
    return "#" + rgb.map((value) => Math.round(value).toString(16).padStart(2, "0")).join("").toUpperCase();
  }

  function mix(from, to, share) {
    return from.map((value, channel) => value + (to[channel] - value) * share);
  }

  function colourAt(stops, position) {
    const place = Math.min(1, Math.max(0, position)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(place));
    return mix(toRgb(stops[low]), toRgb(stops[low + 1]), place - low);
  }

  /** Red in the lowest byte: the order of ImageData on little-endian machines, which all browsers run on. */
  function pack(rgb, alpha) {
    const [red, green, blue] = rgb.map(Math.round);
    return ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }

  const tables = new Map();

  function isSigned(name) {
    return name === "diverging";
  }

  function stopsOf(name) {
    return isSigned(name) ? DIVERGING : SEQUENTIAL[name] || SEQUENTIAL.magma;
  }

  /** Returns 1024 packed colours; their alpha grows with the value (signed: with its size). */
  function table(name) {
    if (!tables.has(name)) {
      const packed = new Uint32Array(STEPS);
      for (let step = 0; step < STEPS; step += 1) {
        const position = step / (STEPS - 1);
        const size = isSigned(name) ? Math.abs(2 * position - 1) : position;
        const least = isSigned(name) ? LEAST_SIGNED : LEAST_SEQUENTIAL;
        packed[step] = pack(colourAt(stopsOf(name), position), least + (1 - least) * size);
      }
      tables.set(name, packed);
    }
    return tables.get(name);
  }

  /** Returns [r, g, b] of a group; above eight the colours repeat lighter, then darker. */
  function category(index) {
    const base = toRgb(CATEGORICAL[((index % 8) + 8) % 8]);
    const round = Math.floor(index / 8);
    if (round <= 0) return base;
    return round % 2 === 1 ? mix(base, [255, 255, 255], 0.45) : mix(base, [0, 0, 0], 0.4);
  }

  /** Whether dark letters read better than white ones on this colour. */
  function isPale(rgb) {
    const linear = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.32;
  }

  vitrine.palettes = {
    STEPS,
    LABEL_SHARE,
    names: Object.keys(SEQUENTIAL),
    sequential: SEQUENTIAL,
    diverging: DIVERGING,
    categorical: CATEGORICAL,
    composite: COMPOSITE,
    table,
    category,
    colourAt: (name, position) => colourAt(stopsOf(name), position),
    isPale,
    toRgb,
    toHex,
    pack,
  };
})();

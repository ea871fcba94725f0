// From numbers to colours: which value gets which step of a palette, and which values are not drawn at all.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const COLOUR_SHARE = 0.8;
  const LAST = vitrine.palettes.STEPS - 1;
  const MIDDLE = LAST / 2;
  const CLEAR = 0;

  function linear(lo, hi) {
    return { lo, hi, pivot: lo, above0: 0, above: LAST / (hi - lo), below0: 0, below: 0 };
  }

  /** Zero sits on the neutral middle whatever the ends are. */
  function around(lo, hi) {
    const up = hi > 0 ? hi : -lo;
    const down = lo < 0 ? -lo : hi;
    return { lo, hi, pivot: 0, above0: MIDDLE, above: MIDDLE / up, below0: MIDDLE, below: MIDDLE / down };
  }

  function positiveScale(signed, max) {
    const hi = max > 0 ? max : 1;
    const scale = signed ? around(0, hi) : linear(0, hi);
    return Object.assign(scale, { least: signed ? Number.MIN_VALUE : 0 });
  }

  function negativeScale(signed, min) {
    const lo = min < 0 ? min : -1;
    const scale = signed ? around(lo, 0) : { lo, hi: 0, pivot: 0, above0: 0, above: 0, below0: 0, below: LAST / lo };
    return Object.assign(scale, { most: signed ? -Number.MIN_VALUE : 0, size: true });
  }

  /**
   * Returns how values become steps of the palette.
   * `extent` is [min, max] of the field, or of all fields that share a range; `natural` stands in for constant fields.
   */
  function scaleFor(encoding, looks, extent, natural) {
    const signed = encoding === "signed";
    const palette = signed ? "diverging" : looks.palette;
    const widest = Math.max(Math.abs(extent[0]), Math.abs(extent[1])) || (natural ? Math.abs(natural[1]) : 0) || 1;
    let scale;
    if (looks.range === "positive") scale = positiveScale(signed, extent[1]);
    else if (looks.range === "negative") scale = negativeScale(signed, extent[0]);
    else if (looks.range === "custom" && looks.custom && looks.custom[0] < looks.custom[1]) {
      scale = signed ? around(looks.custom[0], looks.custom[1]) : linear(looks.custom[0], looks.custom[1]);
    } else if (signed || looks.range === "symmetric") {
      scale = signed || palette === "diverging" ? around(-widest, widest) : linear(-widest, widest);
    } else scale = linear(...ownRange(extent, natural));
    return Object.assign({ least: -Infinity, most: Infinity, size: signed }, scale, { palette, signed });
  }

  function ownRange(extent, natural) {
    if (extent[0] < extent[1]) return extent;
    if (natural && natural[0] < natural[1]) return natural;
    return extent[0] > 0 ? [0, extent[0]] : [extent[0], extent[0] + 1];
  }

  /** Least value (or size, for signed maps) that is drawn. */
  function thresholdLevel(threshold, field, scale) {
    if (threshold.kind === "value") return threshold.value;
    if (threshold.kind === "top") return vitrine.field.topLevel(field, threshold.value, scale.size);
    return -Infinity;
  }

  function stepAt(scale, value) {
    const away = value - scale.pivot;
    const step = value < scale.pivot ? scale.below0 + away * scale.below : scale.above0 + away * scale.above;
    return step < 0 ? 0 : step > LAST ? LAST : Math.round(step);
  }

  /** Fills packed pixels from values; NaN, hidden signs and values under the level stay clear. */
  function colourNumbers(values, scale, level, pixels) {
    const table = vitrine.palettes.table(scale.palette);
    const { pivot, above0, above, below0, below, least, most, size } = scale;
    for (let index = 0; index < values.length; index += 1) {
      const value = values[index];
      if (!(value >= least && value <= most) || !((size && value < 0 ? -value : value) >= level)) {
        pixels[index] = CLEAR;
        continue;
      }
      const away = value - pivot;
      const step = (away < 0 ? below0 + away * below : above0 + away * above) + 0.5;
      pixels[index] = table[step < 0 ? 0 : step > LAST ? LAST : step | 0];
    }
  }

  /** Fills packed pixels from labels; `chosen` (or null) stands out, -1 stays clear. */
  function colourLabels(labels, colourIndex, chosen, pixels) {
    const { category, pack, LABEL_SHARE } = vitrine.palettes;
    const known = new Map();
    let last = NaN;
    let packed = CLEAR;
    for (let index = 0; index < labels.length; index += 1) {
      const label = labels[index];
      if (label !== last) {
        last = label;
        if (!known.has(label)) {
          const share = chosen === null ? LABEL_SHARE : label === chosen ? 0.96 : 0.16;
          known.set(label, label >= 0 ? pack(category(colourIndex(label)), share) : CLEAR);
        }
        packed = known.get(label);
      }
      pixels[index] = packed;
    }
  }

  /**
   * Fills packed pixels from up to three ranked maps (0-255 each) in the colours of the parts.
   *
   * The strongest map of a place keeps its value, the others enter by the square of their share of it, so that parts
   * that overlap everywhere are still told apart; only where all are equal the mixture is pale. A sum beyond the
   * screen's white is dimmed as a whole and keeps its hue. The picture gets what COLOUR_SHARE leaves it.
   */
  function colourComposite(values, pixels) {
    const parts = vitrine.palettes.composite.map(vitrine.palettes.toRgb);
    const bytes = new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, pixels.length * 4);
    const sum = [0, 0, 0];
    for (let index = 0; index < pixels.length; index += 1) {
      const at = index * 3;
      const strongest = Math.max(values[at], values[at + 1], values[at + 2]) || 1;
      sum.fill(0);
      for (let part = 0; part < 3; part += 1) {
        const weight = (values[at + part] * values[at + part]) / strongest / 255;
        for (let channel = 0; channel < 3; channel += 1) sum[channel] += weight * parts[part][channel];
      }
      const gain = (COLOUR_SHARE * 255) / Math.max(255, sum[0], sum[1], sum[2]);
      for (let channel = 0; channel < 3; channel += 1) bytes[index * 4 + channel] = sum[channel] * gain;
      bytes[index * 4 + 3] = 255;
    }
  }

  /** Fills packed pixels from a picture [H, W, 3]: bytes, or floats of 0 to 1. */
  function colourPicture(values, gain, pixels) {
    const bytes = new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, pixels.length * 4);
    for (let index = 0; index < pixels.length; index += 1) {
      for (let channel = 0; channel < 3; channel += 1) bytes[index * 4 + channel] = values[index * 3 + channel] * gain;
      bytes[index * 4 + 3] = 255;
    }
  }

  vitrine.scale = { scaleFor, thresholdLevel, stepAt, colourNumbers, colourLabels, colourComposite, colourPicture, COLOUR_SHARE };
})();

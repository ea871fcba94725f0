// A field is an array lying on a rectangle of the picture. Everything here is arithmetic on fields: no page, no colours.
//
// Geometry: cell (i, j) of an [H, W] array with frame [left, top, right, bottom] covers exactly its H-th by W-th part of
// the frame. A screen pixel takes what lies under its centre: the cell itself, or the value interpolated between cell centres.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});

  function makeField(array, frame, picture) {
    let shape = array.shape.slice();
    while (shape.length > 2 && shape[0] === 1 && !(shape.length === 3 && shape[2] === 3)) shape = shape.slice(1);
    const [height, width] = shape;
    const channels = shape.length === 3 ? shape[2] : 1;
    const field = { data: array.data, height, width, channels, frame, kind: array.kind, picture };
    return Object.assign(field, extent(array.data));
  }

  /** Least and greatest finite value, and whether anything is missing (NaN or infinite). */
  function extent(data) {
    let min = Infinity;
    let max = -Infinity;
    let holes = false;
    for (let index = 0; index < data.length; index += 1) {
      const value = data[index];
      if (value - value !== 0) {
        holes = true;
        continue;
      }
      if (value < min) min = value;
      if (value > max) max = value;
    }
    return min <= max ? { min, max, holes } : { min: 0, max: 0, holes: true };
  }

  function cellSize(field) {
    const [left, top, right, bottom] = field.frame;
    return [(right - left) / field.width, (bottom - top) / field.height];
  }

  /** Index of the cell under a point of the picture, or -1 outside the frame. */
  function cellAt(field, x, y) {
    const [left, top, right, bottom] = field.frame;
    if (!(x >= left && x < right && y >= top && y < bottom)) return -1;
    const column = Math.min(field.width - 1, Math.floor(((x - left) / (right - left)) * field.width));
    const row = Math.min(field.height - 1, Math.floor(((y - top) / (bottom - top)) * field.height));
    return row * field.width + column;
  }

  function valueAt(field, x, y) {
    const cell = cellAt(field, x, y);
    return cell < 0 ? NaN : field.data[cell * field.channels];
  }

  /** Values of the cells whose centre lies on the picture, ascending; `size` takes them without their sign. */
  function sorted(field, size) {
    const key = size ? "sortedSizes" : "sortedValues";
    if (!field[key]) {
      const [stepX, stepY] = cellSize(field);
      const values = [];
      for (let row = 0; row < field.height; row += 1) {
        const y = field.frame[1] + (row + 0.5) * stepY;
        for (let column = 0; column < field.width; column += 1) {
          const x = field.frame[0] + (column + 0.5) * stepX;
          const value = field.data[row * field.width + column];
          const inside = x >= 0 && y >= 0 && x < field.picture.width && y < field.picture.height;
          if (inside && value - value === 0) values.push(size ? Math.abs(value) : value);
        }
      }
      field[key] = Float64Array.from(values).sort();
    }
    return field[key];
  }

  /** Least value that still belongs to the top `percent` of the cells; ties at the edge are all in. */
  function topLevel(field, percent, size) {
    const values = sorted(field, size);
    const count = Math.round((values.length * Math.min(100, Math.max(0, percent))) / 100);
    return count < 1 ? Infinity : values[values.length - count];
  }

  /** First screen pixel whose centre is at or beyond a point of the picture. */
  function edge(position, scale, origin, size) {
    return Math.min(size, Math.max(0, Math.ceil(position * scale + origin - 0.5 - 1e-9)));
  }

  /** Screen pixels [x0, y0, x1, y1] that a rectangle of the picture owns by their centres. */
  function pixelBox(box, view) {
    return [
      edge(box[0], view.sx, view.ox, view.width),
      edge(box[1], view.sy, view.oy, view.height),
      edge(box[2], view.sx, view.ox, view.width),
      edge(box[3], view.sy, view.oy, view.height),
    ];
  }

  /** The same view on a screen with fewer pixels. */
  function coarser(view, factor) {
    if (factor === 1) return view;
    const fewer = (value) => value / factor;
    const size = { width: Math.ceil(fewer(view.width)), height: Math.ceil(fewer(view.height)) };
    return Object.assign(size, { sx: fewer(view.sx), sy: fewer(view.sy), ox: fewer(view.ox), oy: fewer(view.oy) });
  }

  function axis(start, count, scale, origin, low, high, cells, smooth) {
    const first = new Int32Array(count);
    const second = new Int32Array(count);
    const weight = new Float32Array(count);
    for (let index = 0; index < count; index += 1) {
      const place = (((start + index + 0.5 - origin) / scale - low) / (high - low)) * cells;
      if (!smooth) {
        first[index] = Math.min(cells - 1, Math.max(0, Math.floor(place + 1e-9)));
        continue;
      }
      const base = Math.floor(place - 0.5);
      first[index] = Math.min(cells - 1, Math.max(0, base));
      second[index] = Math.min(cells - 1, Math.max(0, base + 1));
      weight[index] = place - 0.5 - base;
    }
    return { first, second, weight };
  }

  /** Halves a field until its cells are at least half a screen pixel wide, so that small viewers do not flicker. */
  function shrink(field, view) {
    let small = field;
    for (;;) {
      const [stepX, stepY] = cellSize(small);
      if (Math.min(stepX * view.sx, stepY * view.sy) >= 0.5 || small.width % 2 || small.height % 2) return small;
      small = small.half || (small.half = half(small));
    }
  }

  function half(field) {
    const width = field.width / 2;
    const height = field.height / 2;
    const data = new Float32Array(width * height);
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        const at = 2 * row * field.width + 2 * column;
        const below = at + field.width;
        data[row * width + column] = (field.data[at] + field.data[at + 1] + field.data[below] + field.data[below + 1]) / 4;
      }
    }
    return Object.assign({}, field, { data, width, height, half: null, sortedValues: null, sortedSizes: null });
  }

  /**
   * Brings a field to screen pixels.
   * Returns {x, y, width, height, values}: the screen rectangle it covers inside `clip` and one value per pixel there.
   */
  function resample(source, view, clip, smooth) {
    const field = smooth && source.channels === 1 ? shrink(source, view) : source;
    const [left, top, right, bottom] = field.frame;
    const box = [Math.max(left, clip[0]), Math.max(top, clip[1]), Math.min(right, clip[2]), Math.min(bottom, clip[3])];
    const [x0, y0, x1, y1] = pixelBox(box, view);
    const width = Math.max(0, x1 - x0);
    const height = Math.max(0, y1 - y0);
    const columns = axis(x0, width, view.sx, view.ox, left, right, field.width, smooth);
    const rows = axis(y0, height, view.sy, view.oy, top, bottom, field.height, smooth);
    const values = new Float32Array(width * height * field.channels);
    if (field.channels > 1) (smooth ? bilinearChannels : nearestChannels)(field, columns, rows, values);
    else if (!smooth) nearest(field, columns, rows, values);
    else if (field.holes) bilinearWithHoles(field, columns, rows, values);
    else bilinear(field, columns, rows, values);
    return { x: x0, y: y0, width, height, values };
  }

  function nearest(field, columns, rows, out) {
    const { data, width } = field;
    let at = 0;
    for (let y = 0; y < rows.first.length; y += 1) {
      const row = rows.first[y] * width;
      for (let x = 0; x < columns.first.length; x += 1) out[at++] = data[row + columns.first[x]];
    }
  }

  function nearestChannels(field, columns, rows, out) {
    const { data, width, channels } = field;
    let at = 0;
    for (let y = 0; y < rows.first.length; y += 1) {
      for (let x = 0; x < columns.first.length; x += 1) {
        const cell = (rows.first[y] * width + columns.first[x]) * channels;
        for (let channel = 0; channel < channels; channel += 1) out[at++] = data[cell + channel];
      }
    }
  }

  function bilinearChannels(field, columns, rows, out) {
    const { data, width, channels } = field;
    let at = 0;
    for (let y = 0; y < rows.first.length; y += 1) {
      const upper = rows.first[y] * width;
      const lower = rows.second[y] * width;
      for (let x = 0; x < columns.first.length; x += 1) {
        const [left, right, across] = [columns.first[x], columns.second[x], columns.weight[x]];
        for (let channel = 0; channel < channels; channel += 1) {
          const top = data[(upper + left) * channels + channel] * (1 - across) + data[(upper + right) * channels + channel] * across;
          const low = data[(lower + left) * channels + channel] * (1 - across) + data[(lower + right) * channels + channel] * across;
          out[at++] = top + (low - top) * rows.weight[y];
        }
      }
    }
  }

  function bilinear(field, columns, rows, out) {
    const { data, width } = field;
    const { first, second, weight } = columns;
    const line = new Float32Array(width);
    let at = 0;
    for (let y = 0; y < rows.first.length; y += 1) {
      const upper = rows.first[y] * width;
      const lower = rows.second[y] * width;
      const share = rows.weight[y];
      for (let x = 0; x < width; x += 1) line[x] = data[upper + x] + (data[lower + x] - data[upper + x]) * share;
      for (let x = 0; x < first.length; x += 1) {
        const value = line[first[x]];
        out[at++] = value + (line[second[x]] - value) * weight[x];
      }
    }
  }

  /** A pixel is empty where its own cell is; elsewhere missing neighbours are left out of the mean. */
  function bilinearWithHoles(field, columns, rows, out) {
    const { data, width } = field;
    let at = 0;
    for (let y = 0; y < rows.first.length; y += 1) {
      const upper = rows.first[y] * width;
      const lower = rows.second[y] * width;
      const down = rows.weight[y];
      for (let x = 0; x < columns.first.length; x += 1) {
        const [left, right, across] = [columns.first[x], columns.second[x], columns.weight[x]];
        const own = data[(down < 0.5 ? upper : lower) + (across < 0.5 ? left : right)];
        out[at++] = own - own === 0 ? meanOfPresent(data, upper, lower, left, right, across, down) : NaN;
      }
    }
  }

  function meanOfPresent(data, upper, lower, left, right, across, down) {
    const corners = [data[upper + left], data[upper + right], data[lower + left], data[lower + right]];
    const weights = [(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down];
    let sum = 0;
    let total = 0;
    for (let corner = 0; corner < 4; corner += 1) {
      if (corners[corner] - corners[corner] !== 0) continue;
      sum += weights[corner] * corners[corner];
      total += weights[corner];
    }
    return sum / total;
  }

  /** Interpolated values at the (columns + 1) x (rows + 1) corners of an even grid over the whole frame. */
  function corners(field, columns, rows) {
    const [left, top, right, bottom] = field.frame;
    const scaleX = columns / (right - left);
    const scaleY = rows / (bottom - top);
    const across = axis(0, columns + 1, scaleX, 0.5 - left * scaleX, left, right, field.width, true);
    const down = axis(0, rows + 1, scaleY, 0.5 - top * scaleY, top, bottom, field.height, true);
    const values = new Float32Array((columns + 1) * (rows + 1));
    (field.holes ? bilinearWithHoles : bilinear)(field, across, down, values);
    return values;
  }

  /** Returns A minus B on the grid of A; B is read under the cell centres of A. */
  function contrast(a, b) {
    const same = a.width === b.width && a.height === b.height && a.frame.every((value, index) => value === b.frame[index]);
    const [stepX, stepY] = cellSize(a);
    const view = { sx: 1 / stepX, sy: 1 / stepY, ox: -a.frame[0] / stepX, oy: -a.frame[1] / stepY, width: a.width, height: a.height };
    const data = new Float32Array(a.width * a.height).fill(NaN);
    if (same) {
      for (let index = 0; index < data.length; index += 1) data[index] = a.data[index] - b.data[index];
    } else {
      const other = resample(b, view, a.frame, true);
      for (let row = 0; row < other.height; row += 1) {
        for (let column = 0; column < other.width; column += 1) {
          const at = (row + other.y) * a.width + column + other.x;
          data[at] = a.data[at] - other.values[row * other.width + column];
        }
      }
    }
    return makeField({ shape: [a.height, a.width], data, kind: "f4" }, a.frame, a.picture);
  }

  /** Returns the field whose labels went through one row of a look-up table [K, n]; -1 stays. */
  function relabel(base, lut, row) {
    const [rows, columns] = lut.shape;
    const start = Math.min(rows - 1, Math.max(0, row)) * columns;
    const data = new Float32Array(base.data.length);
    for (let index = 0; index < data.length; index += 1) {
      const label = base.data[index];
      data[index] = label < 0 ? -1 : lut.data[start + label];
    }
    return makeField({ shape: [base.height, base.width], data, kind: "i2" }, base.frame, base.picture);
  }

  /** Returns one map of a stack [N, ...] that is here already. */
  function sliceOf(array, index) {
    const shape = array.shape.slice(1);
    const count = shape.reduce((product, side) => product * side, 1);
    return { shape, kind: array.kind, data: array.data.subarray(index * count, (index + 1) * count) };
  }

  /** Returns the field that has in each region of a label field its value (Map(label -> value)); others are empty. */
  function paintRegions(labels, values) {
    const data = Float32Array.from(labels.data, (label) => (values.has(label) ? values.get(label) : NaN));
    return makeField({ shape: [labels.height, labels.width], data, kind: "f4" }, labels.frame, labels.picture);
  }

  vitrine.field = { sliceOf, paintRegions, makeField, extent, cellSize, cellAt, valueAt, topLevel, pixelBox, coarser, resample, corners, contrast, relabel };
})();

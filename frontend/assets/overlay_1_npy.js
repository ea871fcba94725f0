// Reads NumPy .npy files in the browser and keeps them: a map is fetched once, whatever is done with its looks.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const BUDGET_BYTES = 192 * 1024 * 1024;

  const READERS = {
    f2: [2, (view, at, little) => halfToFloat(view.getUint16(at, little))],
    f4: [4, (view, at, little) => view.getFloat32(at, little)],
    f8: [8, (view, at, little) => view.getFloat64(at, little)],
    b1: [1, (view, at) => view.getUint8(at)],
    u1: [1, (view, at) => view.getUint8(at)],
    i1: [1, (view, at) => view.getInt8(at)],
    u2: [2, (view, at, little) => view.getUint16(at, little)],
    i2: [2, (view, at, little) => view.getInt16(at, little)],
    u4: [4, (view, at, little) => view.getUint32(at, little)],
    i4: [4, (view, at, little) => view.getInt32(at, little)],
    u8: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
    i8: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
  };

  function halfToFloat(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  function readHeader(buffer) {
    const bytes = new Uint8Array(buffer, 0, Math.min(12, buffer.byteLength));
    const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
    if (!magic.every((value, index) => bytes[index] === value)) throw new TypeError("Not an .npy file");
    const view = new DataView(buffer);
    const wide = bytes[6] >= 2;
    const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
    const start = wide ? 12 : 10;
    const text = new TextDecoder("latin1").decode(new Uint8Array(buffer, start, length));
    const descr = /'descr'\s*:\s*'([<>|=]?)([a-z]\d+)'/.exec(text);
    const shape = /'shape'\s*:\s*\(([^)]*)\)/.exec(text);
    if (!descr || !shape || !READERS[descr[2]]) throw new TypeError("Unknown kind of .npy array: " + text.trim());
    return {
      kind: descr[2],
      little: descr[1] !== ">",
      fortran: /'fortran_order'\s*:\s*True/.test(text),
      shape: shape[1].split(",").map((part) => part.trim()).filter(Boolean).map(Number),
      offset: start + length,
    };
  }

  function readNumbers(buffer, header, count) {
    const [size, read] = READERS[header.kind];
    if (buffer.byteLength < header.offset + count * size) throw new TypeError("The .npy file is cut short");
    if (header.kind === "f4" && header.little) return new Float32Array(buffer.slice(header.offset, header.offset + count * 4));
    if (header.kind === "u1" || header.kind === "b1") {
      return Float32Array.from(new Uint8Array(buffer, header.offset, count));
    }
    const numbers = size === 8 || header.kind.endsWith("4") ? new Float64Array(count) : new Float32Array(count);
    const view = new DataView(buffer, header.offset);
    for (let index = 0; index < count; index += 1) numbers[index] = read(view, index * size, header.little);
    return numbers;
  }

  function toRowMajor(numbers, shape) {
    const ordered = new numbers.constructor(numbers.length);
    const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, side) => product * side, 1));
    for (let index = 0; index < ordered.length; index += 1) {
      let rest = index;
      let from = 0;
      for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
        from += (rest % shape[axis]) * strides[axis];
        rest = Math.floor(rest / shape[axis]);
      }
      ordered[index] = numbers[from];
    }
    return ordered;
  }

  /** Returns {shape, data, kind} of an .npy file; numbers in C order, 64-bit integers as doubles. */
  function parse(buffer) {
    const header = readHeader(buffer);
    const count = header.shape.reduce((product, side) => product * side, 1);
    const numbers = readNumbers(buffer, header, count);
    const data = header.fortran && header.shape.length > 1 ? toRowMajor(numbers, header.shape) : numbers;
    return { shape: header.shape, data, kind: header.kind };
  }

  const kept = new Map();
  let keptBytes = 0;

  function makeRoom() {
    for (const [url, entry] of kept) {
      if (keptBytes <= BUDGET_BYTES || kept.size <= 1) return;
      kept.delete(url);
      keptBytes -= entry.bytes;
    }
  }

  async function download(url) {
    const response = await fetch(url, { credentials: "same-origin" });
    if (!response.ok) {
      const error = new Error("The map could not be fetched");
      error.status = response.status;
      throw error;
    }
    return parse(await response.arrayBuffer());
  }

  /** Returns a promise of the parsed array; the same address is fetched once while it is kept. */
  function load(url) {
    const known = kept.get(url);
    if (known) {
      kept.delete(url);
      kept.set(url, known);
      return known.promise;
    }
    const entry = { bytes: 0, promise: null };
    entry.promise = download(url).then(
      (array) => {
        if (kept.get(url) === entry) {
          entry.bytes = array.data.byteLength;
          keptBytes += entry.bytes;
          makeRoom();
        }
        return array;
      },
      (error) => {
        if (kept.get(url) === entry) kept.delete(url);
        throw error;
      },
    );
    kept.set(url, entry);
    return entry.promise;
  }

  vitrine.npy = { parse, load };
})();

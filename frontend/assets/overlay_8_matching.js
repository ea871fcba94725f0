// Which groups of two label maps are the same: one to one, so that the sum of their overlaps (intersection over union)
// is the largest possible. Arithmetic on fields only: no page, no colours of its own.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});

  /**
   * Chooses one column for each row of weights [rows][columns], none twice, with the largest total (Hungarian method by
   * shortest augmenting paths). Returns the column of each row; -1 where there are fewer columns than rows.
   */
  function assign(weights) {
    const rows = weights.length;
    const columns = rows ? weights[0].length : 0;
    if (rows > columns) {
      const turned = Array.from({ length: columns }, (_, column) => weights.map((row) => row[column]));
      const chosen = new Array(rows).fill(-1);
      assign(turned).forEach((row, column) => {
        chosen[row] = column;
      });
      return chosen;
    }
    const ofRow = new Float64Array(rows + 1);
    const ofColumn = new Float64Array(columns + 1);
    const rowAt = new Int32Array(columns + 1);
    for (let row = 1; row <= rows; row += 1) augment(weights, row, ofRow, ofColumn, rowAt);
    const chosen = new Array(rows).fill(-1);
    for (let column = 1; column <= columns; column += 1) if (rowAt[column]) chosen[rowAt[column] - 1] = column - 1;
    return chosen;
  }

  /** Takes one more row into the assignment; rows and columns are counted from 1, column 0 is where the path begins. */
  function augment(weights, row, ofRow, ofColumn, rowAt) {
    const columns = ofColumn.length - 1;
    const least = new Float64Array(columns + 1).fill(Infinity);
    const used = new Uint8Array(columns + 1);
    const cameFrom = new Int32Array(columns + 1);
    let at = 0;
    rowAt[0] = row;
    do {
      used[at] = 1;
      const from = rowAt[at];
      let step = Infinity;
      let next = 0;
      for (let column = 1; column <= columns; column += 1) {
        if (used[column]) continue;
        const cost = -weights[from - 1][column - 1] - ofRow[from] - ofColumn[column];
        if (cost < least[column]) {
          least[column] = cost;
          cameFrom[column] = at;
        }
        if (least[column] < step) {
          step = least[column];
          next = column;
        }
      }
      for (let column = 0; column <= columns; column += 1) {
        if (!used[column]) least[column] -= step;
        else {
          ofRow[rowAt[column]] += step;
          ofColumn[column] -= step;
        }
      }
      at = next;
    } while (rowAt[at] !== 0);
    while (at) {
      rowAt[at] = rowAt[cameFrom[at]];
      at = cameFrom[at];
    }
  }

  /** Pieces of a line that lie in one cell of both fields: [length, cell of one, cell of two]. */
  function pieces(one, two, side, low, high) {
    const steps = [one, two].map((field) => {
      const count = side ? field.height : field.width;
      const start = field.frame[side];
      return { count, start, step: (field.frame[side + 2] - start) / count };
    });
    const cuts = [low, high];
    for (const { count, start, step } of steps) {
      for (let cell = 1; cell < count; cell += 1) {
        const cut = start + cell * step;
        if (cut > low && cut < high) cuts.push(cut);
      }
    }
    cuts.sort((a, b) => a - b);
    const made = [];
    for (let index = 1; index < cuts.length; index += 1) {
      const length = cuts[index] - cuts[index - 1];
      if (!(length > 1e-9 * (high - low))) continue;
      const middle = (cuts[index] + cuts[index - 1]) / 2;
      const cells = steps.map(({ count, start, step }) => Math.min(count - 1, Math.max(0, Math.floor((middle - start) / step))));
      made.push([length, ...cells]);
    }
    return made;
  }

  /** The part of the picture that both maps cover and both models saw, or null. */
  function common(one, two) {
    const { width, height } = one.field.picture;
    const boxes = [[0, 0, width, height], one.field.frame, two.field.frame, one.seen, two.seen].filter(Boolean);
    const [left, top] = [0, 1].map((side) => Math.max(...boxes.map((box) => box[side])));
    const [right, bottom] = [2, 3].map((side) => Math.min(...boxes.map((box) => box[side])));
    return left < right && top < bottom ? [left, top, right, bottom] : null;
  }

  function labelsOf(parts) {
    const known = new Set();
    for (const { field } of parts) for (const label of field.data) if (label >= 0) known.add(label);
    return [...known].sort((a, b) => a - b);
  }

  /** Areas [one][two] in pixels of the pictures that groups of two lists of maps share; places left out count nowhere. */
  function overlaps(pairs, ones, twos) {
    const rowOf = new Map(ones.map((label, index) => [label, index]));
    const columnOf = new Map(twos.map((label, index) => [label, index]));
    const areas = ones.map(() => new Float64Array(twos.length));
    for (const [one, two] of pairs) {
      const box = common(one, two);
      if (!box) continue;
      const columns = pieces(one.field, two.field, 0, box[0], box[2]);
      for (const [tall, rowOne, rowTwo] of pieces(one.field, two.field, 1, box[1], box[3])) {
        for (const [wide, columnOne, columnTwo] of columns) {
          const first = one.field.data[rowOne * one.field.width + columnOne];
          const second = two.field.data[rowTwo * two.field.width + columnTwo];
          if (first >= 0 && second >= 0) areas[rowOf.get(first)][columnOf.get(second)] += tall * wide;
        }
      }
    }
    return areas;
  }

  function ratios(areas) {
    const sum = (row) => row.reduce((total, value) => total + value, 0);
    const ofOne = areas.map(sum);
    const ofTwo = areas.length ? Array.from(areas[0], (_, column) => sum(areas.map((row) => row[column]))) : [];
    return areas.map((row, one) => Array.from(row, (area, two) => (area > 0 ? area / (ofOne[one] + ofTwo[two] - area) : 0)));
  }

  function pairsOf(one, two) {
    const pairs = [];
    for (const first of one) {
      const second = two.find((part) => part.url === first.url);
      if (second) pairs.push([first, second]);
    }
    return pairs;
  }

  /**
   * Returns Map(group of `two` -> group of `one`) for maps given as [{url, field, seen}], one entry for each picture;
   * groups that never overlap have no partner.
   */
  function match(one, two) {
    const [ones, twos] = [labelsOf(one), labelsOf(two)];
    const areas = overlaps(pairsOf(one, two), ones, twos);
    const found = new Map();
    assign(ratios(areas)).forEach((column, row) => {
      if (column >= 0 && areas[row][column] > 0) found.set(twos[column], ones[row]);
    });
    return found;
  }

  /** Groups by the area that they cover, the largest first; equal ones by their number. */
  function byArea(parts) {
    const areas = new Map();
    for (const { field } of parts) {
      const [wide, tall] = vitrine.field.cellSize(field);
      for (const label of field.data) if (label >= 0) areas.set(label, (areas.get(label) || 0) + wide * tall);
    }
    return [...areas].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([label]) => label);
  }

  /** Returns Map(group of `two` -> colour): the partner's colour, and for the others the next colours `one` leaves free. */
  function colours(one, two, colourOf) {
    const partners = match(one, two);
    const taken = new Set(labelsOf(one).map(colourOf));
    const given = new Map();
    let free = 0;
    for (const label of byArea(two)) {
      if (partners.has(label)) given.set(label, colourOf(partners.get(label)));
      else {
        while (taken.has(free)) free += 1;
        taken.add(free);
        given.set(label, free);
      }
    }
    return given;
  }

  vitrine.matching = { assign, match, colours };
})();

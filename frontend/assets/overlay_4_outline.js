// Lines on a field, in pixels of the picture: contours of numbers, borders and middles of labelled regions.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const LEAST_GRID = 96;
  const MOST_GRID = 256;

  /** How far, in steps of the grid, a contour may run beside its true course: fewer corners, cheaper frames. */
  const SLACK = 0.2;

  // From which side of a square to which the contour runs, by the corners that are inside (bits: top left, top right,
  // bottom right, bottom left), always with the inside on its left. Sides: 0 top, 1 right, 2 bottom, 3 left.
  const JOINS = [
    [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
    [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
  ];

  function gridSize(cells) {
    return Math.min(MOST_GRID, Math.max(cells, cells * Math.ceil(LEAST_GRID / cells)));
  }

  function crossing(from, to, level) {
    const share = (level - from) / (to - from);
    return share >= 0 && share <= 1 ? share : 0.5;
  }

  /** Room for the steps of one contour: where each side of the grid is crossed, and which side comes next. */
  function makeSteps(sides) {
    return {
      next: new Int32Array(sides).fill(-1),
      entered: new Uint8Array(sides),
      x: new Float32Array(sides),
      y: new Float32Array(sides),
      starts: [],
    };
  }

  function takeSteps(values, columns, rows, level) {
    const stride = columns + 1;
    const upright = stride * (rows + 1);
    const steps = makeSteps(2 * upright);
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const at = row * stride + column;
        const a = values[at] >= level ? 1 : 0;
        const b = values[at + 1] >= level ? 2 : 0;
        const c = values[at + stride + 1] >= level ? 4 : 0;
        const d = values[at + stride] >= level ? 8 : 0;
        const bits = a | b | c | d;
        if (bits === 0 || bits === 15) continue;
        const corners = [at, at + 1, at + stride + 1, at + stride];
        const sides = [at, upright + at + 1, at + stride, upright + at];
        for (const [from, to] of JOINS[bits]) {
          for (const side of [from, to]) placeCrossing(steps, sides[side], side, row, column, corners, values, level);
          steps.next[sides[from]] = sides[to];
          steps.entered[sides[to]] = 1;
          steps.starts.push(sides[from]);
        }
      }
    }
    return steps;
  }

  const ENDS = [[0, 1], [1, 2], [3, 2], [0, 3]];

  function placeCrossing(steps, index, side, row, column, corners, values, level) {
    const [low, high] = ENDS[side];
    const share = crossing(values[corners[low]], values[corners[high]], level);
    steps.x[index] = column + (side === 1 ? 1 : side === 3 ? 0 : share);
    steps.y[index] = row + (side === 2 ? 1 : side === 0 ? 0 : share);
  }

  /** Walks from one crossing to the next until the line ends or closes; used steps are taken away. */
  function walk(steps, start) {
    const line = [[steps.x[start], steps.y[start]]];
    let at = start;
    while (steps.next[at] >= 0) {
      const next = steps.next[at];
      steps.next[at] = -1;
      at = next;
      line.push([steps.x[at], steps.y[at]]);
    }
    return line;
  }

  /** Leaves out points that lie within the slack of the course from the last one kept. */
  function simplify(line) {
    const kept = [line[0]];
    let [fromX, fromY] = line[0];
    let [aimX, aimY] = [0, 0];
    for (let index = 1; index < line.length; index += 1) {
      const [x, y] = line[index];
      const aside = Math.abs((x - fromX) * aimY - (y - fromY) * aimX);
      const aimed = aimX !== 0 || aimY !== 0;
      if (aimed && (aside > SLACK || (x - fromX) * aimX + (y - fromY) * aimY < 0)) {
        kept.push(line[index - 1]);
        [fromX, fromY] = line[index - 1];
      }
      if (!aimed || (fromX === line[index - 1][0] && fromY === line[index - 1][1])) {
        const long = Math.hypot(x - fromX, y - fromY) || 1;
        [aimX, aimY] = [(x - fromX) / long, (y - fromY) / long];
      }
    }
    kept.push(line[line.length - 1]);
    return kept;
  }

  /** Returns the path around everything at or above `level`; `size` looks at values without their sign. */
  function contour(field, level, size) {
    const [columns, rows] = [gridSize(field.width), gridSize(field.height)];
    const values = vitrine.field.corners(field, columns, rows);
    for (let index = 0; index < values.length; index += 1) {
      if (values[index] !== values[index]) values[index] = -1e30;
      else if (size) values[index] = Math.abs(values[index]);
    }
    const steps = takeSteps(values, columns, rows, level);
    const [stepX, stepY] = [(field.frame[2] - field.frame[0]) / columns, (field.frame[3] - field.frame[1]) / rows];
    const path = new Path2D();
    const open = steps.starts.filter((start) => !steps.entered[start]);
    for (const start of open.concat(steps.starts)) {
      if (steps.next[start] < 0) continue;
      simplify(walk(steps, start)).forEach(([x, y], index) => {
        if (index) path.lineTo(field.frame[0] + x * stepX, field.frame[1] + y * stepY);
        else path.moveTo(field.frame[0] + x * stepX, field.frame[1] + y * stepY);
      });
    }
    return path;
  }

  /** Adds straight runs along the cell edges where `differs(index, neighbour)` holds; a neighbour of -1 lies outside. */
  function edges(field, differs, withFrame) {
    const path = new Path2D();
    const { width, height, frame } = field;
    const [stepX, stepY] = vitrine.field.cellSize(field);
    const first = withFrame ? 0 : 1;
    const pointX = (column) => frame[0] + column * stepX;
    const pointY = (row) => frame[1] + row * stepY;
    for (let column = first; column <= width - first; column += 1) {
      let start = -1;
      for (let row = 0; row <= height; row += 1) {
        const left = column > 0 ? row * width + column - 1 : -1;
        const right = column < width ? row * width + column : -1;
        const on = row < height && differs(left, right);
        if (on && start < 0) start = row;
        if (on || start < 0) continue;
        path.moveTo(pointX(column), pointY(start));
        path.lineTo(pointX(column), pointY(row));
        start = -1;
      }
    }
    for (let row = first; row <= height - first; row += 1) {
      let start = -1;
      for (let column = 0; column <= width; column += 1) {
        const above = row > 0 ? (row - 1) * width + column : -1;
        const below = row < height ? row * width + column : -1;
        const on = column < width && differs(above, below);
        if (on && start < 0) start = column;
        if (on || start < 0) continue;
        path.moveTo(pointX(start), pointY(row));
        path.lineTo(pointX(column), pointY(row));
        start = -1;
      }
    }
    return path;
  }

  /** Returns the borders between regions of a label field. */
  function borders(field) {
    return edges(field, (one, two) => field.data[one] !== field.data[two], false);
  }

  /** Returns the outline of the cells for which `inside(value)` holds, closed along the frame. */
  function outline(field, inside) {
    const holds = (index) => index >= 0 && inside(field.data[index]);
    return edges(field, (one, two) => holds(one) !== holds(two), true);
  }

  function boxPath(box) {
    const path = new Path2D();
    path.rect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    return path;
  }

  /** Distance of each cell to the nearest cell of another label, in cells (city blocks), in two sweeps. */
  function depths(field) {
    const { width, height, data } = field;
    const depth = new Int32Array(width * height).fill(1 << 28);
    const relax = (at, neighbour) => {
      const bound = neighbour < 0 || data[neighbour] !== data[at] ? 1 : depth[neighbour] + 1;
      if (bound < depth[at]) depth[at] = bound;
    };
    for (let at = 0; at < depth.length; at += 1) {
      relax(at, at % width > 0 ? at - 1 : -1);
      relax(at, at >= width ? at - width : -1);
    }
    for (let at = depth.length - 1; at >= 0; at -= 1) {
      relax(at, at % width < width - 1 ? at + 1 : -1);
      relax(at, at < depth.length - width ? at + width : -1);
    }
    return depth;
  }

  /** Returns Map(label -> {x, y, cells}): the place deepest inside each region, where its number is written. */
  function middles(field) {
    if (field.middles) return field.middles;
    const depth = depths(field);
    const [stepX, stepY] = vitrine.field.cellSize(field);
    const found = new Map();
    for (let at = 0; at < depth.length; at += 1) {
      const label = field.data[at];
      if (!(label >= 0)) continue;
      const known = found.get(label) || { depth: 0, cells: 0 };
      known.cells += 1;
      if (depth[at] > known.depth) {
        known.depth = depth[at];
        known.x = field.frame[0] + ((at % field.width) + 0.5) * stepX;
        known.y = field.frame[1] + (Math.floor(at / field.width) + 0.5) * stepY;
      }
      found.set(label, known);
    }
    field.middles = new Map([...found].sort((one, two) => one[0] - two[0]));
    return field.middles;
  }

  vitrine.outline = { contour, borders, outline, boxPath, middles };
})();

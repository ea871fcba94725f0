// Small pieces that lie on a viewer: crosshair, handle of the swipe, notice of a map that did not arrive.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const SVG = "http://www.w3.org/2000/svg";
  const { element } = vitrine.legend;

  function drawing(className, size, paths) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
    svg.setAttribute("class", className);
    svg.setAttribute("aria-hidden", "true");
    for (const [name, d] of paths) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      path.setAttribute("d", d);
      svg.append(path);
    }
    return svg;
  }

  function makeCross() {
    const tick = "M11 1V8M11 14V21M1 11H8M14 11H21";
    return drawing("v-viewer-cross", 22, [["v-viewer-cross-under", tick], ["v-viewer-cross-over", tick]]);
  }

  function makeHandle() {
    const handle = element("div", "v-viewer-handle");
    handle.tabIndex = 0;
    handle.hidden = true;
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-label", "Divide picture and map");
    handle.setAttribute("aria-valuemin", "0");
    handle.setAttribute("aria-valuemax", "100");
    const grip = element("span", "v-viewer-grip");
    const arrows = ["M6.5 5L3 9L6.5 13", "M11.5 5L15 9L11.5 13"].map((d) => ["v-viewer-arrow", d]);
    grip.append(drawing("v-viewer-grip-arrows", 18, arrows));
    handle.append(grip);
    return handle;
  }

  /** The first child takes the sentence; the button calls `onAgain`. */
  function makeNotice(onAgain) {
    const notice = element("div", "v-viewer-notice");
    notice.hidden = true;
    notice.setAttribute("role", "alert");
    const again = element("button", "v-viewer-again", "Try again");
    again.type = "button";
    again.addEventListener("click", onAgain);
    notice.append(element("p", "v-viewer-notice-text"), again);
    return notice;
  }

  vitrine.parts = { makeCross, makeHandle, makeNotice };
})();

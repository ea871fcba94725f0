// Pictures on their way in: dropped anywhere on the page, pasted, or chosen. The bytes go straight to the API; the page
// only hears the record.  Events on the document:
//   vitrine:picture {PictureRecord}   vitrine:problem {Problem}   vitrine:upload-progress {loaded, total, share, name}
// A click on anything with data-upload-choose opens the chooser. data-upload-max-bytes on any element sets the limit.
(function () {
  "use strict";
  const vitrine = (window.vitrine = window.vitrine || {});
  const ADDRESS = "/api/v1/images";
  const MEGABYTE = 1000 * 1000;
  const MOST_BYTES = 20 * MEGABYTE;
  const ACCEPTED = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff,.jpg,.jpeg,.png,.webp,.gif,.bmp,.tif,.tiff";
  const READ_ONLY = /^\/s\//;
  const HELP = "Use JPEG, PNG, WebP, GIF, BMP or TIFF.";

  /** First bytes of what the server reads. */
  const SIGNS = [
    (bytes) => bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff,
    (bytes) => bytes[0] === 0x89 && text(bytes, 1, 4) === "PNG",
    (bytes) => text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 12) === "WEBP",
    (bytes) => /^GIF8[79]a/.test(text(bytes, 0, 6)),
    (bytes) => text(bytes, 0, 2) === "BM",
    (bytes) => ["II*\0", "MM\0*", "II+\0", "MM\0+"].includes(text(bytes, 0, 4)),
  ];
  const FOREIGN = [
    ["an AVIF picture", (bytes) => text(bytes, 4, 11) === "ftypavi"],
    ["a HEIC picture", (bytes) => text(bytes, 4, 8) === "ftyp"],
    ["a PDF document", (bytes) => text(bytes, 0, 4) === "%PDF"],
    ["a ZIP archive", (bytes) => text(bytes, 0, 4) === "PK\x03\x04"],
    ["an SVG drawing", (bytes) => /^\s*<(\?xml|svg|!--)/.test(text(bytes, 0, 32))],
  ];

  let underway = null;
  let depth = 0;

  function text(bytes, from, to) {
    return String.fromCharCode(...bytes.slice(from, to));
  }

  function tell(name, detail) {
    document.dispatchEvent(new CustomEvent(name, { detail }));
  }

  function problem(code, title, message, retry) {
    return { code, title, message, retry };
  }

  function mostBytes() {
    const holder = document.querySelector("[data-upload-max-bytes]");
    return (holder && Number(holder.getAttribute("data-upload-max-bytes"))) || MOST_BYTES;
  }

  /** Returns the size in words, rounded up so that what is too large never reads like the limit itself. */
  function megabytes(bytes, digits) {
    const unit = 10 ** digits;
    return `${Math.ceil((bytes / MEGABYTE) * unit) / unit} MB`;
  }

  /** Returns a Problem when the file cannot be taken, else null. Looks at the first bytes, not at the name. */
  async function check(file) {
    const name = file.name ? `“${file.name}”` : "This picture";
    if (file.size === 0) return problem("picture_unreadable", "Not a readable picture", `${name} is empty. Choose another file.`, false);
    if (file.size > mostBytes()) {
      const message = `${name} has ${megabytes(file.size, 1)}; ${megabytes(mostBytes(), 0)} is the most. Make it smaller and drop it again.`;
      return problem("picture_too_large", "File too large", message, false);
    }
    const bytes = new Uint8Array(await file.slice(0, 32).arrayBuffer());
    if (SIGNS.some((fits) => fits(bytes))) return null;
    const foreign = FOREIGN.find(([, fits]) => fits(bytes));
    const what = foreign ? `${name} is ${foreign[0]}.` : `${name} is not a picture.`;
    return problem("picture_format", "Unknown picture format", `${what} ${HELP}`, false);
  }

  function readAnswer(request) {
    try {
      return JSON.parse(request.responseText);
    } catch {
      return null;
    }
  }

  function unanswered() {
    const message = "The server did not answer. Check that Vitrine is still running, then try the picture again.";
    return problem("internal", "Picture did not arrive", message, true);
  }

  function send(file) {
    return new Promise((resolve, reject) => {
      const form = new FormData();
      form.append("file", file, file.name || "pasted.png");
      const request = new XMLHttpRequest();
      underway = request;
      request.open("POST", ADDRESS);
      request.upload.addEventListener("progress", (event) => {
        const share = event.lengthComputable && event.total ? event.loaded / event.total : null;
        tell("vitrine:upload-progress", { loaded: event.loaded, total: event.total, share, name: file.name || "" });
      });
      request.addEventListener("load", () => {
        const answer = readAnswer(request);
        if (request.status >= 200 && request.status < 300 && answer) resolve(answer);
        else reject(answer && answer.message ? answer : unanswered());
      });
      request.addEventListener("error", () => reject(unanswered()));
      request.addEventListener("abort", () => reject(null));
      request.send(form);
    });
  }

  /** Uploads a file or blob; with `further` the page is not told of it. Resolves to the PictureRecord; rejects with a Problem, or null when a newer upload took over. */
  async function upload(file, { further = false } = {}) {
    try {
      const refusal = await check(file);
      if (refusal) throw refusal;
      if (underway) underway.abort();
      const record = await send(file);
      if (!further) tell("vitrine:picture", record);
      return record;
    } catch (reason) {
      if (reason === null) throw null;
      const known = reason && reason.code && reason.message ? reason : unanswered();
      if (!further) tell("vitrine:problem", known);
      throw known;
    }
  }

  function take(file) {
    upload(file).catch(() => undefined);
  }

  function isOpen() {
    return !READ_ONLY.test(window.location.pathname);
  }

  function pictureAmong(files) {
    return files.find((file) => file.type.startsWith("image/")) || files[0] || null;
  }

  function holdsFiles(event) {
    return event.dataTransfer && [...event.dataTransfer.types].some((type) => type === "Files" || type === "text/uri-list");
  }

  function setDropping(on) {
    document.body.classList.toggle("v-dropping", on);
  }

  function onDrop(event) {
    if (!isOpen() || !holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    setDropping(false);
    const files = [...event.dataTransfer.files];
    const file = pictureAmong(files);
    const isFurther = event.target instanceof Element && event.target.closest("[data-further]");
    if (file && isFurther) vitrine.further.addFiles(files);
    else if (file) take(file);
    else {
      const message = "That was a link to a picture, not the picture itself. Save it first, or copy the picture and paste it here.";
      tell("vitrine:problem", problem("picture_unreadable", "Not a readable picture", message, false));
    }
  }

  function onPaste(event) {
    if (!isOpen() || !event.clipboardData) return;
    const file = pictureAmong([...event.clipboardData.files]);
    if (!file) return;
    event.preventDefault();
    take(file);
  }

  /** Opens the browser's file chooser. */
  function choosePicture() {
    choose(false, ([file]) => take(file));
  }

  /** The same for several pictures, which `use` gets as a list of files. */
  function choosePictures(use) {
    choose(true, use);
  }

  function choose(multiple, use) {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = ACCEPTED;
    input.multiple = multiple;
    input.addEventListener("change", () => {
      if (input.files.length) use([...input.files]);
    });
    input.click();
  }

  document.addEventListener("dragenter", (event) => {
    if (!isOpen() || !holdsFiles(event)) return;
    depth += 1;
    setDropping(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!isOpen() || !holdsFiles(event)) return;
    depth = Math.max(0, depth - 1);
    if (!depth) setDropping(false);
  });
  document.addEventListener("dragover", (event) => {
    if (isOpen() && holdsFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", onDrop);
  document.addEventListener("paste", onPaste);
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest("[data-upload-choose]")) choosePicture();
  });

  vitrine.upload = upload;
  vitrine.choosePicture = choosePicture;
  vitrine.choosePictures = choosePictures;
})();

// The list of clusters. Only the rows in view are in the document: a card is a heading and rows of cells.

const list = document.getElementById("list");
const BEYOND = 700; // px above and below the view that are drawn as well
const GAP = 20; // px between cards
let order = []; // clusters that are shown
let rows = []; // {cluster, group, files: those of the row, none in a heading, last, top, height}
const drawn = new Map(); // row -> element
const marked = new Set(); // "cluster,file"
let current = null; // {cluster, file}: where the keys act

// An element; text is only ever text.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    const isBare = value === true && !name.startsWith("aria-");
    if (value !== null && (value !== false || name.startsWith("aria-"))) element.setAttribute(name, isBare ? "" : value);
  }
  element.append(...children);
  return element;
}

function drawing(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const nameOf = (file) => shown(file.path.slice(file.path.lastIndexOf("/") + 1));
const folderOf = (file) => file.path.slice(0, Math.max(file.path.lastIndexOf("/"), 0));
const thumbnailOf = (file) => (file.blake2b ? `${found.thumbnails}${file.blake2b}.jpg` : "data:,");
const imageOf = (file) => (file.archive ? "" : found.images) + file.url;

// Text with all that would not be seen, or would turn what follows, written as its code.
function shown(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
}

function bytes(count) {
  const power = count < 1000 ? 0 : Math.min(Math.floor(Math.log10(count) / 3), 4);
  const value = count / 1000 ** power;
  return `${power && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// Where every row lies, for the width and the letters of now.
function layOut() {
  const width = list.clientWidth;
  const columns = Math.max(2, Math.min(8, Math.floor(width / (14.5 * rootSize()))));
  list.style.setProperty("--columns", columns);
  list.style.setProperty("--photo", `${Math.round((width / columns - 24) * 0.8)}px`);
  const [heading, cells] = measure();
  rows = [];
  let top = 0;
  const add = (row, height) => {
    rows.push({...row, top, height});
    top += height;
  };
  for (const cluster of order) {
    decisionOf(cluster).groups.forEach((files, group) => {
      add({cluster, group, files: []}, heading);
      for (let from = 0; from < files.length; from += columns) {
        const last = from + columns >= files.length;
        add({cluster, group, files: files.slice(from, from + columns), last}, cells + (last ? GAP : 0));
      }
    });
  }
  list.style.height = `${top}px`;
  for (const element of drawn.values()) element.remove();
  drawn.clear();
  draw();
}

const rootSize = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

// Heights of a heading and of a row of cells, which do not depend on what stands in them.
function measure() {
  if (!order.length) return [0, 0];
  const probe = [headingRow({cluster: order[0], group: 0}), cellsRow({cluster: order[0], group: 0, files: [0]})];
  list.append(...probe);
  const heights = probe.map((element) => element.offsetHeight);
  probe.forEach((element) => element.remove());
  return heights;
}

// Draw what is in view and take out what no longer is.
function draw() {
  const start = -list.getBoundingClientRect().top - BEYOND;
  const end = start + innerHeight + 2 * BEYOND;
  const visible = [];
  for (let at = firstBelow(start); at < rows.length && rows[at].top < end; at += 1) visible.push(rows[at]);
  for (const [row, element] of drawn) {
    if (!visible.includes(row)) {
      element.remove();
      drawn.delete(row);
    }
  }
  for (const row of visible) {
    if (drawn.has(row)) continue;
    const element = row.files.length ? cellsRow(row) : headingRow(row);
    element.style.transform = `translateY(${row.top}px)`;
    const after = visible.slice(visible.indexOf(row) + 1).map((next) => drawn.get(next)).find(Boolean);
    list.insertBefore(element, after ?? null); // in reading order
    drawn.set(row, element);
  }
}

// The first row that ends below a height, by bisection.
function firstBelow(height) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height > height) high = middle;
    else low = middle + 1;
  }
  return low;
}

function headingRow({cluster, group}) {
  const {groups, stays, decided} = decisionOf(cluster);
  const others = groups[group].slice(1);
  const going = others.filter((file) => ["goes", "check"].includes(verdict(cluster, file, groups[group], stays).fate));
  const freed = going.reduce((sum, file) => sum + found.clusters[cluster].files[file].bytes, 0);
  const told = others.length ? count(others.length + 1, "file") : "a file of its own, it stays";
  const part = groups.length > 1 ? `, part ${group + 1}` : "";
  return make("div", {class: "row heading"},
    make("h2", {}, `Cluster ${cluster + 1}${part}`),
    make("p", {}, told, going.length ? ` · ${going.length} can go, ${bytes(freed)}` : others.length ? " · all stay" : ""),
    make("button", {type: "button", "data-act": "decided", "data-cluster": cluster, "aria-pressed": decided,
      class: "decided", title: "Decided as shown (y)"}, decided ? "✓ Decided" : "Decide"));
}

function cellsRow({cluster, group, files, last}) {
  const {groups, stays} = decisionOf(cluster);
  const [keeper] = groups[group];
  return make("ul", {class: `row cells${last ? " last" : ""}`, "aria-label": `Files of cluster ${cluster + 1}`},
    ...files.map((file) => cell(cluster, file, keeper, verdict(cluster, file, groups[group], stays), groups[group])));
}

function cell(cluster, place, keeper, seen, group) {
  const file = found.clusters[cluster].files[place];
  const isKeeper = place === keeper;
  const name = nameOf(file);
  const key = `${cluster},${place}`;
  const isCurrent = current?.cluster === cluster && current.file === place;
  const image = make("img", {src: thumbnailOf(file), alt: `${name}, ${file.width} × ${file.height} pixels`,
    loading: "lazy", decoding: "async", draggable: false});
  image.addEventListener("error", () => image.closest(".photo").classList.add("broken"));
  const photo = make("button", {type: "button", class: "photo", "data-act": "keep", "aria-pressed": isKeeper,
    "aria-label": isKeeper ? `${name} is kept` : `Keep ${name} instead`}, image);
  if (isKeeper) photo.append(frames(cluster, keeper, group));
  const kind = isKeeper ? [] : [seen.kind && (KINDS[seen.kind] ?? seen.kind), seen.coverage < 0.995 && seen.kind
    && `${Math.round(seen.coverage * 100)} % shown`, seen.kind && `distance ${seen.distance.toFixed(3)}`];
  return make("li", {class: `cell ${seen.fate}${isCurrent ? " current" : ""}`, "data-key": key},
    photo,
    isKeeper ? "" : make("input", {type: "checkbox", class: "mark", "data-act": "mark", "aria-label": `Mark ${name}`,
      title: "Mark (m)", ...(marked.has(key) ? {checked: true} : {})}),
    make("p", {class: "name", title: shown(file.path)}, make("bdi", {}, ...parted(name))),
    make("p", {class: "facts place"}, make("bdi", {}, shown(folderOf(file))), make("span", {}, file.date)),
    make("p", {class: "facts"}, `${file.width} × ${file.height} · ${bytes(file.bytes)}${versionOf(cluster, file)}`),
    make("p", {class: "facts"}, kind.filter(Boolean).join(" · ") || " "),
    make("p", {class: "verdict", title: seen.reason}, make("b", {}, FATES[seen.fate]), ` ${seen.reason}`),
    make("div", {class: "acts"}, ...(group.length > 1 ? ACTS : []).filter(([act]) => !isKeeper || act === "compare")
      .map(([act, label, hint]) => make("button", {type: "button", "data-act": act, "aria-label": `${label}: ${name}`,
        title: `${label} (${hint})`, "aria-pressed": act === "stay" ? seen.reason === "you keep it too" : null}, icon(act)))));
}

// The version that a file is of, where there are several.
function versionOf(cluster, {version}) {
  return version && found.clusters[cluster].files.some((file) => file.version > 1) ? ` · version ${version}` : "";
}

// A long name in two parts, so that its end stays in view.
function parted(name) {
  const chars = [...name];
  const parts = chars.length > 24 ? [chars.slice(0, -12), chars.slice(-12)] : [chars];
  return parts.map((part) => make("span", {}, part.join("")));
}

const KINDS = {identical: "identical", same_pixels: "same pixels", resaved: "resaved", edited: "edited", crop: "crop",
  contains: "contains", similar: "similar", near: "near", indirect: "indirect"};
const FATES = {keeper: "kept", goes: "goes", check: "goes", stays: "stays"};
const ACTS = [["compare", "Compare", "b"], ["stay", "Keep this too", "x"], ["split", "Split off", "s"],
  ["different", "Not a duplicate", "n"]];

const icon = (name) => drawing("svg", {class: "icon", "aria-hidden": "true"}, drawing("use", {href: `#icon-${name}`}));

// The crops of a picture, drawn as frames on it.
function frames(cluster, keeper, group) {
  const {width, height} = found.clusters[cluster].files[keeper];
  const outlines = group.filter((file) => file !== keeper).map((file) => [file, pairOf(cluster, file, keeper)])
    .filter(([, pair]) => pair?.kind === "crop" && pair.transform && pair.coverage > 0.9)
    .map(([file, {transform}]) => drawing("polygon", {"data-file": file,
      points: outline(transform).map(([x, y]) => `${x * width},${y * height}`).join(" ")}));
  return drawing("svg", {class: "frames", viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"}, ...outlines);
}

// Corners of a unit square under a homography.
function outline(transform) {
  return [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => {
    const [u, v, w] = [0, 3, 6].map((at) => transform[at] * x + transform[at + 1] * y + transform[at + 2]);
    return [u / w, v / w];
  });
}

const cellOf = ({cluster, file}) => list.querySelector(`[data-key="${cluster},${file}"]`);

// Make a file the one that the keys act on, and bring it into view.
function setCurrent(next, focus = true) {
  if (current) cellOf(current)?.classList.remove("current");
  current = next;
  const row = rows.find((each) => each.cluster === next.cluster && each.files.includes(next.file));
  if (!row) return;
  const top = row.top + list.getBoundingClientRect().top;
  const bar = document.getElementById("tools").offsetHeight + 60;
  if (focus && (top < bar || top + row.height > innerHeight)) scrollBy(0, top - bar);
  draw();
  const element = cellOf(next);
  element?.classList.add("current");
  if (focus) element?.querySelector(".photo").focus({preventScroll: true});
  highlight(next.cluster, next.file);
}

// Draw the frame of one crop more strongly than the others.
function highlight(cluster, file) {
  for (const frame of list.querySelectorAll(".frames polygon")) {
    const home = frame.closest(".cell").dataset.key.split(",")[0];
    frame.classList.toggle("chosen", home === String(cluster) && frame.dataset.file === String(file));
  }
}

// The files in the order of the list, to step through with the keys.
function step(by, cards) {
  const cells = rows.flatMap(({cluster, group, files}) => files.map((file) => ({cluster, group, file})));
  const at = cells.findIndex((each) => each.cluster === current?.cluster && each.file === current.file);
  if (at < 0) return cells.length && setCurrent(cells[Math.max(cells.findIndex(isInView), 0)]);
  const isFirst = (to) => !to || cells[to].cluster !== cells[to - 1].cluster || cells[to].group !== cells[to - 1].group;
  let to = at + by;
  while (cards && cells[to] && !isFirst(to)) to += by;
  if (cells[to]) setCurrent(cells[to]);
}

function isInView({cluster, file}) {
  const box = cellOf({cluster, file})?.getBoundingClientRect();
  return box && box.top > 0 && box.bottom < innerHeight;
}

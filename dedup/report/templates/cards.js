// The list of clusters. Only the rows in view are in the document: a card is a heading and, for each version of the
// picture, a title and rows of cells. Versions of a single file share a row.

const list = document.getElementById("list");
const BEYOND = 700; // px above and below the view that are drawn as well
const GAP = 20; // px between cards
let order = []; // clusters that are shown
let rows = []; // {cluster, group, kind: heading, titles or cells, files: of the row, or the best of its versions, last, top, height}
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

// Where every row lies, for the width and the letters of now.
function layOut() {
  const width = list.clientWidth;
  const columns = Math.max(2, Math.min(8, Math.floor(width / (14.5 * rootSize()))));
  document.body.style.setProperty("--columns", columns);
  document.body.style.setProperty("--photo", `${Math.round((width / columns - 24) * 0.8)}px`);
  const heights = measure();
  rows = [];
  let top = 0;
  const add = (row) => {
    rows.push({...row, top, height: heights[row.kind]});
    top += heights[row.kind];
  };
  for (const cluster of order) {
    decisionOf(cluster).groups.forEach((all, group) => {
      add({cluster, group, kind: "heading", files: []});
      const versions = versionsOf(cluster, all);
      const [single, larger] = [versions.filter(({length}) => length === 1).flat(), versions.filter(({length}) => length > 1)];
      for (const files of single.includes(all[0]) ? [single, ...larger] : [...larger, single]) {
        for (let from = 0; from < files.length; from += columns) {
          const some = files.slice(from, from + columns);
          if (versions.length > 1 && (!from || files === single)) {
            add({cluster, group, kind: "titles", files: files === single ? some : files.slice(0, 1)});
          }
          add({cluster, group, kind: "cells", files: some});
        }
      }
      rows.at(-1).last = true;
      rows.at(-1).height += GAP;
      top += GAP;
    });
  }
  list.style.height = `${top}px`;
  for (const element of drawn.values()) element.remove();
  drawn.clear();
  draw();
}

const rootSize = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

// Heights of the kinds of rows, which do not depend on what stands in them.
function measure() {
  if (!order.length) return {};
  return Object.fromEntries(Object.entries(ROWS).map(([kind, drawRow]) => {
    const probe = drawRow({cluster: order[0], group: 0, files: decisionOf(order[0]).groups[0].slice(0, 1)});
    list.append(probe);
    const height = probe.offsetHeight;
    probe.remove();
    return [kind, height];
  }));
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
    const element = ROWS[row.kind](row);
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
  const {groups, decided} = decisionOf(cluster);
  const versions = versionsOf(cluster, groups[group]).length;
  const told = groups[group].length > 1
    ? count(groups[group].length, "file") + (versions > 1 ? ` in ${versions} versions` : "")
    : "a file of its own, it stays";
  return make("div", {class: "row heading"},
    make("h2", {}, `Cluster ${cluster + 1}${groups.length > 1 ? `, part ${group + 1}` : ""}`),
    make("p", {}, told),
    group ? "" : levelChoice(cluster),
    make("button", {type: "button", "data-act": "decided", "data-cluster": cluster, "aria-pressed": decided,
      class: "decided", title: "Decided as shown (y)"}, decided ? "✓ Decided" : "Decide"));
}

// How far removal goes in a cluster, where that makes a difference; what would go.
function levelChoice(cluster) {
  const sums = LEVELS.map((_, at) => sumOf(cluster, at));
  if (sums.every(({files}) => files === sums[0].files)) return make("p", {class: "freed"}, freed(sums[levelOf(cluster)]));
  return make("select", {class: "level", "data-cluster": cluster, "aria-label": `How far removal goes in cluster ${cluster + 1}`,
    title: `${freed(sums[levelOf(cluster)])} (v)`},
  ...LEVELS.map((name, at) => make("option", {value: at, selected: at === levelOf(cluster)}, `${name}: ${freed(sums[at], false)}`)));
}

function titlesRow({cluster, group, files}) {
  const home = decisionOf(cluster).groups[group];
  return make("div", {class: `row titles${files.length > 1 ? " cells" : ""}`},
    ...files.map((best) => make("h3", {}, versionTitle(cluster, home, best))));
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
    make("p", {class: "facts place"}, make("bdi", {}, shown(folderOf(file))),
      make("span", {title: file.date}, file.date)),
    make("p", {class: "facts"}, `${file.width} × ${file.height} · ${bytes(file.bytes)}`),
    make("p", {class: "facts"}, kind.filter(Boolean).join(" · ") || " "),
    make("p", {class: "verdict", title: seen.reason}, make("b", {}, FATES[seen.fate]), ` ${seen.reason}`),
    make("div", {class: "acts"}, ...(group.length > 1 ? ACTS : []).filter(([act]) => !isKeeper || act === "compare")
      .map(([act, label, hint]) => make("button", {type: "button", "data-act": act, "aria-label": `${label}: ${name}`,
        title: `${label} (${hint})`, "aria-pressed": act === "stay" ? seen.reason === "you keep it too" : null}, icon(act)))));
}

// A long name in two parts, so that its end stays in view.
function parted(name) {
  const chars = [...name];
  const parts = chars.length > 24 ? [chars.slice(0, -12), chars.slice(-12)] : [chars];
  return parts.map((part) => make("span", {}, part.join("")));
}

const ROWS = {heading: headingRow, titles: titlesRow, cells: cellsRow};
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
  const row = rows.find(({cluster, kind, files}) => cluster === next.cluster && kind === "cells" && files.includes(next.file));
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
  const cells = rows.filter(({kind}) => kind === "cells")
    .flatMap(({cluster, group, files}) => files.map((file) => ({cluster, group, file})));
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

// The page as a whole: what stands at the top, filters, keys, clicks, saving.

const by = (id) => document.getElementById(id);
const tools = by("tools");
const all = found.clusters.map((_, cluster) => cluster);
const texts = found.clusters.map(({files}) => files.map(({path}) => path.toLowerCase()).join("\n"));
const kindsOf = found.clusters.map(({files}, cluster) =>
  new Set(files.slice(1).flatMap((_, at) => tagsOf(cluster, at + 1))));

function writeTop() {
  for (const [at, label] of [...by("levels").querySelectorAll("label")].entries()) {
    label.firstElementChild.checked = at === level;
    label.querySelector("b").textContent = freed(total(all, at), false);
  }
}

function writeOnce() {
  const hidden = found.clusters_found - found.clusters.length;
  if (hidden) tell(`${count(hidden, "cluster")} that free least are only in clusters.csv`);
  by("failures").hidden = !found.unreadable;
  by("failures").firstElementChild.textContent = `${count(found.unreadable, "file")} could not be read`;
  const more = found.unreadable - found.failures.length;
  by("failures").lastElementChild.append(
    ...found.failures.map(([path, reason]) => make("li", {}, make("bdi", {}, shown(path)), `: ${shown(reason)}`)),
    ...(more ? [make("li", {}, `and ${more.toLocaleString("en")} more, in unreadable.csv`)] : []));
  const facts = [[found.read, "files read"], [found.clusters_found, "clusters"], [found.unreadable, "unreadable"]];
  by("facts").append(...facts.map(([value, name]) => make("div", {}, make("dt", {}, name),
    make("dd", {}, value.toLocaleString("en")))));
  by("levels").append(...LEVELS.map((name, at) => make("label", {},
    make("input", {type: "radio", name: "level", value: at}),
    make("span", {}, name, make("b"), make("small", {}, TOLD[name])))));
  by("settings").lastElementChild.append(...Object.entries(found.settings).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, shown(String(value ?? "the encoder's own"))))));
  const present = Object.keys(KINDS).filter((kind) => kindsOf.some((kinds) => kinds.has(kind)));
  by("kinds").append(...present.map((kind) =>
    make("label", {}, make("input", {type: "checkbox", value: kind}), make("span", {}, KINDS[kind]))));
  const folders = new Set(found.clusters.flatMap(({files}) => files.map(folderOf)));
  by("folders").append(...[...folders].sort().slice(0, 500).map((folder) => make("option", {value: folder})));
  by("keys").append(...KEYS.map(({told, does}) => make("div", {}, make("dt", {}, ...told.split(" ").map((key) =>
    make("kbd", {}, key))), make("dd", {}, does))));
}

// Filters and order; the clusters stay where they are until one of these is changed.
function choose() {
  const words = by("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kinds = [...by("kinds").querySelectorAll(":checked")].map(({value}) => value);
  const folder = by("folder").value.replace(/\/+$/, "");
  const [size, which] = [Number(by("size").value), by("which").value];
  const isIn = (path) => !folder || path.startsWith(`${folder}/`);
  order = all.filter((cluster) => {
    const {files} = found.clusters[cluster];
    return words.every((word) => texts[cluster].includes(word))
      && (!kinds.length || kinds.some((kind) => kindsOf[cluster].has(kind)))
      && files.some((file) => file.bytes >= size && isIn(file.path))
      && (which === "all" || decisionOf(cluster).decided === (which === "decided"));
  });
  const first = (cluster) => found.clusters[cluster].files[0].path;
  const orders = {
    freed: (a, b) => a - b, // as they come
    files: (a, b) => found.clusters[b].files.length - found.clusters[a].files.length || a - b,
    name: (a, b) => first(a).localeCompare(first(b)) || a - b,
  };
  order.sort(orders[by("order").value]);
  by("nothing").hidden = order.length > 0;
  refresh();
}

// Draw anew after a change, and leave the focus where it was.
function refresh() {
  const focused = list.contains(document.activeElement) && document.activeElement;
  const act = focused && focused.dataset.act;
  layOut();
  writeTop();
  const decided = all.filter((cluster) => decisionOf(cluster).decided);
  const narrowed = order.length < all.length ? `${order.length.toLocaleString("en")} shown · ` : "";
  by("progress").textContent = `${narrowed}${decided.length.toLocaleString("en")} of ${count(all.length, "cluster")} decided · ${freed(total(all))}`;
  const left = order.filter((cluster) => !decisionOf(cluster).decided);
  by("keep-best").disabled = !left.length;
  by("keep-best").title = `Decide ${count(left.length, "cluster")} as shown: ${freed(total(left))}`;
  if (focused && current) {
    const again = cellOf(current);
    (again?.querySelector(`[data-act="${act}"]`) ?? again?.querySelector(".photo"))?.focus({preventScroll: true});
  }
}

// Decide upon all that is shown, but for what was decided already.
function keepBest() {
  const left = order.filter((cluster) => !decisionOf(cluster).decided);
  decideAll(left);
  refresh();
  tell(`${count(left.length, "cluster")} decided: ${freed(total(left))}. Undo with u.`);
}

function tell(text) {
  by("note").textContent = text;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { by("note").textContent = ""; }, 5000);
}

// What a decision is about: the marked files of this file's group, or the file itself.
function chosen({cluster, file}) {
  const [keeper, ...others] = decisionOf(cluster).groups.find((group) => group.includes(file));
  const several = others.filter((each) => marked.has(`${cluster},${each}`));
  for (const each of several) marked.delete(`${cluster},${each}`);
  return {keeper, files: several.length ? several : [file].filter((each) => each !== keeper)};
}

function act(name, at) {
  if (!at) return tell("Choose a picture first, with the arrow keys or a click.");
  if (name === "compare") return openCompare(at);
  if (name === "difference") return openCompare(at, "difference");
  if (name === "decided") return decideAndGoOn(at.cluster);
  const {cluster, file} = at;
  const keeper = decisionOf(cluster).groups.find((group) => group.includes(file))[0];
  if (name === "keep") {
    if (file === keeper) return setCurrent(at);
    makeKeeper(cluster, file);
  } else if (name === "mark") {
    const key = `${cluster},${file}`;
    if (file === keeper) return tell("The kept file can't be marked.");
    if (!marked.delete(key)) marked.add(key);
  } else {
    const {files} = chosen(at);
    if (!files.length) return tell("This file is kept: choose another.");
    if (name === "different") return decideDifferent(cluster, files, keeper);
    (name === "stay" ? toggleStays : splitOff)(cluster, files);
  }
  current = at;
  refresh();
}

function decideDifferent(cluster, files, keeper) {
  const {files: list} = found.clusters[cluster];
  if (files.some((file) => !list[file].blake2b || list[file].blake2b === list[keeper].blake2b)) {
    return tell("Their bytes are the same: they can only be kept both.");
  }
  setDifferent(cluster, files, keeper);
  refresh();
  if (dialog.open) showAgain({cluster, file: files[0], keeper});
  tell("Remembered, once it is applied: they are not put together again.");
}

function decideAndGoOn(cluster) {
  toggleDecided(cluster);
  refresh();
  if (decisionOf(cluster).decided && current?.cluster === cluster) {
    const next = order[order.indexOf(cluster) + 1];
    if (next !== undefined) setCurrent({cluster: next, file: decisionOf(next).groups[0][0]});
  }
}

function nextLevel(cluster, to = (levelOf(cluster) + 1) % LEVELS.length) {
  setLevel(cluster, to);
  refresh();
  tell(`Cluster ${cluster + 1} at the level ${LEVELS[to]}: ${freed(sumOf(cluster, to))}.`);
}

function undo() {
  const cluster = undoLast();
  if (cluster === undefined) return tell("Nothing to undo.");
  refresh();
  if (order.includes(cluster)) setCurrent({cluster, file: decisionOf(cluster).groups[0][0]});
}

// What goes at each level.
const TOLD = {exact: "same bytes or pixels", copies: "also in another format, quality or size",
  edits: "also crops, turned, toned and marked pictures"};

// Every key; each is listed under `?`.
const KEYS = [
  {keys: ["ArrowRight", "l"], told: "→", does: "next picture", run: () => step(1)},
  {keys: ["ArrowLeft", "h"], told: "←", does: "picture before", run: () => step(-1)},
  {keys: ["ArrowDown", "j"], told: "↓", does: "next cluster", run: () => step(1, true)},
  {keys: ["ArrowUp", "k"], told: "↑", does: "cluster before", run: () => step(-1, true)},
  {keys: [], told: "Enter", does: "keep this picture instead"},
  {keys: ["b"], told: "b", does: "compare: the kept picture and this one in turn", run: () => act("compare", current)},
  {keys: ["d"], told: "d", does: "compare: their difference", run: () => act("difference", current)},
  {keys: ["z"], told: "z", does: "while comparing: full size or whole"},
  {keys: ["m"], told: "m", does: "mark, for the three below", run: () => act("mark", current)},
  {keys: ["x"], told: "x", does: "keep this one too, or no longer", run: () => act("stay", current)},
  {keys: ["s"], told: "s", does: "split off into a cluster of its own", run: () => act("split", current)},
  {keys: ["n"], told: "n", does: "not a duplicate: remembered", run: () => act("different", current)},
  {keys: ["y"], told: "y", does: "decided as shown, go on", run: () => act("decided", current)},
  {keys: ["v"], told: "v", does: "this cluster at the next level: exact, copies, edits", run: () => current && nextLevel(current.cluster)},
  {keys: ["u"], told: "u", does: "undo the last decision", run: undo},
  {keys: ["/"], told: "/", does: "search", run: () => by("search").focus()},
  {keys: ["w"], told: "w", does: "save decisions", run: () => openSave()},
  {keys: ["?"], told: "?", does: "these keys", run: () => by("help").showModal()},
];
const COMPARING_KEYS = {ArrowRight: "next", ArrowLeft: "previous", l: "next", h: "previous", z: "full", d: "difference",
  k: "keep", x: "stay", n: "different"};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox], [type=radio]), select")) return;
  if (event.target.matches("[type=radio]") && event.key.startsWith("Arrow")) return; // the browser goes to the next level
  if (!by("series").hidden) return;
  if (dialog.open) return onComparingKey(event);
  if (document.querySelector("dialog[open]")) return;
  const entry = KEYS.find(({keys}) => keys.includes(event.key));
  if (!entry?.run) return;
  event.preventDefault();
  entry.run();
}

function onComparingKey(event) {
  const name = COMPARING_KEYS[event.key];
  if (name) COMPARING[name]();
  else if (event.key === "b" || (event.key === " " && !event.target.matches("button"))) blink();
  else return;
  event.preventDefault();
}

function onClick({target}) {
  const button = target.closest("[data-act]");
  if (!button) return;
  const key = button.closest("[data-key]")?.dataset.key.split(",").map(Number);
  if (key) {
    current = {cluster: key[0], file: key[1]};
    act(button.dataset.act, current);
  } else {
    decideAndGoOn(Number(button.dataset.cluster));
  }
}

function openSave() {
  const decided = all.filter((cluster) => decisionOf(cluster).decided);
  const [first, second] = document.querySelectorAll("#save label span");
  first.textContent = `all ${count(all.length, "cluster")} as shown: ${freed(total(all))}`;
  second.textContent = `only the ${count(decided.length, "cluster")} you decided: ${freed(total(decided))}`;
  const pairs = all.reduce((sum, cluster) => sum + decisionOf(cluster).different.length, 0);
  by("save-summary").textContent = pairs ? `${count(pairs, "pair")} will be remembered as not duplicates.` : "";
  document.querySelector(`#save [value=${decided.length ? "decided" : "all"}]`).checked = true;
  by("save-command").textContent = found.command;
  by("save").showModal();
}

function save() {
  if (by("save").returnValue !== "save") return;
  const isAll = document.querySelector("#save [value=all]").checked;
  const content = decisionsFile(isAll ? all : all.filter((cluster) => decisionOf(cluster).decided));
  const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], {type: "application/json"}));
  make("a", {href: address, download: "decisions.json"}).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
  tell(`Saved: ${count(content.remove.length, "file")} to go, ${count(content.different.length, "pair")} not duplicates.`);
}

recall();
writeOnce();
writeTabs();
tools.addEventListener("input", choose);
tools.addEventListener("submit", (event) => event.preventDefault());
by("show-all").addEventListener("click", () => { tools.reset(); choose(); });
if (!found.clusters.length) by("nothing").textContent = "No duplicates found.";
by("help-button").addEventListener("click", () => by("help").showModal());
by("save-button").addEventListener("click", openSave);
by("save").addEventListener("close", save);
by("compare-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => { if (current) setCurrent(current); });
dialog.addEventListener("click", ({target}) => {
  if (target.dataset.mode) show(target.dataset.mode);
  if (target.dataset.do) COMPARING[target.dataset.do]();
});
stage.addEventListener("click", blink);
list.addEventListener("click", onClick);
list.addEventListener("change", ({target}) => {
  if (target.matches(".level")) nextLevel(Number(target.dataset.cluster), Number(target.value));
});
by("levels").addEventListener("change", ({target}) => {
  setLevelOfAll(Number(target.value));
  refresh();
});
by("keep-best").addEventListener("click", keepBest);
list.addEventListener("pointerover", ({target}) => {
  const key = target.closest?.("[data-key]")?.dataset.key.split(",").map(Number);
  if (key) highlight(key[0], key[1]);
});
list.addEventListener("focusin", ({target}) => {
  const key = target.closest("[data-key]")?.dataset.key.split(",").map(Number);
  if (key && (key[0] !== current?.cluster || key[1] !== current?.file)) setCurrent({cluster: key[0], file: key[1]}, false);
});
document.addEventListener("keydown", onKey);
document.addEventListener("scroll", () => requestAnimationFrame(draw), {passive: true});
addEventListener("pagehide", keep);
let width = 0;
new ResizeObserver(() => {
  if (!list.clientWidth || list.clientWidth === width) return draw();
  width = list.clientWidth;
  refresh();
  if (dialog.open) lay();
}).observe(document.body);
openView("clusters");

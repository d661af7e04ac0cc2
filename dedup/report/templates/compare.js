// Blink: the kept file and another in turn, laid on each other by their match, or their difference.

const dialog = document.getElementById("compare");
const stage = document.getElementById("stage");
let compared = null; // {cluster, file, keeper, group, mode, full}

function openCompare({cluster, file}, mode = "member") {
  const group = decisionOf(cluster).groups.find((each) => each.includes(file));
  const other = file === group[0] ? group[1] : file;
  if (other === undefined) return tell("This file stands alone.");
  compared = {cluster, file: other, keeper: keeperOf(cluster, other, group), group, mode, full: compared?.full ?? false};
  if (!dialog.open) dialog.showModal();
  stage.focus();
  setCurrent({cluster, file: other}, false);
  lay();
}

function lay() {
  const {cluster, file, keeper, group} = compared;
  const {files} = found.clusters[cluster];
  const seen = verdict(cluster, file, group, decisionOf(cluster).stays);
  const base = files[keeper];
  const transform = seen.transform ?? WHOLE;
  const corners = outline(transform).map(([x, y]) => [x * base.width, y * base.height]);
  const box = frameOf([[0, 0], [base.width, base.height], ...corners], base);
  const scale = scaleOf(box);
  const sheet = make("div", {class: "sheet"});
  sheet.style.width = `${box.width * scale}px`;
  sheet.style.height = `${box.height * scale}px`;
  const images = [layer("keeper", base, WHOLE, base, scale), layer("member", files[file], transform, base, scale)];
  const kept = make("div", {class: "layers"}, ...images, cropFrame(base, corners, scale));
  kept.style.transform = `translate(${-box.left * scale}px, ${-box.top * scale}px)`;
  kept.style.setProperty("--overlap", `polygon(${corners.map(([x, y]) => `${x * scale}px ${y * scale}px`).join(",")})`);
  sheet.append(kept);
  stage.replaceChildren(sheet);
  show(compared.mode);
}

// The frame that holds both pictures, in px of the kept one; a wild transform does not blow it up.
function frameOf(points, {width, height}) {
  const within = (value, size) => Math.max(-1.5 * size, Math.min(2.5 * size, value));
  const [xs, ys] = [points.map(([x]) => within(x, width)), points.map(([, y]) => within(y, height))];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return {left, top, width: Math.max(...xs) - left, height: Math.max(...ys) - top};
}

function scaleOf(box) {
  if (compared.full) return 1 / devicePixelRatio;
  return Math.min(4, (stage.clientWidth - 2) / box.width, (stage.clientHeight - 2) / box.height);
}

// A picture at its own size, moved to where the kept one shows the same.
function layer(role, file, transform, base, scale) {
  const image = make("img", {class: role, src: imageOf(file), alt: `${nameOf(file)}, ${file.width} × ${file.height} pixels`,
    draggable: false});
  image.addEventListener("error", () => usePreview(image, file), {once: true});
  const [width, height] = [base.width * scale, base.height * scale];
  image.style.width = `${width}px`;
  image.style.height = `${height}px`;
  const [a, b, c, d, e, f, g, h, i] = transform; // in units of the two pictures; here both have the kept one's size
  const matrix = [a, d * height / width, 0, g / width, b * width / height, e, 0, h / height, 0, 0, 1, 0,
    c * width, f * height, 0, i];
  image.style.transform = `matrix3d(${matrix.map((value) => value.toFixed(9)).join(",")})`;
  return image;
}

function usePreview(image, file) {
  if (!file.blake2b) return;
  image.src = thumbnailOf(file);
  image.classList.add("preview");
  caption();
}

function cropFrame(base, corners, scale) {
  const points = corners.map(([x, y]) => `${x * scale},${y * scale}`).join(" ");
  const [width, height] = [base.width * scale, base.height * scale];
  const frame = drawing("svg", {class: "frames", width, height, "aria-hidden": "true"});
  if (Math.abs(area(corners)) < 0.95 * base.width * base.height) frame.append(drawing("polygon", {points}));
  return frame;
}

const area = (corners) => corners.reduce((sum, [x, y], at) => {
  const [u, v] = corners[(at + 1) % corners.length];
  return sum + (x * v - u * y) / 2;
}, 0);

function caption() {
  const {files} = found.clusters[compared.cluster];
  const seen = verdict(compared.cluster, compared.file, compared.group, decisionOf(compared.cluster).stays);
  const [member, keeper] = [files[compared.file], files[compared.keeper]];
  document.getElementById("compare-title").textContent = nameOf(member);
  const facts = [`${member.width} × ${member.height}, ${bytes(member.bytes)}`,
    `kept: ${nameOf(keeper)}, ${keeper.width} × ${keeper.height}, ${bytes(keeper.bytes)}`];
  if (stage.querySelector(".preview")) facts.push("a preview, since the browser can't show the file");
  if (compared.mode === "difference") facts.push("black is the same, the rest is shown three times as strong");
  if (!seen.transform) facts.push("not laid on each other: how they match is not known");
  document.getElementById("compare-facts").textContent = facts.join(" · ");
  const text = [KINDS[seen.kind], seen.reason].filter(Boolean).join(": ");
  document.getElementById("compare-verdict").replaceChildren(make("b", {class: seen.fate}, FATES[seen.fate]), ` ${text}`);
  for (const act of ["keep", "stay", "different"]) dialog.querySelector(`[data-do=${act}]`).disabled = seen.fate === "keeper";
}

function show(mode) {
  compared.mode = mode;
  caption();
  stage.className = `show-${mode}`;
  for (const button of dialog.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-pressed", button.dataset.mode === mode);
  }
  dialog.querySelector("[data-do=full]").setAttribute("aria-pressed", compared.full);
}

const blink = () => show(compared.mode === "member" ? "keeper" : "member");

function stepCompared(by) {
  const {groups} = decisionOf(compared.cluster);
  const others = groups.find((group) => group.includes(compared.file)).slice(1);
  const at = others.indexOf(compared.file) + by;
  openCompare({cluster: compared.cluster, file: others[(at + others.length) % others.length]}, compared.mode);
}

// Carry on after a decision: with the same file, or the next of its cluster, or not at all.
function showAgain({cluster, file, keeper}) {
  const group = decisionOf(cluster).groups.find((each) => each.includes(keeper));
  const other = group.includes(file) && group[0] !== file ? file : group[1];
  if (other === undefined) dialog.close();
  else openCompare({cluster, file: other}, compared.mode);
}

const COMPARING = {
  previous: () => stepCompared(-1),
  next: () => stepCompared(1),
  full: () => { compared.full = !compared.full; lay(); },
  difference: () => show(compared.mode === "difference" ? "member" : "difference"),
  keep: () => decide(makeKeeper, compared.file),
  stay: () => decide(toggleStays, [compared.file]),
  different: () => decideDifferent(compared.cluster, [compared.file], compared.keeper),
};

function decide(action, files) {
  action(compared.cluster, files);
  refresh();
  showAgain(compared);
}

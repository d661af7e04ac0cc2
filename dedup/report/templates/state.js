// What was found, and what was decided about it. Nothing in this part touches the page.
//
// A decision on a cluster: {groups: [[keeper, member, ...], ...], stays: [file], different: [[file, file]], decided}.
// Files are places in the cluster's list. A file goes by its own match with the best of its version or with its group's
// keeper, never through a third.

const found = JSON.parse(document.getElementById("data").textContent);
const STORE = `decisions ${found.id}`;
const WHOLE = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const decisions = new Map(); // by cluster; only those that were touched
const past = []; // [cluster, its decision before], to undo

function decisionOf(cluster) {
  return decisions.get(cluster)
    ?? {groups: [found.clusters[cluster].files.map((_, place) => place)], stays: [], different: [], decided: false};
}

function change(cluster, edit) {
  const next = structuredClone(decisionOf(cluster));
  next.decided = true;
  edit(next);
  next.groups = next.groups.filter((group) => group.length);
  past.push([cluster, decisions.get(cluster)]);
  setDecision(cluster, next);
}

function setDecision(cluster, decision) {
  if (decision) decisions.set(cluster, decision);
  else decisions.delete(cluster);
  sums.delete(cluster);
  remember();
}

function undoLast() {
  const last = past.pop();
  if (last) setDecision(...last);
  return last?.[0];
}

const makeKeeper = (cluster, file) => change(cluster, ({groups, stays}) => {
  const group = groups.find((each) => each.includes(file));
  group.splice(group.indexOf(file), 1);
  group.unshift(file);
  if (stays.includes(file)) stays.splice(stays.indexOf(file), 1);
});

const toggleStays = (cluster, files) => change(cluster, (decision) => {
  const all = files.every((file) => decision.stays.includes(file));
  decision.stays = decision.stays.filter((file) => !files.includes(file)).concat(all ? [] : files);
});

const splitOff = (cluster, files) => change(cluster, ({groups}) => moveOut(groups, files));

const setDifferent = (cluster, files, keeper) => change(cluster, ({groups, different}) => {
  for (const file of files) {
    different.push([keeper, file]);
    moveOut(groups, [file]);
  }
});

const toggleDecided = (cluster) => {
  const before = decisionOf(cluster).decided;
  change(cluster, (decision) => { decision.decided = !before; });
};

function moveOut(groups, files) {
  const home = groups.find((group) => group.includes(files[0]));
  const leaving = home.filter((file) => files.includes(file));
  home.splice(0, home.length, ...home.filter((file) => !files.includes(file)));
  groups.splice(groups.indexOf(home) + 1, 0, leaving);
}

// What is known of file i beside file j: kind, distance, coverage (share of i that j shows), why i can't go for j
// ("" = it may, null = checked when applied), transform (from i to j). Null where the two were not compared.
const known = new Map(); // by cluster, its pairs by "i,j"
function pairOf(cluster, i, j) {
  const {files, pairs} = found.clusters[cluster];
  if (!known.has(cluster)) known.set(cluster, new Map(pairs.map((pair) => [`${pair[0]},${pair[1]}`, pair])));
  const [ahead, back] = [known.get(cluster).get(`${i},${j}`), known.get(cluster).get(`${j},${i}`)];
  if (ahead) return {kind: ahead[2], distance: ahead[3], coverage: ahead[4], why: ahead[6], transform: ahead[8]};
  if (back && back[5] !== null) {
    const transform = back[8] && inverse(back[8]);
    return {kind: back[2], distance: back[3], coverage: back[5], why: back[7], transform};
  }
  if (files[i].blake2b && files[i].blake2b === files[j].blake2b) {
    return {kind: "identical", distance: 0, coverage: 1, why: "", transform: WHOLE};
  }
  return null;
}

// The file that another one goes for: that of its version, as long as the keeper is the one that was proposed.
function keeperOf(cluster, file, [first, ...others]) {
  const {keeper} = found.clusters[cluster].files[file];
  return first === 0 && others.includes(keeper) ? keeper : first;
}

// What becomes of a file of a group: {fate: keeper, goes, check or stays; kind, distance, coverage, reason, transform}.
function verdict(cluster, file, group, stays) {
  const {files, why = ""} = found.clusters[cluster];
  const keeper = file === group[0] ? file : keeperOf(cluster, file, group);
  if (file === keeper) return {fate: "keeper", kind: "keeper", reason: file === 0 ? why : "as you chose"};
  const pair = pairOf(cluster, file, keeper) ?? {kind: "", why: null};
  const say = (fate, reason) => ({...pair, fate, reason});
  if (stays.includes(file)) return say("stays", "you keep it too");
  if (files[file].archive) return say("stays", "lies in the archive");
  if (found.against && !files[keeper].archive) return say("stays", "not in the archive");
  if (!files[file].blake2b || !files[keeper].blake2b) return say("stays", "could not be read again");
  if (pair.why === null) return say("check", "if the kept file shows all of it: that is checked when applied");
  return pair.why ? say("stays", pair.why) : say("goes", whyItGoes(pair.kind, files[file], files[keeper]));
}

function whyItGoes(kind, file, keeper) {
  if (kind === "identical") return "same bytes as the kept file";
  if (kind === "same_pixels") return "same pixels as the kept file";
  const ratio = keeper.width * keeper.height / (file.width * file.height);
  const more = ratio >= 1.1 && kind === "resaved" ? `, in ${ratio.toFixed(1)} × the pixels` : "";
  return kind === "near" ? "near the kept file, not confirmed" : `the kept file shows all of it${more}`;
}

// Every file of a cluster that would go, with its keeper.
function removals(cluster) {
  const {groups, stays} = decisionOf(cluster);
  return groups.flatMap((group) => group.slice(1)
    .map((file) => ({keeper: keeperOf(cluster, file, group), file, fate: verdict(cluster, file, group, stays).fate}))
    .filter(({fate}) => fate === "goes" || fate === "check"));
}

const sums = new Map(); // by cluster: how many files would go, how many of them are to be checked, bytes
function sumOf(cluster) {
  if (!sums.has(cluster)) {
    const going = removals(cluster);
    const bytes = going.reduce((sum, {file}) => sum + found.clusters[cluster].files[file].bytes, 0);
    sums.set(cluster, {files: going.length, checks: going.filter(({fate}) => fate === "check").length, bytes});
  }
  return sums.get(cluster);
}

function total(clusters) {
  const sum = {files: 0, checks: 0, bytes: 0};
  for (const cluster of clusters) for (const name in sum) sum[name] += sumOf(cluster)[name];
  return sum;
}

// The content of decisions.json.
function decisionsFile(clusters) {
  const file = (cluster, place) => found.clusters[cluster].files[place];
  const content = (each) => ({size: each.bytes, blake2b: each.blake2b});
  const named = (each) => ({path: each.path, ...each.archive, ...content(each)});
  const remove = clusters.flatMap((cluster) => removals(cluster).map(({keeper, file: place}) => (
    {keep: named(file(cluster, keeper)), drop: named(file(cluster, place))})));
  const different = clusters.flatMap((cluster) => decisionOf(cluster).different
    .map((pair) => pair.map((place) => content(file(cluster, place)))));
  return {decisions: 1, remove, different};
}

function inverse([a, b, c, d, e, f, g, h, i]) {
  const adjugate = [e * i - f * h, c * h - b * i, b * f - c * e, f * g - d * i, a * i - c * g, c * d - a * f,
    d * h - e * g, b * g - a * h, a * e - b * d];
  return adjugate.map((value) => value / adjugate[8]);
}

// Decisions outlive a reload where the browser lets them.
let waiting = 0;
function remember() {
  clearTimeout(waiting);
  waiting = setTimeout(keep, 300);
}

function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...decisions]));
  } catch { /* without a store they last as long as the page */ }
}

function recall() {
  try {
    for (const [cluster, decision] of JSON.parse(localStorage.getItem(STORE) ?? "[]")) {
      if (fits(cluster, decision)) decisions.set(cluster, decision);
    }
  } catch { /* nothing to go by */ }
}

function fits(cluster, {groups, stays, different, decided}) {
  const count = found.clusters[cluster].files.length;
  const files = groups.flat().sort((a, b) => a - b);
  return files.length === count && files.every((file, place) => file === place) && typeof decided === "boolean"
    && [...stays, ...different.flat()].every((file) => Number.isInteger(file) && file >= 0 && file < count);
}

// What was found, and what was decided about it. Nothing in this part touches the page.
//
// A decision on a cluster: {groups: [[keeper, member, ...], ...], stays: [file], different: [[file, file]], decided, level}.
// Files are places in the cluster's list. A file goes by its own match with the best of its version or with its group's
// keeper, never through a third. `level` is how far removal goes, a place in LEVELS; without it, as far as for all.

const found = JSON.parse(document.getElementById("data").textContent);
const STORE = `decisions ${found.id}`;
const WHOLE = [1, 0, 0, 0, 1, 0, 0, 0, 1];
const decisions = new Map(); // by cluster; only those that were touched
const past = []; // [[cluster, its decision before], ...], to undo
const LEVELS = found.levels.map(([name]) => name);
let level = LEVELS.indexOf(found.settings.remove); // of all clusters that have none of their own

const levelOf = (cluster, otherwise = level) => decisions.get(cluster)?.level ?? otherwise;

function decisionOf(cluster) {
  return decisions.get(cluster)
    ?? {groups: [found.clusters[cluster].files.map((_, place) => place)], stays: [], different: [], decided: false};
}

// Decide upon clusters; what was decided is at the level of then, whatever becomes of the others.
function change(clusters, edit) {
  past.push([clusters].flat().map((cluster) => [cluster, decisions.get(cluster)]));
  for (const [cluster] of past.at(-1)) {
    const next = structuredClone(decisionOf(cluster));
    Object.assign(next, {decided: true, level: levelOf(cluster)});
    edit(next);
    next.groups = next.groups.filter((group) => group.length);
    setDecision(cluster, next);
  }
}

function setDecision(cluster, decision) {
  if (decision) decisions.set(cluster, decision);
  else decisions.delete(cluster);
  sums.delete(cluster);
  remember();
}

function undoLast() {
  const last = past.pop() ?? [];
  for (const [cluster, decision] of last) setDecision(cluster, decision);
  return last[0]?.[0];
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

const setLevel = (cluster, to) => change(cluster, (decision) => { decision.level = to; });

function setLevelOfAll(to) {
  level = to;
  remember();
}

const decideAll = (clusters) => change(clusters, () => {});

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

// The files of a group by version, that of its keeper first; of each the best file first.
function versionsOf(cluster, group) {
  const parts = new Map();
  for (const file of group) {
    const {version} = found.clusters[cluster].files[file];
    if (!parts.has(version)) parts.set(version, []);
    parts.get(version).push(file);
  }
  return [...parts.values()];
}

// The file that another one goes for: that of its level, as long as the keeper is the one that was proposed.
function keeperOf(cluster, file, group, at = levelOf(cluster)) {
  const keeper = found.clusters[cluster].files[file].keepers?.[at];
  return keeper && group[0] === 0 && group.includes(keeper) ? keeper : group[0];
}

// What becomes of a file of a group: {fate: keeper, goes, check or stays; kind, distance, coverage, reason, transform}.
function verdict(cluster, file, group, stays, at = levelOf(cluster)) {
  const {files, why = ""} = found.clusters[cluster];
  const keeper = file === group[0] ? file : keeperOf(cluster, file, group, at);
  if (file === keeper) return {fate: "keeper", kind: "keeper", reason: file === 0 ? why : "as you chose"};
  const pair = pairOf(cluster, file, keeper) ?? {kind: "", why: null};
  const say = (fate, reason) => ({...pair, fate, reason});
  if (stays.includes(file)) return say("stays", "you keep it too");
  if (files[file].archive) return say("stays", "lies in the archive");
  if (found.against && !files[keeper].archive) return say("stays", "not in the archive");
  if (!files[file].blake2b || !files[keeper].blake2b) return say("stays", "could not be read again");
  if (pair.why) return say("stays", pair.why);
  const least = pair.kind ? found.levels.findIndex(([, kinds]) => kinds.includes(pair.kind)) : at;
  if (least > at) return say("stays", `${least > 1 ? "another version" : "saved again"}: goes at the level ${LEVELS[least]}`);
  if (pair.why === null) return say("check", "if the kept file shows all of it: that is checked when applied");
  return say("goes", whyItGoes(pair.kind, files[file], files[keeper]));
}

function whyItGoes(kind, file, keeper) {
  if (kind === "identical") return "same bytes as the kept file";
  if (kind === "same_pixels") return "same pixels as the kept file";
  const ratio = keeper.width * keeper.height / (file.width * file.height);
  const more = ratio >= 1.1 && kind === "resaved" ? `, in ${ratio.toFixed(1)} × the pixels` : "";
  return kind === "near" ? "near the kept file, not confirmed" : `the kept file shows all of it${more}`;
}

// Every file of a cluster that would go at a level, with its keeper.
function removals(cluster, at = levelOf(cluster)) {
  const {groups, stays} = decisionOf(cluster);
  return groups.flatMap((group) => group.slice(1)
    .map((file) => ({keeper: keeperOf(cluster, file, group, at), file, fate: verdict(cluster, file, group, stays, at).fate}))
    .filter(({fate}) => fate === "goes" || fate === "check"));
}

const sums = new Map(); // by cluster and level: how many files would go, how many of them are to be checked, bytes
function sumOf(cluster, at) {
  if (!sums.has(cluster)) sums.set(cluster, []);
  sums.get(cluster)[at] ??= sum(removals(cluster, at).map(({file, fate}) => (
    {files: 1, checks: Number(fate === "check"), bytes: found.clusters[cluster].files[file].bytes})));
  return sums.get(cluster)[at];
}

function sum(parts) {
  const all = {files: 0, checks: 0, bytes: 0};
  for (const part of parts) for (const name in all) all[name] += part[name];
  return all;
}

// What would go of clusters, each at its own level, or at this one where it has none.
const total = (clusters, at = level) => sum(clusters.map((cluster) => sumOf(cluster, levelOf(cluster, at))));

// The content of decisions.json.
function decisionsFile(clusters) {
  const file = (cluster, place) => found.clusters[cluster].files[place];
  const content = (each) => ({size: each.bytes, blake2b: each.blake2b});
  const named = (each) => ({path: each.path, ...each.archive, ...content(each)});
  const remove = clusters.flatMap((cluster) => removals(cluster).map(({keeper, file: place}) => (
    {keep: named(file(cluster, keeper)), drop: named(file(cluster, place)), level: LEVELS[levelOf(cluster)]})));
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
    localStorage.setItem(STORE, JSON.stringify([level, ...decisions]));
  } catch { /* without a store they last as long as the page */ }
}

function recall() {
  try {
    const [to, ...some] = JSON.parse(localStorage.getItem(STORE));
    if (to in LEVELS) level = to;
    for (const [cluster, decision] of some) if (fits(cluster, decision)) decisions.set(cluster, decision);
  } catch { /* nothing to go by */ }
}

function fits(cluster, {groups, stays, different, decided, level: own}) {
  const count = found.clusters[cluster].files.length;
  const files = groups.flat().sort((a, b) => a - b);
  return files.length === count && files.every((file, place) => file === place) && typeof decided === "boolean" && own in LEVELS
    && [...stays, ...different.flat()].every((file) => Number.isInteger(file) && file >= 0 && file < count);
}

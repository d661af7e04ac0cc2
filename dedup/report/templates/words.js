// What the page says of files, of versions, of what would go. Nothing in this part touches the page.

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

// What would go, in words.
function freed({files, bytes: size, checks}, isLong = true) {
  if (!files) return isLong ? "all stay" : "none goes";
  if (!isLong) return `${checks ? "up to " : ""}${files.toLocaleString("en")} go${files === 1 ? "es" : ""}, ${bytes(size)}`;
  const checked = checks ? `, ${checks === files ? "" : `${checks.toLocaleString("en")} of them `}if a check allows it` : "";
  return `${count(files, "file")} can go, ${bytes(size)}${checked}`;
}

const CHANGES = {turned: "turned", mirrored: "mirrored", grey: "grey", marked: "marked"};
const KINDS = {identical: "identical", same_pixels: "same pixels", resaved: "resaved", ...CHANGES, edited: "edited",
  crop: "crop", contains: "contains", similar: "similar", near: "near", indirect: "indirect"};
const FATES = {keeper: "kept", goes: "goes", check: "goes", stays: "stays"};
const VERSIONS = {crop: (share) => `Crop, ${share} % of it`, contains: () => "Beside other things"};

// What the version is whose best file this is, beside the kept picture.
function versionTitle(cluster, [keeper], best) {
  if (best === keeper) return "Kept picture";
  const tags = tagsOf(cluster, best);
  const isEdited = tags[0] === "edited" || tags[0] in CHANGES;
  if (keeper !== 0 || best === 0 || !(isEdited || tags[0] in VERSIONS)) return "Another version";
  const [ofKept, ofBest] = [[0, best], [best, 0]].map((pair) => pairOf(cluster, ...pair)?.coverage ?? 0);
  const words = tags.filter((tag) => tag in CHANGES);
  const other = tags[0] === "crop" && ofBest < found.covered ? "Shows more than the kept picture"
    : VERSIONS[tags[0]]?.(Math.round(100 * ofKept));
  const title = isEdited ? "Edited" : other;
  return title + (words.length ? `: ${words.join(", ")}` : "");
}

// What a file is beside the one that it was found to be a version of: the words that are filtered by.
function tagsOf(cluster, place) {
  const {keepers = [], changes = []} = found.clusters[cluster].files[place];
  const {kind} = pairOf(cluster, place, keepers[0] ?? 0) ?? {kind: ""};
  return kind === "edited" && changes.length ? changes : [kind, ...changes];
}

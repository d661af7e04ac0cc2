// Series of shots: shown beside the clusters, to look at. Nothing of them goes, whatever was decided.

const views = {clusters: ["levels", "tools", "list", "nothing"], series: ["series"]};

function openView(name) {
  for (const [view, parts] of Object.entries(views)) for (const part of parts) by(part).hidden = view !== name;
  for (const button of by("tabs").children) button.setAttribute("aria-pressed", button.value === name);
  if (name === "clusters") choose();
  else if (!by("series").childElementCount) by("series").append(...found.series.map(seriesCard));
}

function seriesCard(shots, number) {
  return make("article", {}, make("h2", {}, `Series ${number + 1}`), make("p", {class: "quiet"}, count(shots.length, "shot")),
    make("ul", {class: "cells"}, ...shots.map(shotCell)));
}

function shotCell(file) {
  const image = make("img", {src: thumbnailOf(file), alt: "", loading: "lazy", decoding: "async"});
  image.addEventListener("error", () => image.parentElement.classList.add("broken"));
  const told = file.suggested ? "sharpest and best exposed, a suggestion" : "";
  return make("li", {class: `cell${file.suggested ? " keeper" : ""}`},
    make("a", {class: "photo", href: imageOf(file), "aria-label": `Open ${nameOf(file)}`}, image),
    make("p", {class: "name", title: shown(file.path)}, make("bdi", {}, ...parted(nameOf(file)))),
    make("p", {class: "facts place"}, make("bdi", {}, shown(folderOf(file))),
      make("span", {title: file.date}, file.date)),
    make("p", {class: "facts"}, `${file.width} × ${file.height} · ${bytes(file.bytes)}`),
    make("p", {class: "verdict"}, make("b", {}, told)));
}

function writeTabs() {
  by("tabs").hidden = !found.series.length;
  const names = {clusters: count(found.clusters_found, "cluster"), series: `${found.series_found.toLocaleString("en")} series of shots`};
  by("tabs").append(...Object.entries(names).map(([value, text]) => make("button", {type: "button", value}, text)));
  by("tabs").addEventListener("click", ({target}) => { if (target.value) openView(target.value); });
}

"use strict";
(() => {
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  window.addEventListener("error", (event) => {
    root.dataset.error = event.message;
    find("script-error").hidden = false;
    find("script-error").textContent = `The list of videos could not be shown: ${event.message}`;
  });

  const PAGE = 25;
  const MAX_LANES = 5;
  const MAX_OTHERS = 8;
  const NUM_LEAST = 8;
  const EXAMPLES = 12;
  const FIELDS = ["id", "uri", "duration", "top", "score", "labels", "segments", "moreSegments", "times", "coverage",
    "truth", "truthSegments", "isAbstained", "damaged"];
  const read = (id) => JSON.parse(find(id).textContent);
  const { labels, videos: rows, hasTruth, near } = read("page-data");
  const pictures = read("pictures-data");

  // ---- what the numbers mean ----------------------------------------------------------------------------------------
  const labelId = (n) => labels[n][0];
  const labelName = (n) => labels[n][1];
  const pathOf = (n) => (n < 0 ? [] : [...pathOf(labels[n][2]), n]);
  const paths = labels.map((_, n) => pathOf(n));
  const numberOf = new Map(labels.map((label, n) => [label[0], n]));
  const picture = (id) => (Object.hasOwn(pictures, id) ? pictures[id] : null);
  const videos = rows.map((row, position) => {
    const video = { position };
    FIELDS.forEach((field, i) => { video[field] = row[i]; });
    video.carried = new Set([...paths[video.top], ...video.labels.map(([n]) => n)]);
    video.isWrong = video.truth !== null && !video.truth.includes(video.top);
    video.haystack = [video.id, video.uri, ...[...video.carried].flatMap((n) => labels[n].slice(0, 2))].join("\n").toLowerCase();
    return video;
  });

  // ---- drawing: text is only ever set as text, never as markup ---------------------------------------------------------
  const SVG = "http://www.w3.org/2000/svg";
  const SVG_TAGS = new Set(["svg", "rect", "line", "title"]);
  function draw(tag, attributes, ...children) {
    const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const low = (value) => (value === null ? -1 : value);
  const percent = (share) => `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`;
  const score = (value) => (value === null ? "–" : value.toFixed(2));
  const seconds = (value) => {
    if (value === null) return "–";
    if (value < 60) return `${value.toFixed(1)} s`;
    const whole = Math.round(value);
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60].map((v) => String(v).padStart(2, "0"));
    return h === "00" ? `${m}:${s}` : `${h}:${m}:${s}`;
  };
  const bar = (share) => draw("svg", { class: "bar", "aria-hidden": "true" },
    draw("rect", { class: "track", width: "100%", height: "100%", rx: 3 }),
    draw("rect", { class: "fill", width: percent(share || 0), height: "100%", rx: 3 }));
  const strip = (video) => (picture(video.id)
    ? draw("img", { class: "strip", alt: `key frames of ${video.id}`, loading: "lazy", decoding: "async", src: `data:image/jpeg;base64,${picture(video.id)}` })
    : draw("div", { class: "strip none" }, "no picture kept"));
  const stripIfAny = (video) => (picture(video.id) ? strip(video) : null);
  const labelLink = (n) => draw("a", { href: `#label=${encodeURIComponent(labelId(n))}`, title: labelId(n) },
    draw("bdi", {}, labelName(n)));

  function verdict(video) {
    if (video.truth === null) return null;
    if (!video.isWrong) return draw("span", { class: "mark right" }, "✓ true");
    const truth = video.truth.map(labelName).join(", ");
    return draw("span", { class: "mark wrong", title: `truth: ${truth || "none of the classes"}` }, "✗ wrong");
  }

  const damage = (video) => (video.damaged
    ? draw("span", { class: "mark unsure", title: "frames that could not be decoded, replaced or mended" }, `${video.damaged} damaged frames`) : null);
  const doubt = (video) => (video.isAbstained
    ? draw("span", { class: "mark unsure", title: "the top score is below what the model abstains from" }, "not sure") : null);

  function whatCell(video) {
    const path = paths[video.top];
    const up = path.slice(0, -1).flatMap((n, i) => (i ? [" › ", labelLink(n)] : [labelLink(n)]));
    return draw("div", { class: "what" },
      draw("bdi", { class: "id", title: video.uri }, video.id),
      draw("div", { class: "path" }, draw("span", { class: "up" }, ...up),
        draw("span", { class: "leaf" }, labelLink(video.top), verdict(video), doubt(video), damage(video))),
      draw("div", { class: "score" }, bar(video.score), draw("span", {}, score(video.score))),
      othersLine(video));
  }

  function othersLine(video) {
    // Only the deepest labels: their parents follow from the tree.
    const parents = new Set(video.labels.map(([n]) => labels[n][2]));
    const others = video.labels.filter(([n]) => n !== video.top && !parents.has(n) && !paths[video.top].includes(n));
    const isTrue = (n) => video.truth !== null && video.truth.includes(n);
    const spans = others.slice(0, MAX_OTHERS).map(([n, value]) =>
      draw("span", { class: isTrue(n) ? "true" : "", title: paths[n].map(labelName).join(" › ") },
        draw("bdi", {}, labelName(n)), ` ${score(value)}`));
    if (others.length > MAX_OTHERS) spans.push(`+${others.length - MAX_OTHERS} more`);
    const missed = (video.truth || []).filter((n) => !video.carried.has(n));
    if (missed.length) spans.push(draw("span", { class: "true", title: "true, but not found" }, "missed: ", draw("bdi", {}, missed.map(labelName).join(", "))));
    return spans.length ? draw("div", { class: "others" }, ...spans) : null;
  }

  function lanesOf(video) {
    const lanes = new Map();
    const lane = (n) => {
      if (!lanes.has(n)) lanes.set(n, { n, found: [], real: [] });
      return lanes.get(n);
    };
    video.segments.forEach((segment) => lane(segment[0]).found.push(segment));
    video.truthSegments.forEach((segment) => lane(segment[0]).real.push(segment));
    const length = (entry) => [...entry.real, ...entry.found].reduce((sum, [, a, b]) => sum + (b - a), 0);
    return [...lanes.values()].sort((a, b) => (b.real.length > 0) - (a.real.length > 0) || length(b) - length(a));
  }

  const segmentText = ([n, start, end, value]) =>
    `${labelName(n)}: ${seconds(start)} to ${seconds(end)}${value === null ? " (truth)" : `, score ${score(value)}`}`;

  function segmentBar(segment, length, style, y, height) {
    const [, start, end] = segment;
    const text = segmentText(segment);
    return draw("rect", { class: style, x: percent(start / length), width: percent(Math.max(0.006, (end - start) / length)),
      y, height, rx: 2 }, draw("title", {}, text));
  }

  function whenCell(video) {
    const ends = [...video.segments, ...video.truthSegments].map((segment) => segment[2]);
    const length = video.duration || Math.max(0, ...ends, ...video.times);
    if (!length) return draw("div", { class: "when hint" }, "no duration known");
    const lanes = lanesOf(video);
    const drawn = lanes.slice(0, MAX_LANES).map((lane) => {
      const style = video.truth !== null && !video.truth.includes(lane.n) ? "found off" : "found";
      return draw("div", { class: "lane" }, draw("span", { class: "name", title: labelId(lane.n) }, draw("bdi", {}, labelName(lane.n))),
        draw("svg", { role: "img", "aria-label": lane.found.map((s) => segmentText(s)).join("; ") || "not found" }, draw("rect", { class: "base", y: hasTruth ? 2 : 4, width: "100%", height: 8, rx: 2 }),
          ...lane.found.map((s) => segmentBar(s, length, style, hasTruth ? 2 : 4, 8)),
          ...lane.real.map((s) => segmentBar(s, length, "real", 12, 3))));
    });
    const more = lanes.length - MAX_LANES;
    const notes = [more > 0 ? `+${more} more labels` : "", video.moreSegments ? `+${video.moreSegments} more segments` : ""];
    const ticks = video.times.map((t) => draw("line", { class: "tick", x1: percent(t / length), x2: percent(t / length), y1: 0, y2: 6 }));
    const seen = video.coverage === null ? "" : `${Math.round(100 * video.coverage)}% looked at`;
    return draw("div", { class: "when" }, ...drawn,
      draw("div", { class: "lane axis" }, draw("span", { class: "name" }, lanes.length ? "" : "no segments"), draw("svg", { "aria-hidden": "true" }, ...ticks)),
      draw("div", { class: "lane" }, draw("span", { class: "name" }, notes.filter(Boolean).join(", ")),
        draw("div", { class: "ends" }, draw("span", {}, "0"),
          draw("span", { class: video.coverage !== null && video.coverage < 0.5 ? "low" : "" }, seen), draw("span", {}, seconds(length)))));
  }

  const card = (video) => draw("li", { class: "video card" }, strip(video), whatCell(video), whenCell(video));
  const smallCard = (video) => draw("li", {}, draw("a", { href: `#video=${encodeURIComponent(video.id)}`, title: video.uri },
    stripIfAny(video), draw("span", { class: "what" }, draw("bdi", {}, labelName(video.top)), score(video.score)), draw("bdi", { class: "id" }, video.id)));

  // ---- examples of a label: the most and the least certain video under it, those with pictures before others -------------
  const examplesOf = new Map();
  const better = (a, b) => (b === null ? true : low(a.score) > low(b.score));
  function gatherExamples() {
    videos.forEach((video) => paths[video.top].forEach((n) => {
      const entry = examplesOf.get(n) || { best: null, least: null, pictured: false };
      const pictured = Boolean(picture(video.id));
      if (pictured && !entry.pictured) Object.assign(entry, { best: video, least: video, pictured });
      else if (pictured === entry.pictured) {
        if (better(video, entry.best)) entry.best = video;
        if (entry.least === null || low(video.score) < low(entry.least.score)) entry.least = video;
      }
      examplesOf.set(n, entry);
    }));
  }
  const example = (video, word) => draw("a", { class: "example", href: `#video=${encodeURIComponent(video.id)}`, title: video.uri },
    stripIfAny(video), draw("span", {}, draw("b", {}, word), score(video.score)), draw("bdi", { class: "id" }, video.id));
  function examplePair(n) {
    const { best, least } = examplesOf.get(n) || { best: null, least: null };
    if (best === null) return [];
    return best === least ? [example(best, labels[n][4] === 1 ? "the only one" : "example")] : [example(best, "most certain"), example(least, "least certain")];
  }
  const count = (n) => n.toLocaleString("en");
  const plural = (n) => `${count(n)} video${n === 1 ? "" : "s"}`;
  const inner = new Set(labels.map((label) => label[2]));
  const leaves = labels.map((_, n) => n).filter((n) => !inner.has(n) && labels[n][4]).sort((a, b) => labels[b][4] - labels[a][4]);
  let numExamples = 0;
  function moreExamples() {
    const shown = leaves.filter((n) => (examplesOf.get(n) || {}).pictured);
    const use = shown.length ? shown : leaves;
    const cards = use.slice(numExamples, numExamples + EXAMPLES).map((n) => draw("li", { class: "card" },
      draw("h3", {}, labelLink(n), draw("span", {}, plural(labels[n][4]))), ...examplePair(n)));
    find("example-list").append(...cards);
    numExamples += cards.length;
    find("example-more").hidden = numExamples >= use.length;
  }

  function spread(bins) {
    const most = Math.max(1, ...bins);
    const text = bins.map((n, i) => (n ? `${(i / bins.length).toFixed(2)}: ${n}` : "")).filter(Boolean).join(", ");
    return draw("svg", { class: "spread", viewBox: "0 0 200 62", preserveAspectRatio: "none", role: "img", "aria-label": `scores: ${text}` },
      draw("rect", { class: "base", y: 61, width: 200, height: 1 }),
      ...bins.map((n, i) => draw("rect", { x: (200 * i) / bins.length + 0.5, width: 200 / bins.length - 1, y: 60 - (58 * n) / most,
        height: (58 * n) / most }, draw("title", {}, `${(i / bins.length).toFixed(2)}–${((i + 1) / bins.length).toFixed(2)}: ${plural(n)}`))));
  }

  function showAbout(n) {
    find("about").hidden = n === null;
    if (n === null) return find("about").replaceChildren();
    const [id, name, parent, definition, numTop, numAny, bins] = labels[n];
    const up = pathOf(parent).flatMap((k, i) => (i ? [" › ", labelLink(k)] : [labelLink(k)]));
    return find("about").replaceChildren(
      draw("div", {}, draw("p", { class: "hint" }, ...up), draw("h3", {}, draw("bdi", { title: id }, name)),
        draw("p", {}, draw("bdi", {}, definition)), draw("p", {}, `Top label of ${plural(numTop)}, among the labels of ${plural(numAny)}.`)),
      draw("div", {}, bins.length ? spread(bins) : "", draw("div", { class: "ends" }, draw("span", {}, "0"), draw("span", {}, "top scores"), draw("span", {}, "1"))),
      ...examplePair(n));
  }

  const byId = new Map(videos.map((video) => [video.id, video]));
  const nearSide = (id) => (byId.has(id) ? example(byId.get(id), labelName(byId.get(id).top)) : draw("bdi", { class: "id" }, id));
  const nearPair = ([id, like, cosine]) => draw("li", {}, nearSide(id), nearSide(like), draw("span", { class: "like" }, `cosine ${cosine.toFixed(4)}`));

  // ---- what is shown ---------------------------------------------------------------------------------------------------
  const ORDERS = {
    pictures: (a, b) => Boolean(picture(b.id)) - Boolean(picture(a.id)) || a.position - b.position,
    least: (a, b) => low(a.score) - low(b.score),
    most: (a, b) => low(b.score) - low(a.score),
    name: (a, b) => a.position - b.position,
    long: (a, b) => low(b.duration) - low(a.duration),
    coverage: (a, b) => low(a.coverage) - low(b.coverage),
  };
  const state = { q: "", label: "", truth: "", video: "", sort: "pictures", wrong: "", unsure: "", damaged: "", page: 0 };
  let chosen = [];

  function choose() {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const label = state.label ? numberOf.get(state.label) : null;
    const truth = state.truth ? numberOf.get(state.truth) : null;
    const carries = (video) => (truth === null ? video.carried.has(label) : paths[video.top].includes(label));
    chosen = videos.filter((video) => words.every((word) => video.haystack.includes(word))
      && (label === null || carries(video))
      && (truth === null || (video.truth || []).includes(truth))
      && (!state.video || video.id === state.video)
      && (!state.wrong || video.isWrong)
      && (!state.unsure || video.isAbstained)
      && (!state.damaged || video.damaged));
    chosen.sort(ORDERS[state.sort] || ORDERS.pictures);
  }

  function show() {
    const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
    state.page = Math.min(pages - 1, Math.max(0, state.page));
    const visible = chosen.slice(state.page * PAGE, (state.page + 1) * PAGE);
    find("list").replaceChildren(...visible.map(card));
    if (!visible.length) find("list").append(draw("li", { class: "empty card" }, "No video matches."));
    find("shown").textContent = `${chosen.length.toLocaleString("en")} of ${videos.length.toLocaleString("en")} videos`;
    find("pager").hidden = pages === 1;
    find("page").textContent = `Page ${state.page + 1} of ${pages}`;
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page === pages - 1;
    const chips = ["truth", "video"].filter((name) => state[name]).map((name) => {
      const text = name === "truth" ? labelName(numberOf.get(state.truth)) : state.video;
      const chip = draw("button", { type: "button", title: "show without this condition" }, `${name}: `, draw("bdi", {}, text), " ✕");
      chip.addEventListener("click", () => change({ [name]: "" }));
      return chip;
    });
    find("chips").replaceChildren(...chips);
    root.dataset.rows = String(visible.length);
  }

  function change(values) {
    Object.assign(state, { page: 0 }, values);
    find("text").value = state.q;
    find("label").value = state.label;
    find("sort").value = state.sort;
    if (hasTruth) find("wrong").checked = Boolean(state.wrong);
    find("unsure").checked = Boolean(state.unsure);
    if (find("damaged")) find("damaged").checked = Boolean(state.damaged);
    showAbout(state.label ? numberOf.get(state.label) : null);
    choose();
    show();
  }

  // An address such as #label=cats&sort=least sets what is shown, so links in the page and from elsewhere can use it.
  function followAddress() {
    const wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    const known = Object.keys(state).filter((name) => Object.hasOwn(wanted, name));
    if (!location.hash.includes("=") || !known.length) return;
    const values = { q: "", label: "", truth: "", video: "", wrong: "", unsure: "", damaged: "" };
    known.forEach((name) => { values[name] = wanted[name]; });
    values.page = Math.max(0, (parseInt(wanted.page, 10) || 1) - 1);
    if (values.label && !numberOf.has(values.label)) values.label = "";
    if (values.truth && !numberOf.has(values.truth)) values.truth = "";
    if (values.sort && !Object.hasOwn(ORDERS, values.sort)) delete values.sort;
    change(values);
    find("videos").scrollIntoView({ behavior: "instant" });
  }

  function listen() {
    const ordered = labels.map((_, n) => n).sort((a, b) => {
      const [x, y] = [a, b].map((n) => paths[n].map(labelName).join("\u0000"));
      return x < y ? -1 : Number(x > y);
    });
    find("label").append(...ordered.map((n) => draw("option", { value: labelId(n) }, "\u2003".repeat(paths[n].length - 1) + labelName(n))));
    let waiting = 0;
    find("text").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => change({ q: event.target.value, video: "" }), 120);
    });
    find("controls").addEventListener("submit", (event) => event.preventDefault());
    find("label").addEventListener("change", (event) => change({ label: event.target.value, truth: "" }));
    find("sort").addEventListener("change", (event) => change({ sort: event.target.value }));
    if (hasTruth) find("wrong").addEventListener("change", (event) => change({ wrong: event.target.checked ? "1" : "" }));
    find("unsure").addEventListener("change", (event) => change({ unsure: event.target.checked ? "1" : "" }));
    if (find("damaged")) find("damaged").addEventListener("change", (event) => change({ damaged: event.target.checked ? "1" : "" }));
    find("more-examples").addEventListener("click", moreExamples);
    [["previous", -1], ["next", 1]].forEach(([id, step]) => find(id).addEventListener("click", () => {
      state.page += step;
      show();
      find("videos").scrollIntoView();
    }));
    find("open-tree").addEventListener("click", (event) => {
      const branches = [...document.querySelectorAll(".tree details")];
      const open = branches.some((branch) => !branch.open);
      branches.forEach((branch) => { branch.open = open; });
      event.target.textContent = open ? "close all" : "open all";
    });
    window.addEventListener("hashchange", followAddress);
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[href*='=']");
      if (link && link.hash === location.hash) followAddress(); // the browser reports only a changed address
    });
  }

  if (videos.length) {
    listen();
    gatherExamples();
    moreExamples();
    if (find("near")) find("near").append(...near.map(nearPair));
    find("least").append(...[...videos].sort(ORDERS.least).slice(0, NUM_LEAST).map(smallCard));
    change({});
    followAddress();
  }
  root.dataset.ready = String(videos.length);
})();

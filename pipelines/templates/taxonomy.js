"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const textOf = (element, parts) => plain([...element.querySelectorAll(parts)].map((part) => part.textContent).join(" "));

  function make(tag, style, ...inside) {
    const element = document.createElement(tag);
    if (style) element.className = style;
    element.append(...inside);
    return element;
  }

  // Neighbours and public classes come as data: as elements they would be most of the file.
  const more = JSON.parse(find("more").textContent);
  insertNeighbours(more);
  insertPublic(more);

  function insertNeighbours({ like }) {
    for (const [id, others] of Object.entries(like)) {
      const links = others.map((other) => {
        const link = make("a", "", find(`class-${other}`).querySelector(".name").textContent);
        link.href = `#class-${encodeURIComponent(other)}`;
        return link;
      });
      const listed = links.flatMap((link, at) => (at ? [", ", link] : [link]));
      find(`class-${id}`).append(make("p", "like", "Easily taken for ", ...listed));
    }
  }

  // By node: [number of the set, "number of the relation and name", ...] for each set.
  function insertPublic({ sets, signs, meanings, links }) {
    for (const [id, lists] of Object.entries(links)) {
      const place = find(`class-${id}`);
      const list = make("dl", "");
      for (const [set, ...names] of lists) {
        const classes = names.map((text) => {
          const sign = make("span", "sign", signs[text[0]]);
          sign.title = meanings[text[0]];
          return make("span", "link", sign, " ", make("bdi", "", text.slice(1)));
        });
        list.append(make("dt", "", sets[set]), make("dd", "", ...classes));
      }
      const count = list.querySelectorAll(".link").length;
      const box = make("details", "sets", make("summary", "", `${count} public class${count > 1 ? "es" : ""}`), list);
      if (place.matches(".leaf")) place.append(box);
      else place.querySelector("summary").after(make("div", "inside", box));
    }
  }

  const leaves = [...document.querySelectorAll(".leaf")].map((element) => ({
    element,
    kind: element.querySelector(".kind")?.textContent ?? "",
    own: textOf(element, ":scope > div, .text"),
    sets: element.querySelector(".sets"),
    elsewhere: textOf(element, ".sets dl"),
  }));
  const groups = [...document.querySelectorAll(".group")].map((element) => ({
    element,
    branch: element.querySelector("details"),
    shown: element.querySelector("summary .shown"),
    // A group's own name finds all that is in it.
    text: plain(element.querySelector("summary .what").textContent),
    sets: element.querySelector(":scope > details > .inside .sets"),
    elsewhere: textOf(element, ":scope > details > .inside .sets dl"),
    leaves: leaves.filter((leaf) => element.contains(leaf.element)),
  }));
  const kinds = [...document.querySelectorAll(".kinds button")];
  const above = new Map(leaves.map((leaf) => [leaf, groups.filter((group) => group.leaves.includes(leaf))]));
  let wasSearching = false;

  function mark(words) {
    if (!window.Highlight) return; // older browsers find without colouring
    const ranges = [];
    for (const { element } of words.length ? leaves.filter((leaf) => !leaf.element.hidden) : []) {
      const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const text = walker.currentNode.data.toLowerCase();
        for (const word of words) {
          for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
            const range = new Range();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, Math.min(at + word.length, walker.currentNode.length));
            ranges.push(range);
          }
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }

  function show() {
    const words = plain(find("query").value).split(/\s+/).filter(Boolean);
    const off = new Set(kinds.filter((button) => button.ariaPressed !== "true").map((button) => button.dataset.kind));
    let found = 0;
    for (const leaf of leaves) {
      const here = [leaf.own, ...above.get(leaf).map((group) => group.text)].join(" ");
      const there = [leaf.elsewhere, ...above.get(leaf).map((group) => group.elsewhere)].join(" ");
      const far = words.filter((word) => !here.includes(word));
      const fits = !off.has(leaf.kind) && far.every((word) => there.includes(word));
      leaf.element.hidden = !fits;
      found += Number(fits);
      if (leaf.sets) leaf.sets.open = far.some((word) => leaf.elsewhere.includes(word)); // shows why it was found
    }
    const isSearching = words.length > 0;
    for (const group of groups) {
      const left = group.leaves.filter((leaf) => !leaf.element.hidden).length;
      group.element.hidden = left === 0;
      group.shown.textContent = left;
      const isFar = (word) => !group.text.includes(word) && group.elsewhere.includes(word);
      if (group.sets) group.sets.open = words.some(isFar);
      if (isSearching) group.branch.open = left > 0;
      else if (wasSearching) group.branch.open = false;
    }
    wasSearching = isSearching;
    mark(words);
    find("nothing").hidden = found > 0;
    find("found").textContent = found === leaves.length ? `${found} classes` : `${found} of ${leaves.length} classes`;
    name();
  }

  const folded = () => groups.some((group) => !group.element.hidden && !group.branch.open);

  function name() {
    find("unfold").textContent = folded() ? "unfold all" : "fold all";
  }

  // A link to a class unfolds what it is in, even where a search hides it; #q=words is a search.
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1)).get("q");
    if (asked !== null) {
      find("query").value = asked;
      show();
      return;
    }
    const target = location.hash.length > 1 ? find(decodeURIComponent(location.hash.slice(1))) : null;
    if (!target || !target.matches(".leaf, .group")) return;
    if (target.hidden || target.closest(".group[hidden]")) {
      find("query").value = "";
      kinds.forEach((button) => { button.ariaPressed = "true"; });
      show();
    }
    for (let branch = target; branch; branch = branch.parentElement.closest(".group")) {
      const details = branch.querySelector(":scope > details");
      if (details) details.open = true;
    }
    target.scrollIntoView({ block: target.matches(".leaf") ? "center" : "start" });
    name();
  }

  let waiting = 0;
  find("query").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const words = find("query").value.trim();
      history.replaceState(null, "", words ? `#q=${encodeURIComponent(words)}` : "#"); // a search can be sent on
      show();
    }, 80);
  });
  find("tools").addEventListener("submit", (event) => event.preventDefault());
  kinds.forEach((button) => button.addEventListener("click", () => {
    button.ariaPressed = String(button.ariaPressed !== "true");
    show();
  }));
  find("unfold").addEventListener("click", () => {
    const open = folded();
    groups.forEach((group) => { group.branch.open = open; });
    name();
  });
  groups.forEach((group) => group.branch.addEventListener("toggle", name));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#class-']");
    if (link && link.hash === location.hash) follow(); // the browser reports only a changed address
  });
  window.addEventListener("hashchange", follow);
  document.documentElement.dataset.ready = String(leaves.length);
  show();
  follow();
})();

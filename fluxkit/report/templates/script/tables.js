const cellValue = (row, place) => {
  const cell = row.cells[Math.min(place, row.cells.length - 1)];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
};

const inOrder = (a, b, down) => {
  // Numbers before words, whichever way: a missing value is never the best one.
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  const order = typeof a === "number" ? a - b : a.localeCompare(b);
  return down ? -order : order;
};

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  if (body.rows.length < 2) continue;
  const sort = (place, down) => body.append(...[...body.rows].sort((a, b) => inOrder(cellValue(a, place), cellValue(b, place), down)));
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // The best first: the highest unless lower is better, and words from A on.
      const highFirst = head.dataset.best ? head.dataset.best === "high" : typeof cellValue(body.rows[0], place) === "number";
      const first = highFirst ? "descending" : "ascending";
      const down = (head.getAttribute("aria-sort") === first) !== highFirst;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(place, down);
    });
  });
  // A reader's price may have put its numbers into another order.
  table.addEventListener("changed", () => {
    const place = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    if (place >= 0) sort(place, heads[place].getAttribute("aria-sort") === "descending");
  });
}

// A configuration that is filtered out leaves every table, chart, legend and picture of its workload.
for (const field of document.querySelectorAll("input[data-filters]")) {
  const rows = [...document.getElementById(field.dataset.filters).tBodies[0].rows];
  const said = field.closest(".tools").querySelector("output");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const isMeant = (row) => words.every((word) => row.cells[0].textContent.toLowerCase().includes(word));
    const shown = new Set(rows.filter(isMeant).map((row) => row.dataset.configuration));
    for (const part of field.closest("[data-workload]").querySelectorAll("[data-configuration]")) part.toggleAttribute("hidden", !shown.has(part.dataset.configuration));
    said.textContent = words.length ? `${shown.size} of ${rows.length} shown` : "";
  });
}

// A shadow at the edge says that a table or a chart goes on there.
const sees = (each) => each?.classList.toggle("more", each.scrollLeft + each.clientWidth < each.scrollWidth - 1);
const SLIDING = ".scroll";
const edges = new ResizeObserver((found) => found.forEach(({ target }) => sees(target.closest(SLIDING))));
for (const each of document.querySelectorAll(SLIDING)) {
  each.addEventListener("scroll", () => sees(each), { passive: true });
  edges.observe(each);
  if (each.firstElementChild) edges.observe(each.firstElementChild);
}

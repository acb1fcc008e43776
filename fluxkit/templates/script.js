"use strict";
(() => {
  const root = document.documentElement;
  for (const tool of document.querySelectorAll(".tools")) tool.hidden = false;

  document.getElementById("theme").addEventListener("click", () => {
    const chosen = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = chosen === "dark" ? "light" : "dark";
  });

  document.getElementById("download").addEventListener("click", () => {
    const text = document.getElementById("results").textContent;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "fluxkit-results.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  const tip = document.getElementById("tip");
  const show = (event) => {
    const mark = event.target.closest('figure.chart svg [aria-roledescription="point"], figure.chart svg [aria-roledescription="bar"], figure.chart svg [aria-roledescription="text mark"]');
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.getAttribute("aria-label");
    const box = mark.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(box.right + 10, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = Math.max(8, box.top - tip.offsetHeight - 6) + "px";
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    if (body.rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => {
          const cell = row.cells[Math.min(place, row.cells.length - 1)];
          return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
        };
        const rows = [...body.rows].sort((first, second) => {
          const [a, b] = [value(first), value(second)];
          if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
          const order = typeof a === "number" ? a - b : a.localeCompare(b);
          return down ? -order : order;
        });
        body.append(...rows);
      });
    });
  }
})();

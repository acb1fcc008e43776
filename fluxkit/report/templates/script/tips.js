// Every mark of a chart carries its words as aria-label: they are shown on hover and on focus.
const tip = document.getElementById("tip");
const MARK = 'figure.chart svg [role="graphics-symbol"][aria-label]';
const isMark = (each) => !/^(axis|legend|title|group)/.test(each.getAttribute("aria-roledescription") || "");

const showTip = (mark) => {
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.getAttribute("aria-label");
  const box = mark.getBoundingClientRect();
  tip.style.left = Math.max(8, Math.min(box.right + 10, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(8, box.top - tip.offsetHeight - 6) + "px";
};

const markAt = (event) => {
  const mark = event.target instanceof Element ? event.target.closest(MARK) : null;
  return mark && isMark(mark) ? mark : null;
};

document.addEventListener("pointerover", (event) => showTip(markAt(event)));
document.addEventListener("focusin", (event) => showTip(markAt(event)));
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

// One stop for the Tab key in each chart; the arrows go from mark to mark.
const reachable = (figure) => {
  const marks = [...figure.querySelectorAll('svg [role="graphics-symbol"][aria-label]')].filter(isMark);
  marks.forEach((mark, place) => mark.setAttribute("tabindex", place ? "-1" : "0"));
  return marks;
};
for (const figure of document.querySelectorAll("figure.chart")) {
  reachable(figure);
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const mark = markAt(event);
    if (event.key === "Escape") tip.hidden = true;
    if (!step || !mark) return;
    const marks = reachable(figure);
    const next = marks[(marks.indexOf(mark) + step + marks.length) % marks.length];
    mark.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
    event.preventDefault();
  });
}

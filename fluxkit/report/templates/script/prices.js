// Prices of the reader: cost = price per hour x hours + the stored cost of energy, and its interval alike.
// What is true at the stored prices alone (`data-stored`) is hidden while there are others.
const [LEAST_PRICE, MOST_PRICE, CENT] = [1e-6, 1e6, 0.01];

const priceIn = (input) => {
  const empty = input.value === "" && !input.validity.badInput;
  const price = Number(input.value);
  const fine = empty || (!input.validity.badInput && (price === 0 || (price >= LEAST_PRICE && price <= MOST_PRICE)));
  input.setAttribute("aria-invalid", String(!fine));
  return empty ? null : fine ? price : NaN;
};

const isChanged = (input) => input.value !== input.defaultValue || input.validity.badInput;

const element = (tag, className, ...inside) => {
  const made = Object.assign(document.createElement(tag), { className });
  made.append(...inside);
  return made;
};

const priceFields = (panel) => {
  const costs = JSON.parse(panel.dataset.costs);
  const within = document.querySelector(`div[data-workload="${panel.dataset.prices}"]`);
  const fields = [...panel.querySelectorAll("input[data-key]")];
  const rows = fields.filter((input) => !("fetch" in input.dataset));
  const fetching = panel.querySelector("[data-fetch]");
  const cells = [...within.querySelectorAll("td[data-cost]")].map((cell) => [cell, cell.innerHTML, cell.dataset.value]);
  const names = (inputs) => inputs.map((input) => `“${input.dataset.name}”`).join(", ");
  const usd = (name, input) => {
    const [basis, price] = [costs[name].rows[input.dataset.key], priceIn(input)];
    if (!basis?.hours || Number.isNaN(price) || (price === null && basis.energy === null)) return null;
    const more = name === "usd_per_job" ? (priceIn(fetching) || 0) / 60 : 0;
    // A free machine's cost is its energy, whose spread is not here.
    const known = price ? basis.hours : basis.hours.slice(0, 1);
    return known.map((hours) => (price || 0) * (hours + more) + (basis.energy || 0));
  };
  const isStale = (name) => rows.some(isChanged) || (name === "usd_per_job" && isChanged(fetching));
  const words = (cost, times) => {
    const [mean, ...ends] = cost.map((value) => value * times);
    if (mean === 0) return ["0", ""];
    const interval = ends.length ? ends : null;
    return [valueText(mean, interval), intervalText(mean, interval)];
  };

  const isSmall = (name, inputs) => inputs.some((input) => { const cost = usd(name, input); return cost && cost[0] > 0 && cost[0] < CENT; });

  const list = (card) => {
    const name = card.dataset.quantity;
    const basisOf = (input) => costs[name].rows[input.dataset.key];
    const known = rows.map((input) => ({ input, cost: usd(name, input) })).filter(({ cost }) => cost);
    const ranked = known.filter(({ input }) => basisOf(input).usable).sort((a, b) => a.cost[0] - b.cost[0]);
    const times = isSmall(name, ranked.map(({ input }) => input)) ? 1000 : 1;
    const lines = ranked.map(({ input, cost }) => {
      const [value, held] = words(cost, times);
      const label = input.closest("label");
      const who = element("span", "", label.querySelector(".swatch").cloneNode(true), input.dataset.name);
      const price = input.value === "" ? "" : `at ${Number(input.value)} USD/h`;
      const footing = element("span", "soft", [held, price, basisOf(input).footing].filter(Boolean).join(", "));
      const line = element("li", "", who, element("span", "measure", element("b", "", value), " ", footing));
      line.dataset.configuration = label.dataset.configuration;
      line.hidden = label.hidden;
      return line;
    });
    const unusable = known.filter(({ input }) => !basisOf(input).usable).map(({ input }) => input);
    const per = `USD per ${costs[name].per[times === 1 ? 0 : 1]}, at your prices and without a verdict:`;
    card.querySelector("[data-priced]").replaceChildren(
      ...(lines.length ? [element("p", "detail", per), element("ol", "between", ...lines)] : []),
      ...(unusable.length ? [element("p", "detail", `In no order, graded X: ${names(unusable)}.`)] : []),
    );
  };

  const price = ([cell, markup, value]) => {
    const { cost: name, row } = cell.dataset;
    const input = rows.find(({ dataset }) => dataset.key === row);
    cell.innerHTML = markup;
    if (value === undefined) delete cell.dataset.value; else cell.dataset.value = value;
    if (!input || !isStale(name)) return;
    const [cost, basis] = [usd(name, input), costs[name].rows[row]];
    if (cost) cell.dataset.value = cost[0]; else delete cell.dataset.value;
    const small = costs[name].factor === 1 && isSmall(name, rows); // one unit for a column
    const [text, held] = cost ? words(cost, small ? 1000 : costs[name].factor) : ["—", ""];
    const footing = cost ? `${small ? "per 1,000 of them, " : ""}${basis.footing}` : `(${basis.reason || "no price"})`;
    cell.replaceChildren(element("span", "value", text), element("span", "under", held), element("span", "under footing", footing));
  };

  const show = () => {
    for (const part of within.querySelectorAll("[data-stored]")) part.hidden = isStale(part.dataset.stored);
    for (const part of within.querySelectorAll("[data-entered]")) part.hidden = !isStale("usd_per_job");
    for (const card of within.querySelectorAll('li[data-quantity^="usd_"]')) {
      if (isStale(card.dataset.quantity)) list(card); else card.querySelector("[data-priced]").replaceChildren();
    }
    cells.forEach(price);
    for (const table of within.querySelectorAll("table.sortable")) table.dispatchEvent(new Event("changed"));
    const wrong = fields.filter((input) => Number.isNaN(priceIn(input)));
    const hasPrice = (input) => priceIn(input) !== null || Object.values(costs).some((cost) => typeof cost.rows[input.dataset.key]?.energy === "number");
    const unpriced = rows.some(hasPrice) ? rows.filter((input) => !hasPrice(input)) : [];
    panel.querySelector("[data-restore]").hidden = !fields.some(isChanged);
    panel.querySelector("[role=status]").textContent = [
      unpriced.length ? `Without a price: ${names(unpriced)}.` : "",
      wrong.length ? `Neither 0 nor a price from 0.000001 to 1,000,000: ${names(wrong)}.` : "",
    ].join(" ").trim();
  };

  return { fields, show };
};

const panels = [...document.querySelectorAll("[data-prices]")].map(priceFields);
const everyField = panels.flatMap(({ fields }) => fields);
const keepInAddress = () => {
  const entered = everyField.filter((input) => input.value !== input.defaultValue);
  const parts = entered.map((input) => `${input.dataset.key}=${encodeURIComponent(input.value)}`);
  if (parts.length || location.hash.startsWith("#prices")) history.replaceState(null, "", parts.length ? `#prices&${parts.join("&")}` : "#");
};
const takeFromAddress = () => {
  if (!location.hash.startsWith("#prices&")) return; // another part of the page was gone to: the prices stay
  const given = new URLSearchParams(location.hash.slice(1));
  for (const input of everyField) input.value = given.get(input.dataset.key) ?? input.defaultValue;
};
takeFromAddress();
addEventListener("hashchange", () => { takeFromAddress(); keepInAddress(); panels.forEach(({ show }) => show()); });
for (const { fields, show } of panels) {
  const changed = () => { keepInAddress(); show(); };
  for (const input of fields) input.addEventListener("input", changed);
  fields[0].closest("[data-prices]").querySelector("[data-restore]").addEventListener("click", () => {
    for (const input of fields) input.value = input.defaultValue;
    changed();
  });
  show();
}

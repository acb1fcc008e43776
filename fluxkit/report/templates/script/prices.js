// Prices of the reader: cost = price per hour x hours + the stored cost of energy, and its interval alike.
const [LEAST_PRICE, MOST_PRICE, CENT] = [1e-6, 1e6, 0.01];

const priceIn = (input) => {
  const empty = input.value === "" && !input.validity.badInput;
  const price = Number(input.value);
  const fine = empty || (!input.validity.badInput && (price === 0 || (price >= LEAST_PRICE && price <= MOST_PRICE)));
  input.setAttribute("aria-invalid", String(!fine));
  return empty ? null : fine ? price : NaN;
};

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
    if (!basis || Number.isNaN(price) || (price === null && !basis.energy)) return null;
    const more = name === "usd_per_job" ? (priceIn(fetching) || 0) / 60 : 0;
    return basis.hours.map((hours) => (price || 0) * (hours + more) + basis.energy);
  };
  const words = (cost, times) => {
    const [mean, ...ends] = cost.map((value) => value * times);
    if (mean === 0) return ["0", ""];
    const interval = ends.length ? ends : null;
    return [valueText(mean, interval), intervalText(mean, interval)];
  };

  const list = (card) => {
    const name = card.dataset.quantity;
    const ranked = rows.map((input) => ({ input, cost: usd(name, input) })).filter(({ cost }) => cost).sort((a, b) => a.cost[0] - b.cost[0]);
    const times = ranked.some(({ cost }) => cost[0] > 0 && cost[0] < CENT) ? 1000 : 1;
    const lines = ranked.map(({ input, cost }) => {
      const [value, held] = words(cost, times);
      const who = element("span", "", input.closest("label").querySelector(".swatch").cloneNode(true), input.dataset.name);
      const footing = element("span", "soft", [held, costs[name].rows[input.dataset.key].footing].filter(Boolean).join(", "));
      return element("li", "", who, element("span", "measure", element("b", "", value), " ", footing));
    });
    const per = `USD per ${costs[name].per[times === 1 ? 0 : 1]}, at your prices and without a verdict:`;
    card.querySelector("[data-priced]").replaceChildren(...(lines.length ? [element("p", "detail", per), element("ol", "between", ...lines)] : []));
  };

  const show = () => {
    const changed = fields.filter((input) => input.value !== input.defaultValue || input.validity.badInput);
    for (const card of within.querySelectorAll('li[data-quantity^="usd_"]')) {
      card.querySelector("[data-answer]").hidden = changed.length > 0;
      if (changed.length) list(card); else card.querySelector("[data-priced]").replaceChildren();
    }
    for (const [cell, markup, value] of cells) {
      const { cost: name, row } = cell.dataset;
      const input = rows.find(({ dataset }) => dataset.key === row);
      const cost = changed.length && input ? usd(name, input) : null;
      cell.innerHTML = markup;
      if (value === undefined) delete cell.dataset.value; else cell.dataset.value = value;
      if (!changed.length || !input) continue;
      cell.dataset.value = cost ? cost[0] : "";
      const small = cost && costs[name].factor === 1 && cost[0] > 0 && cost[0] < CENT;
      const [text, held] = cost ? words(cost, small ? 1000 : costs[name].factor) : ["—", ""];
      cell.replaceChildren(element("span", "value", text), element("span", "under", held), element("span", "under footing", cost ? `${small ? "per 1,000 of them, " : ""}${costs[name].rows[row].footing}` : "no price"));
    }
    const wrong = fields.filter((input) => Number.isNaN(priceIn(input)));
    const unpriced = rows.filter((input) => !wrong.includes(input) && !usd("usd_per_adapter", input));
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
  const parts = entered.map((input) => `${input.dataset.key}=${input.value}`);
  if (parts.length || location.hash.startsWith("#prices")) history.replaceState(null, "", parts.length ? `#prices&${parts.join("&")}` : "#");
};
const takeFromAddress = () => {
  const given = new URLSearchParams(location.hash.startsWith("#prices&") ? location.hash.slice(1) : "");
  for (const input of everyField) if (given.has(input.dataset.key)) input.value = given.get(input.dataset.key);
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

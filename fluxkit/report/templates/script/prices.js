// Prices again: USD = usd_per_hour x seconds / 3,600 + usd_per_kwh x joules / 3,600,000, run by run (fluxkit/compare/cost.py).
const usd = (prices, seconds, joules) =>
  (prices.hour * seconds) / 3600 + (joules === null ? 0 : (prices.kwh * joules) / 3.6e6);

const worstGrade = (...grades) => grades.filter(Boolean).sort((a, b) => "ABCX".indexOf(b) - "ABCX".indexOf(a))[0] || null;

const costOf = (basis, prices, quantiles) => {
  const { seconds, joules } = basis;
  const none = (reason) => ({ mean: null, reason });
  if (!prices.hour && !prices.kwh) return none("no price given");
  if (!seconds.values.length) return none(seconds.reason);
  const metered = prices.kwh > 0 && joules.values.length > 0;
  if (prices.kwh && !metered && !prices.hour) return none(`no price but the energy's, and no energy: ${joules.reason}`);
  const values = seconds.values.map((each, place) => usd(prices, each, metered ? joules.values[place] : null));
  const mean = meanOf(values);
  const grade = worstGrade(seconds.grade, metered ? joules.grade : null);
  const left = prices.kwh && !metered ? `without its energy: ${joules.reason}` : seconds.reason;
  const perSecond = mean / meanOf(seconds.values);
  if (values.length < 3) return { mean, interval: null, n: values.length, grade, left, perSecond, metered };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  const half = Math.sqrt(variance / values.length) * quantiles[values.length];
  return { mean, interval: [mean - half, mean + half], n: values.length, grade, left, perSecond, metered };
};

const footing = ({ n, grade, left }) => [`n = ${n}`, grade ? `grade ${grade}` : "", left].filter(Boolean).join(", ");

const EQUIVALENT = [0.98, 1.02];

// The rule of fluxkit/compare/decision.py: a ratio of costs is that of seconds, with its interval, times that of prices.
const standingOf = (workload, costs, name) => {
  const [leader, ...rivals] = leaderOf(workload.rows, costs, name);
  const pairs = rivals.map((rival) => {
    const stored = workload.seconds_ratios.find(({ cost, first, second }) =>
      cost === name && [first, second].includes(leader.key) && [first, second].includes(rival.key));
    const [one, other] = [costs[leader.key][name], costs[rival.key][name]];
    if (!stored || one.metered !== other.metered) return { shared: [0, Infinity], whole: [0, Infinity] };
    const times = one.perSecond / other.perSecond;
    const priced = ({ low, high }) => (stored.first === leader.key ? [low, high] : [1 / high, 1 / low]).map((end) => end * times);
    return { shared: priced(stored.shared), whole: priced(stored.whole) };
  });
  const equivalent = ({ shared }) => EQUIVALENT[0] < shared[0] && shared[1] < EQUIVALENT[1];
  const ahead = pairs.every(({ whole }) => whole[1] < 1);
  const settled = ahead || pairs.every((pair) => equivalent(pair) || pair.shared[1] < 1);
  const words = !pairs.length ? "" : !settled ? "Not settled." : pairs.some(equivalent) ? "Decided; those within 2 % are equal." : "Decided.";
  const star = !pairs.length ? "" : !settled ? "☆" : pairs.some(equivalent) ? "" : "★";
  return { leader, words, star };
};

const fillCost = (cell, cost, star) => {
  const part = (name, text) => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = text;
    return span;
  };
  delete cell.dataset.value;
  if (cost.mean === null) {
    cell.replaceChildren(part("value", "—"), part("reason", `(${cost.reason})`));
    return;
  }
  cell.dataset.value = cost.mean;
  const parts = [part("value", valueText(cost.mean, cost.interval))];
  if (star) parts.push(" ", part("star", star));
  const held = intervalText(cost.mean, cost.interval);
  if (held) parts.push(part("under", held));
  parts.push(part("under footing", footing(cost)));
  cell.replaceChildren(...parts);
};

const leaderOf = (rows, costs, name) => {
  const known = rows.filter((row) => costs[row.key][name].mean !== null && costs[row.key][name].grade !== "X");
  return known.sort((a, b) => costs[a.key][name].mean - costs[b.key][name].mean);
};

const cheapest = (workload, costs, name) => {
  const [first, second] = leaderOf(workload.rows, costs, name);
  if (!first) return "At these prices no configuration has a cost.";
  const words = (row) => {
    const cost = costs[row.key][name];
    const held = cost.interval ? `95 % interval ${intervalText(cost.mean, cost.interval)}, ` : "";
    return `“${row.name}” at ${valueText(cost.mean, cost.interval)} USD (${held}${footing(cost)})`;
  };
  const rest = second ? `, then ${words(second)}` : "; no other configuration has a cost";
  return `At these prices the lowest cost per ${first.bases[name].per} is that of ${words(first)}${rest}. ${standingOf(workload, costs, name).words}`.trim();
};

const repriceable = (panel, workload) => {
  const quantiles = JSON.parse(panel.dataset.quantiles);
  const section = (name) => document.getElementById(panel.dataset.workload + name);
  const cells = [...document.querySelectorAll(`[data-workload="${panel.dataset.workload}"] td[data-cost]`)];
  const cards = [...section("").querySelectorAll('li[data-quantity^="usd_"]')];
  const figure = section("-cost-chart").closest("figure");
  const stored = new Map([...cells, ...cards, figure].map((each) => [each, [each.innerHTML, each.dataset.value]]));
  const inputs = [...panel.querySelectorAll("input[data-price]")];
  const sentence = section("-cheapest");

  const reprice = () => {
    const prices = {};
    for (const input of inputs) {
      (prices[input.dataset.row] ||= {})[input.dataset.price] = Math.max(0, Number(input.value) || 0);
    }
    const costs = {};
    for (const row of workload.rows) {
      costs[row.key] = Object.fromEntries(
        Object.entries(row.bases).map(([name, basis]) => [name, costOf(basis, prices[row.key] || {hour: 0, kwh: 0}, quantiles)]),
      );
    }
    for (const cell of cells) {
      const name = cell.dataset.cost;
      if (!costs[cell.dataset.row]) continue;
      const { leader, star } = standingOf(workload, costs, name);
      fillCost(cell, costs[cell.dataset.row][name], leader?.key === cell.dataset.row ? star : "");
    }
    sentence.textContent = cheapest(workload, costs, "usd_per_adapter");
    for (const card of cards) {
      const text = cheapest(workload, costs, card.dataset.quantity);
      card.querySelector("[data-answer]").replaceChildren(part("p", { className: "priced" }, text));
      const chip = card.querySelector(".chip") || card.querySelector(".asked").appendChild(document.createElement("span"));
      chip.textContent = "priced by you";
      chip.className = "chip";
    }
    drawCosts(section("-cost-chart"), workload, prices);
  };

  const restore = () => {
    for (const input of inputs) input.value = input.defaultValue;
    for (const [each, [markup, value]] of stored) {
      each.innerHTML = markup;
      if (value === undefined) delete each.dataset.value; else each.dataset.value = value;
    }
    sentence.textContent = "";
  };

  for (const input of inputs) {
    input.hidden = false;
    input.previousElementSibling.hidden = true;
    input.addEventListener("input", reprice);
  }
  panel.querySelector("[data-restore]").addEventListener("click", restore);
};

const panels = [...document.querySelectorAll("[data-quantiles]")];
if (panels.length) {
  const { comparison } = JSON.parse(document.getElementById("results").textContent);
  panels.forEach((panel) => repriceable(panel, comparison.workloads[Number(panel.dataset.place)]));
}

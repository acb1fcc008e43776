// Quality over cost at the reader's prices, drawn like the stored one: a marker per mark, whiskers, and the front.
const SVG = "http://www.w3.org/2000/svg";
const node = (name, attributes, ...inside) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};

const niceTicks = (low, high, wanted = 5) => {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw);
  const ticks = [];
  for (let place = Math.ceil(low / step); place * step <= high; place += 1) ticks.push(Number((place * step).toPrecision(6)));
  return ticks;
};

const placesApart = (places, x) => {
  const apart = [];
  for (const place of places) if (!apart.length || x(place) - x(apart[apart.length - 1]) > 66) apart.push(place);
  return apart;
};

const graded = ({ psnr_db, target_seconds }) => psnr_db.mean !== null && psnr_db.grade !== "X" && target_seconds;

const costPoints = (workload, prices) => workload.rows.flatMap((row) => {
  const { seconds, joules } = row.bases.usd_per_1000_iterations; // for the mean power of tuning
  const price = prices[row.key] || { hour: 0, kwh: 0 };
  const watts = joules.mean !== null && seconds.mean ? joules.mean / seconds.mean : null;
  if (!price.hour && !(price.kwh && watts !== null)) return [];
  return row.curve.filter(graded).map((point) => ({
    row, x: usd(price, point.target_seconds, watts === null ? null : watts * point.target_seconds), y: point.psnr_db.mean,
    ends: point.psnr_db.interval && [point.psnr_db.interval.low, point.psnr_db.interval.high],
    grade: worstGrade(point.psnr_db.grade, seconds.grade, price.kwh && watts !== null ? joules.grade : null),
    gained: point.psnr_db.mean >= (row.metrics.psnr_db_untuned.mean ?? 0),
  })).filter((point) => point.grade !== "X");
});

const frontOf = (points) => {
  const front = [];
  for (const point of [...points].sort((a, b) => a.x - b.x || b.y - a.y)) {
    if (point.gained && (!front.length || point.y > front[front.length - 1].y)) front.push(point);
  }
  return front;
};

const part = (tag, facts, ...inside) => {
  const made = Object.assign(document.createElement(tag), facts);
  made.append(...inside);
  return made;
};

// The numbers of the chart, as the stored one has them.
const costNumbers = (points, front) => {
  const heads = ["Configuration", "USD for the tuning time", "PSNR (dB)", "95 % interval", "On the front", "Grade"];
  const lines = [...points].sort((a, b) => a.x - b.x).map((point) => part("tr", {},
    part("th", { scope: "row" }, point.row.name),
    ...[valueText(point.x), valueText(point.y), point.ends ? `[${point.ends.map((end) => valueText(end)).join(", ")}]` : "—", front.includes(point) ? "yes" : "", point.grade || "—"]
      .map((text) => part("td", {}, text)),
  ));
  const head = part("tr", {}, ...heads.map((text) => part("th", { scope: "col" }, text)));
  return part("table", {}, part("thead", {}, head), part("tbody", {}, ...lines));
};

const showNumbers = (figure, points, front) => {
  let details = figure.querySelector("details");
  if (!details) {
    const read = "Each marker is a graded mark at the prices entered; the dashed front joins those that no other one beats.";
    const scroll = part("div", { className: "scroll", tabIndex: 0, role: "region" });
    scroll.setAttribute("aria-label", `Numbers of the chart: quality over cost of workload ${figure.closest("[data-workload]").dataset.workload.slice(1)}`);
    details = part("details", {}, part("summary", {}, "How to read it, and the numbers"), part("p", {}, read), scroll);
    figure.append(details);
  }
  details.querySelector(".scroll").replaceChildren(costNumbers(points, front));
};

const whyNoCosts = (workload, prices) => {
  if (!workload.rows.some((row) => row.curve.some(graded))) return "no quality was measured at a mark";
  return Object.values(prices).some(({ hour, kwh }) => hour || kwh) ? "no price but the energy's, and no energy" : "no price given: enter one below";
};

const drawCosts = (place, workload, prices) => {
  const points = costPoints(workload, prices);
  const figure = place.closest("figure");
  if (!points.length) {
    place.replaceChildren(part("p", { className: "soft" }, `— (${whyNoCosts(workload, prices)})`));
    figure.querySelector("details")?.remove();
    return;
  }
  const [width, height, left, bottom] = [480, 290, 54, 44];
  const ys = points.flatMap((point) => [point.y, ...(point.ends || [])]);
  const [lowY, highY] = [Math.min(...ys), Math.max(...ys)];
  const padding = (highY - lowY) * 0.08 || 1;
  const places = points.map((point) => point.x).sort((a, b) => a - b);
  const scaled = (value) => Math.log1p(value / places[0]);
  const [first, last] = [scaled(places[0]) - 0.15, scaled(places[places.length - 1]) + 0.15];
  const x = (value) => left + ((scaled(value) - first) / (last - first)) * (width - left - 14);
  const y = (value) => height - bottom - ((value - lowY + padding) / (highY - lowY + 2 * padding)) * (height - bottom - 12);
  const text = (words, attributes) => node("text", { fill: "var(--soft)", "font-size": 12, ...attributes }, words);
  const svg = node("svg", {
    viewBox: `0 0 ${width} ${height}`, width, height, role: "graphics-document", "aria-roledescription": "visualization",
    "aria-label": "Quality over cost at the prices entered",
  });
  for (const tick of niceTicks(lowY - padding, highY + padding)) {
    svg.append(node("line", { x1: left, x2: width - 14, y1: y(tick), y2: y(tick), stroke: "var(--rule)" }));
    svg.append(text(String(tick), { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }));
  }
  for (const tick of placesApart(places, x)) {
    svg.append(text(valueText(tick), { x: x(tick), y: height - bottom + 18, "text-anchor": "middle" }));
  }
  svg.append(text("USD for the tuning time", { x: (width + left) / 2, y: height - 6, "text-anchor": "middle" }));
  const middle = (height - bottom) / 2;
  svg.append(text("PSNR (dB)", { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }));
  const front = frontOf(points);
  const path = front.map((point, at) => (at ? `H${x(point.x)}V${y(point.y)}` : `M${x(point.x)} ${y(point.y)}`)).join("");
  svg.append(node("path", { d: path, fill: "none", stroke: "var(--soft)", "stroke-dasharray": "4 3" }));
  for (const point of points) {
    const colour = `var(--c${point.row.number % 8})`;
    if (point.ends) {
      svg.append(node("line", { x1: x(point.x), x2: x(point.x), y1: y(point.ends[0]), y2: y(point.ends[1]), stroke: colour, "stroke-opacity": 0.6 }));
    }
    const swatch = document.querySelector(`.swatch[data-number="${point.row.number}"] g`).cloneNode(true);
    swatch.setAttribute("transform", `translate(${x(point.x) - 15} ${y(point.y) - 6})`);
    swatch.setAttribute("role", "graphics-symbol");
    swatch.setAttribute("aria-roledescription", "point");
    swatch.setAttribute("aria-label", `${point.row.name}: ${valueText(point.y)} dB for ${valueText(point.x)} USD`);
    svg.append(swatch);
  }
  place.replaceChildren(svg);
  showNumbers(figure, points, front);
  reachable(figure);
};

// The rules of fluxkit/text/number_format.py: as many digits as the spread supports.
const MOST_DECIMALS = 6;
const digitsOf = (value, digits) =>
  value ? Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value)))) : digits - 1;

const fixed = (value, decimals) => {
  const [whole, part] = value.toFixed(decimals).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  const text = part === undefined ? grouped : `${grouped}.${part}`;
  return /[1-9]/.test(text) ? text : text.replace("-", "");
};

const decimalsOf = (value, interval) => {
  const half = interval ? (interval[1] - interval[0]) / 2 : 0;
  if (half > 1e-9 * Math.abs(value)) {
    return Math.max(0, Math.min(1 - Math.floor(Math.log10(half)), digitsOf(value, 5), MOST_DECIMALS));
  }
  return Math.min(digitsOf(value, 3), MOST_DECIMALS);
};

const valueText = (value, interval) => {
  if (value !== 0 && Math.abs(value) < 1e-4) {
    return value.toExponential(2).replace(/e([+-])(\d)$/, "e$10$2");
  }
  return fixed(value, decimalsOf(value, interval));
};

const intervalText = (value, interval) => {
  if (!interval) return "";
  if (value !== 0 && Math.abs(value) < 1e-4) return `[${interval.map((end) => valueText(end)).join(", ")}]`;
  const decimals = decimalsOf(value, interval);
  return `[${fixed(interval[0], decimals)}, ${fixed(interval[1], decimals)}]`;
};

const root = document.documentElement;
for (const tool of document.querySelectorAll(".tools")) tool.hidden = false;

document.getElementById("theme").addEventListener("click", () => {
  const chosen = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = chosen === "dark" ? "light" : "dark";
});

document.getElementById("download").addEventListener("click", () => {
  const link = document.createElement("a");
  const text = document.getElementById("results").textContent;
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "fluxkit-results.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

// On paper nothing can be opened, so what is printed is: where a browser's style cannot do it, this does.
const opened = [];
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details.printed:not([open])")) {
    part.open = true;
    opened.push(part);
  }
});
addEventListener("afterprint", () => {
  for (const part of opened.splice(0)) part.open = false;
});

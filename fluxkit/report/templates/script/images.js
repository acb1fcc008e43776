const box = document.getElementById("lightbox");
const parts = Object.fromEntries([...box.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));

const cut = () => {
  parts.over.style.clipPath = `inset(0 0 0 ${parts.slider.value}%)`;
  parts.line.style.left = `${parts.slider.value}%`;
};

const differ = () => {
  parts.stage.classList.toggle("difference", parts.difference.checked);
  parts.slider.disabled = parts.difference.checked;
};

const showTile = (tile) => {
  const [line, image] = [tile.closest("tr"), tile.querySelector("img")];
  const alone = Boolean(tile.closest(".real")) || !line.querySelector(".real img");
  const real = line.querySelector(".real img");
  parts.title.textContent = tile.dataset.label;
  parts.caption.textContent = line.cells[0].querySelector(".caption").textContent;
  parts.chip.textContent = tile.querySelector(".tilechip")?.textContent || "";
  parts.right.textContent = tile.dataset.label === "Autoencoder" ? "Autoencoder's copy" : "Generated";
  for (const name of ["slider", "left", "right", "line", "switch"]) parts[name].hidden = alone;
  parts.over.src = image.src;
  parts.over.alt = image.alt;
  parts.under.src = (real || image).src;
  parts.under.alt = (real || image).alt;
  parts.stage.classList.toggle("pixels", image.classList.contains("pixels"));
  parts.stage.style.aspectRatio = `${image.getAttribute("width")} / ${image.getAttribute("height")}`;
  const others = [...tile.closest("td").querySelectorAll(".tile")].filter((each) => each.querySelector("img"));
  parts.strip.replaceChildren(...(others.length > 1 ? others.map((each) => {
    const button = document.createElement("button");
    const small = each.querySelector("img").cloneNode();
    button.type = "button";
    button.setAttribute("aria-pressed", String(each === tile));
    small.alt = "";
    button.append(small, each.dataset.moment);
    button.addEventListener("click", () => {
      showTile(each);
      parts.strip.querySelectorAll("button")[others.indexOf(each)].focus();
    });
    return button;
  }) : []));
  cut();
};

for (const tile of document.querySelectorAll(".pictures .tile")) {
  const frame = tile.querySelector(".frame");
  if (!frame) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "enlarge";
  frame.replaceWith(button);
  button.append(frame);
  button.addEventListener("click", () => {
    parts.slider.value = 50;
    parts.difference.checked = false;
    differ();
    showTile(tile);
    box.showModal();
  });
}
parts.slider.addEventListener("input", cut);
parts.difference.addEventListener("change", differ);
parts.close.addEventListener("click", () => box.close());
box.addEventListener("click", (event) => { if (event.target === box) box.close(); });

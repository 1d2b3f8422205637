"use strict";
// All of this is a help on top: the page says everything without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    return Number.parseFloat(cell.dataset.sort ?? cell.textContent) || 0;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      // Names sort by their place in the model, figures from the largest down.
      const first = column === 0 ? "ascending" : "descending";
      const second = column === 0 ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? second : first;
      const sign = order === "ascending" ? 1 : -1;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const rows = [...body.rows];
      rows.sort((one, other) => sign * (value(one, column) - value(other, column)));
      body.append(...rows);
    });
  });
  heads[0].setAttribute("aria-sort", "ascending");
}

// A heat map tells the filters and the correlation below the pointer.
for (const image of document.querySelectorAll("details img")) {
  const told = image.parentElement.querySelector("output");
  const order = image.dataset.order.split(" ").filter(Boolean);
  let pixels = null;
  const read = () => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  image.addEventListener("pointermove", (event) => {
    if (!image.complete || !image.naturalWidth) return;
    pixels ??= read();
    const box = image.getBoundingClientRect();
    const place = (offset, length) => Math.min(pixels.width - 1, Math.max(0, Math.floor((pixels.width * offset) / length)));
    const column = place(event.clientX - box.left - image.clientLeft, image.clientWidth);
    const row = place(event.clientY - box.top - image.clientTop, image.clientHeight);
    const level = pixels.data[4 * (row * pixels.width + column) + 3] / 255;
    const name = (index) => (order.length ? order[index] : `block ${index}`);
    told.textContent = `filters ${name(row)} and ${name(column)}: |r| about ${level.toFixed(2)}`;
  });
}

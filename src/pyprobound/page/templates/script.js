"use strict";
(() => {
  const root = document.documentElement;
  const status = document.getElementById("status");

  // Light and dark: the reader's system decides until the button is pressed.
  const theme = document.getElementById("theme");
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches;
  const nameTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  systemIsDark.addEventListener("change", nameTheme);
  nameTheme();
  theme.hidden = false;

  const print = document.getElementById("print");
  print.addEventListener("click", () => window.print());
  print.hidden = false;

  // Tables: a button in each head sorts, again turns round.
  const key = (row, column, isNumber) => {
    const cell = row.cells[column];
    const text = cell.dataset.order ?? cell.textContent;
    if (!isNumber) return text;
    const value = Number(text.replace("inf", "Infinity").replaceAll(",", ""));
    return text.trim() === "" || Number.isNaN(value) ? -Infinity : value;
  };
  const sort = (table, head, column) => {
    const isNumber = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const first = isNumber ? "descending" : "ascending";
    const other = isNumber ? "ascending" : "descending";
    const direction = before === first ? other : first;
    const sign = direction === "ascending" ? 1 : -1;
    const compare = isNumber
      ? (a, b) => (a < b ? -1 : a > b ? 1 : 0)
      : (a, b) => a.localeCompare(b, "en", { numeric: true });
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row, column, isNumber), row]);
    rows.sort(([a], [b]) => sign * compare(a, b));
    body.append(...rows.map(([, row]) => row));
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    status.textContent = `Sorted by ${head.textContent.trim()}, ${direction}`;
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  }

  // Pictures: what is saved stands alone, in the colours of paper.
  const standalone = (picture) => {
    const copy = picture.cloneNode(true);
    const [, , width, height] = copy.getAttribute("viewBox").split(/\s+/);
    copy.setAttribute("width", `${width}pt`);
    copy.setAttribute("height", `${height}pt`);
    copy.removeAttribute("style");
    return new XMLSerializer()
      .serializeToString(copy)
      .replaceAll("currentColor", "#1f2328")
      .replaceAll("currentcolor", "#1f2328")
      .replaceAll("var(--faint)", "#8b949e");
  };
  for (const button of document.querySelectorAll("button.save")) {
    button.addEventListener("click", () => {
      const picture = button.closest("figure").querySelector("svg");
      const blob = new Blob([standalone(picture)], { type: "image/svg+xml" });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = button.dataset.save;
      link.click();
      URL.revokeObjectURL(link.href);
    });
    button.hidden = false;
  }
})();

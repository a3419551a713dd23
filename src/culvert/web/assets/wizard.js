// The page with the peer's commands: copy, keep as a file, and an address that doesn't ask for it again.
"use strict";
(() => {
  const handed = document.getElementById("handed");
  if (!handed) return;
  history.replaceState(null, "", handed.dataset.made);
  const told = document.getElementById("kept");
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const field = document.getElementById(button.dataset.copy);
      try { await navigator.clipboard.writeText(field.value); } catch { field.select(); document.execCommand("copy"); }
      told.textContent = "Copied.";
    });
  }
  for (const button of document.querySelectorAll("[data-keep]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const link = document.createElement("a");
      const text = document.getElementById(button.dataset.keep).value;
      link.href = URL.createObjectURL(new Blob([`${text}\n`], { type: "text/plain" }));
      link.download = button.dataset.file;
      link.click();
      URL.revokeObjectURL(link.href);
      told.textContent = "Kept as a file.";
    });
  }
})();

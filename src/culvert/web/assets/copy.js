// A button that copies what stands in the <pre> behind it.
"use strict";
(() => {
  const begin = (part) => {
    for (const button of part.querySelectorAll("[data-copy]")) {
      if (!navigator.clipboard) continue;
      button.hidden = false;
      button.addEventListener("click", async () => {
        const text = button.closest("p").nextElementSibling.textContent;
        const said = button.parentElement.querySelector("[role=status]");
        try {
          await navigator.clipboard.writeText(text);
          said.textContent = "Copied";
        } catch {
          said.textContent = "The browser did not allow it";
        }
      });
    }
  };
  begin(document);
  document.addEventListener("htmx:afterSwap", (event) => begin(event.detail.target));
})();

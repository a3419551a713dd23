// A file is read here, into the field that is sent: the server takes a text alone.
"use strict";
(() => {
  const MOST = 1048576;
  const file = document.getElementById("file");
  const text = document.getElementById("text");
  if (!file || !text) return;
  file.closest("[data-file-of]").hidden = false;
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (!chosen) return;
    const told = document.getElementById("file-told");
    if (chosen.size > MOST) { told.textContent = "It is too large for this page."; return; }
    text.value = await chosen.text();
    told.textContent = `${chosen.size} octets were read.`;
  });
  // What was looked at is no more what stands in the field.
  text.addEventListener("input", () => { for (const old of document.querySelectorAll(".confirm")) old.remove(); });
})();

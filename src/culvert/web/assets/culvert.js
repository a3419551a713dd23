// What makes the pages quicker to use. Every form works without it.
"use strict";
(() => {
  const root = document.documentElement;
  const stored = localStorage.getItem("culvert-theme");
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;

  const switchTheme = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("culvert-theme", root.dataset.theme);
  };

  // A choice that other fields belong to: the form goes to the server and comes back with them.
  const refresh = async (field) => {
    const form = field.form;
    const words = new URLSearchParams(new FormData(form));
    words.set("do", "refresh");
    // Not form.action: a field of the form may be called so.
    const answer = await fetch(form.getAttribute("action") || location.href, { method: "POST", body: words, headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const made = page.getElementById("form");
    if (!made) { location.reload(); return; }
    keepSecrets(form, made);
    form.replaceWith(made);
    begin(made);
    if (window.htmx) htmx.process(made);
    const same = document.getElementById(field.id);
    if (same) same.focus();
  };

  // A key isn't sent back by the server, so what was typed stays where it was typed.
  const keepSecrets = (from, to) => {
    for (const old of from.querySelectorAll("input[type=password], input[data-was-secret]")) {
      const now = to.querySelector(`#${CSS.escape(old.id)}`);
      if (now) now.value = old.value;
    }
  };

  const begin = (part) => {
    for (const button of part.querySelectorAll("[data-reveal]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        const field = document.getElementById(button.dataset.reveal);
        const hidden = field.type === "password";
        field.type = hidden ? "text" : "password";
        field.dataset.wasSecret = "";
        button.textContent = hidden ? "Hide" : "Show";
      });
    }
    for (const other of part.querySelectorAll("[data-other-of]")) {
      const list = document.getElementById(other.dataset.otherOf);
      const show = () => { other.hidden = list.value !== "*other"; };
      list.addEventListener("change", () => { show(); if (!other.hidden) other.focus(); });
      show();
    }
    for (const field of part.querySelectorAll("[data-refreshes]")) field.addEventListener("change", () => refresh(field));
    for (const all of part.querySelectorAll("[data-select-all]")) {
      all.hidden = false;
      all.addEventListener("change", () => {
        for (const own of all.closest("table").querySelectorAll("input[name=select]")) own.checked = all.checked;
      });
    }
    for (const own of part.querySelectorAll("[data-theme-switch]")) {
      own.hidden = false;
      own.addEventListener("click", switchTheme);
    }
  };

  const drawer = document.querySelector(".drawer");
  if (drawer && matchMedia("(max-width: 60rem)").matches) drawer.open = false;
  begin(document);
  document.addEventListener("htmx:afterSwap", (event) => begin(event.detail.target || document));
})();

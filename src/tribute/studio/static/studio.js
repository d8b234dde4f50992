// What a page cannot do without a script: a word's heat map while it is pointed at or focused, and files dropped on a form.
(() => {
  "use strict";
  const shown = () => document.getElementById("shown");
  const over = (event) => {
    const word = event.target.closest && event.target.closest(".word");
    const picture = shown();
    if (!word || !picture) return;
    picture.dataset.plain ||= picture.src;
    picture.src = word.dataset.heat;
  };
  const out = (event) => {
    const picture = shown();
    if (event.target.closest && event.target.closest(".word") && picture && picture.dataset.plain) picture.src = picture.dataset.plain;
  };
  for (const name of ["mouseover", "focusin"]) document.addEventListener(name, over);
  for (const name of ["mouseout", "focusout"]) document.addEventListener(name, out);
  document.addEventListener("dragover", (event) => { if (event.target.closest(".drop")) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    const form = event.target.closest(".drop");
    if (!form || !event.dataTransfer.files.length) return;
    event.preventDefault();
    form.querySelector("input[type=file]").files = event.dataTransfer.files;
    form.requestSubmit();
  });
  // An error page that htmx was answered with is shown, not swallowed.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status >= 400) {
      const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
      const told = page.querySelector("[role=alert]");
      const line = document.createElement("p");
      line.className = "error";
      line.setAttribute("role", "alert");
      line.textContent = told ? told.textContent : event.detail.xhr.statusText;
      document.querySelector("#main > .error")?.remove();
      document.querySelector("#main h1").after(line);
      event.detail.shouldSwap = false;
    }
  });
})();

"use strict";
// A mark in the timeline or the graph opens its finding. Nothing is read from anywhere but this page.
document.querySelectorAll("a.mark").forEach((mark) => {
  mark.addEventListener("click", (event) => {
    const finding = document.getElementById("f-" + mark.dataset.finding);
    if (!finding) return;
    event.preventDefault();
    finding.open = true;
    finding.scrollIntoView({ block: "start" });
  });
});
document.documentElement.dataset.ready = "true";

"use strict";

// All episodes show the same moment, so that the eye compares like with like.
const slider = document.getElementById("moment");
const play = document.getElementById("play");
const show = () => document.documentElement.style.setProperty("--moment", slider.value);
let timer = null;

slider.addEventListener("input", show);
play.addEventListener("click", () => {
  if (timer === null) {
    timer = setInterval(() => {
      slider.value = (Number(slider.value) + 1) % (Number(slider.max) + 1);
      show();
    }, 350);
  } else {
    clearInterval(timer);
    timer = null;
  }
  play.setAttribute("aria-pressed", timer !== null);
  play.textContent = timer === null ? "play" : "pause";
});
document.getElementById("only").addEventListener("change", (event) => {
  for (const section of document.querySelectorAll("section")) {
    section.hidden = event.target.checked && !section.classList.contains("bad");
  }
});
show();

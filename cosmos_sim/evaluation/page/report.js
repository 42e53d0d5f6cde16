"use strict";

// One episode: its videos play on one clock, so that the sides stay in step; a shorter one waits at its last frame.
class Card {
  constructor(element) {
    this.element = element;
    this.videos = [...element.querySelectorAll("video")];
    this.slider = element.querySelector("input");
    this.seconds = Number(element.dataset.seconds);
    this.clock = 0;
    this.last = 0;
    this.playing = false;
    this.slider.addEventListener("input", () => {
      this.pause();
      this.seek((this.slider.value / 1000) * this.seconds);
    });
    const stage = element.querySelector(".videos");
    stage.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.play());
    stage.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && !playAll && this.pause());
    stage.addEventListener("click", () => (this.playing ? this.pause() : this.play()));
  }

  load() {
    for (const video of this.videos) {
      if (video.src) continue;
      const bytes = Uint8Array.from(atob(video.dataset.mp4), (character) => character.charCodeAt(0));
      video.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
    }
  }

  // Browsers keep only so many players: those out of sight give theirs back.
  unload() {
    this.pause();
    for (const video of this.videos) {
      if (!video.src) continue;
      URL.revokeObjectURL(video.src);
      video.removeAttribute("src");
      video.load();
    }
    this.clock = 0;
    this.show();
  }

  play() {
    if (this.playing) return;
    this.load();
    this.playing = true;
    this.last = performance.now();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    this.playing = false;
    for (const video of this.videos) video.pause();
  }

  tick(now) {
    if (!this.playing) return;
    this.clock += (now - this.last) / 1000;
    this.last = now;
    if (this.clock > this.seconds + 0.9) this.clock = 0;
    for (const video of this.videos) {
      if (!(video.duration > 0)) continue;
      const target = Math.min(this.clock, video.duration - 0.01);
      if (Math.abs(video.currentTime - target) > 0.15) video.currentTime = target;
      if (target < video.duration - 0.05) {
        if (video.paused) video.play().catch(() => {});
      } else if (!video.paused) video.pause();
    }
    this.show();
    requestAnimationFrame((next) => this.tick(next));
  }

  seek(seconds) {
    this.load();
    this.clock = seconds;
    for (const video of this.videos) {
      const go = () => (video.currentTime = Math.min(seconds, video.duration - 0.01));
      if (video.duration > 0) go();
      else video.addEventListener("loadedmetadata", go, { once: true });
    }
    this.show();
  }

  show() {
    const share = Math.min(1, this.clock / this.seconds);
    this.slider.value = 1000 * share;
    this.element.style.setProperty("--moment", `${100 * share}%`);
  }
}

let playAll = false;
const cards = [...document.querySelectorAll(".card")].map((element) => new Card(element));
const cardOf = new Map(cards.map((card) => [card.element, card]));

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.dataset.seen = isIntersecting;
    const card = cardOf.get(target);
    if (!isIntersecting) card.unload();
    else if (playAll) card.play();
  }
});
for (const card of cards) seen.observe(card.element);

const choice = { policy: "", verdict: "" };
for (const name of Object.keys(choice)) {
  const buttons = [...document.querySelectorAll(`button[data-${name}]`)];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      choice[name] = button.dataset[name];
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
      filter();
    });
  }
}

function filter() {
  let shown = 0;
  for (const { element } of cards) {
    const fits =
      (!choice.policy || element.dataset.policy === choice.policy) &&
      (!choice.verdict || element.dataset.verdict.split(" ").includes(choice.verdict));
    element.hidden = !fits;
    shown += fits;
  }
  document.getElementById("nothing").hidden = shown > 0;
}

const play = document.getElementById("play");
play.addEventListener("click", () => {
  playAll = !playAll;
  play.setAttribute("aria-pressed", playAll);
  play.textContent = playAll ? "❚❚ pause" : "▶ play all";
  for (const card of cards) {
    if (!playAll) card.pause();
    else if (card.element.dataset.seen === "true") card.play();
  }
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = (root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  root.style.colorScheme = dark ? "light" : "dark";
});

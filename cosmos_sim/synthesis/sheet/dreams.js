for (const choice of document.querySelectorAll("input[name=which]"))
  choice.addEventListener("change", () => { document.body.className = choice.value; });
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) isIntersecting ? target.play().catch(() => {}) : target.pause();
});
for (const video of document.querySelectorAll("video")) seen.observe(video);

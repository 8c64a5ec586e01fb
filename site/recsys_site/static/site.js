// Optional: tells visitors with an open page that the site uses a new release.
"use strict";

const PAUSE_MS = 10000;
const shown = document.getElementById("release")?.dataset.release;
const news = document.getElementById("news");

async function checkRelease() {
  if (document.hidden) return;
  let answer;
  try {
    answer = await fetch("/api/release", { cache: "no-store" });
    if (!answer.ok) return;
    answer = await answer.json();
  } catch {
    return; // The next check may succeed.
  }
  if (answer.release_id === shown || news.dataset.release === answer.release_id) return;
  news.dataset.release = answer.release_id;
  const link = document.createElement("a");
  link.href = location.href;
  link.textContent = "Show the new recommendations";
  link.addEventListener("click", (event) => {
    event.preventDefault();
    location.reload();
  });
  news.replaceChildren(`Release ${answer.release_id} is now in use. `, link);
}

if (shown) {
  setInterval(checkRelease, PAUSE_MS);
  document.addEventListener("visibilitychange", checkRelease);
}

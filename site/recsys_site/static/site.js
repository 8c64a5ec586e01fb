// Pages are whole without this. It tells an open page that another release answers now.
"use strict";

const PAUSE_MS = 10000;
const shown = document.getElementById("release")?.dataset.release;
const news = document.getElementById("news");

async function look() {
  if (document.hidden) return;
  let answer;
  try {
    answer = await fetch("/api/release", { cache: "no-store" });
    if (!answer.ok) return;
    answer = await answer.json();
  } catch {
    return; // The next look may get through.
  }
  if (answer.release_id === shown || news.dataset.release === answer.release_id) return;
  news.dataset.release = answer.release_id;
  const link = document.createElement("a");
  link.href = location.href;
  link.textContent = "Show what it recommends";
  link.addEventListener("click", (event) => {
    event.preventDefault();
    location.reload();
  });
  news.replaceChildren(`Release ${answer.release_id} has just taken over. `, link);
}

if (shown) {
  setInterval(look, PAUSE_MS);
  document.addEventListener("visibilitychange", look);
}

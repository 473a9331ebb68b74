// Sets the chosen colours before anything is drawn; the only script that is no module, so that nothing flickers.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // storage is refused: the system's colours stay
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();

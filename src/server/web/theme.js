// Before the first paint: the theme that was chosen, else the system's (style.css).
try {
  const theme = localStorage.getItem("tern.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // storage is switched off: the system's theme
}

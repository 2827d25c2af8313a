// Offers the zone of this computer: a click puts it into the field.
(() => {
  const place = document.querySelector("[data-zone-here]");
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const field = document.getElementById("id_time_zone");
  if (!place || !field || !here || field.value === here) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "wo-button";
  button.textContent = `${place.dataset.zoneHere}: ${here}`;
  button.addEventListener("click", () => { field.value = here; field.focus(); });
  place.append(button);
  place.hidden = false;
})();

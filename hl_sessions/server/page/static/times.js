const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Formats the age of a point in time as the server does; returns null for ages over a week. */
function age(seconds) {
  if (seconds < 5) return "just now";
  for (const [limit, unit, name] of [[MINUTE, 1, "s"], [HOUR, MINUTE, "min"], [DAY, HOUR, "h"], [7 * DAY, DAY, "d"]]) {
    if (seconds < limit) return `${Math.floor(seconds / unit)} ${name} ago`;
  }
  return null;
}

/** Updates the ages in a part of the page, with the times in the reader's time zone as titles. */
export function refreshTimes(part = document) {
  for (const element of part.querySelectorAll("time")) {
    const moment = new Date(element.dateTime);
    element.title = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    const text = age((Date.now() - moment) / 1000);
    if (text !== null && element.textContent !== text) element.textContent = text;
  }
}

export function keepTimes() {
  refreshTimes();
  setInterval(refreshTimes, 5000);
}

"use strict";

// Waits for the next mail, then shows it.
(async () => {
  const last = document.querySelector("script[data-last]").dataset.last;
  for (;;) {
    try {
      const answer = await fetch("/mails?after=" + encodeURIComponent(last));
      if (answer.ok && (await answer.json()).length > 0) {
        location.reload();
        return;
      }
    } catch {
      document.getElementById("state").textContent = "The mailbox has gone. Load the page again when it is back.";
      return;
    }
  }
})();

"use strict";

// Walks a password reset. Opened plain, it asks for whom; opened by the mailed link, it asks for the new password.
// Whatever a server says is shown as text, never as markup.

const RESET = "/openidm/selfservice/reset";
const $ = (id) => document.getElementById(id);
const steps = ["find", "sent", "choose", "done"];
let token;

/** Shows one step, or none, and puts the focus where it goes on. */
function show(step) {
  for (const id of steps) $(id).hidden = id !== step;
  $("again").hidden = step !== "sent";
  if (!step) return;
  $("status").textContent = "";
  const heading = $(step).querySelector("h2");
  if (heading) heading.tabIndex = -1;
  (heading ?? $(step).querySelector("input")).focus();
}

function fail(text) {
  $("status").textContent = "";
  $("error").textContent = text;
  // Where no step is left to try again, the way out is the beginning.
  if (steps.every((id) => $(id).hidden)) $("again").hidden = false;
}

/** The server's words for programs, in words for people. */
const WORDS = {
  "Invalid code": "This link does not work any more. Start again for a new one.",
  "Password reset link is invalid": "This link does not work any more. Start again for a new one.",
  "Access Denied": "The user name or the password is wrong.",
};

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", credentials: "same-origin", ...options });
  } catch {
    throw new Error("The server cannot be reached. Try again.");
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const wait = Number(answer.headers.get("Retry-After"));
  const text = (WORDS[body.message] || body.message || `The server answered ${answer.status}.`) + (wait ? ` Try again in ${wait} s.` : "");
  throw Object.assign(new Error(text), { status: answer.status });
}

/** One step of the flow; the newest token is the one that counts. */
async function submit(input) {
  const body = token === undefined ? { input } : { input, token };
  const answer = await ask(RESET + "?_action=submitRequirements", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Requested-With": "XMLHttpRequest" },
    body: JSON.stringify(body),
  });
  if (answer.token !== undefined) token = answer.token;
  return answer;
}

/** What the flow asks for next. */
function follow(answer) {
  if (answer.tag === "end") {
    $("choose").reset();
    keep(null);
    show("done");
  } else if (answer.type === "userQuery") {
    show("find");
  } else if (answer.type === "emailValidation") {
    show("sent");
  } else if (answer.type === "resetStage") {
    show("choose");
    refused(answer.requirements?.error);
  } else {
    show();
    fail(`This page does not know the step ${answer.type}.`);
  }
}

const quote = (text) => '"' + text.replace(/[\\"]/g, "\\$&") + '"';

/** The policies that a password broke, in words. */
const RULES = {
  REQUIRED: () => "is needed",
  MIN_LENGTH: (p) => `needs at least ${p.minLength} characters`,
  AT_LEAST_X_CAPITAL_LETTERS: (p) => `needs capital letters: at least ${p.numCaps}`,
  AT_LEAST_X_NUMBERS: (p) => `needs digits: at least ${p.numNums}`,
  CANNOT_CONTAIN_OTHERS: (p) => `must not contain your ${p.disallowedFields === "userName" ? "user name" : p.disallowedFields}`,
  CANNOT_CONTAIN_CHARACTERS: (p) => `must not contain ${p.forbiddenChars}`,
  CANNOT_CONTAIN_DUPLICATES: () => "must not repeat characters",
  IS_NEW: () => "must not be one that you had before",
};

function refused(error) {
  const failures = (error?.detail?.failedPolicyRequirements ?? [])
    .filter((failure) => failure.property === "password")
    .flatMap((failure) => failure.policyRequirements ?? [])
    .map(({ policyRequirement: name, params }) => `It ${RULES[name]?.(params ?? {}) ?? `breaks the rule ${name}`}.`);
  if (error && failures.length === 0) failures.push("This password was refused. Choose another.");
  $("failures").replaceChildren(...failures.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  $("first").setAttribute("aria-invalid", String(failures.length > 0));
  if (failures.length > 0) fail("The password was not set: see below what it needs.");
}

/** Runs one step at a time: a second click while one runs does nothing. */
let busy = false;
async function run(step) {
  if (busy) return;
  busy = true;
  $("error").textContent = "";
  $("status").textContent = "One moment…";
  document.querySelector("main").ariaBusy = "true";
  try {
    await step();
  } catch (error) {
    fail(error.message);
    // This flow is over, or its link is: to send the same again would not help.
    if (error.status === 400) $("again").hidden = false;
  } finally {
    busy = false;
    document.querySelector("main").ariaBusy = "false";
  }
}

async function start() {
  token = undefined;
  keep(null);
  show();
  const first = await ask(RESET);
  token = first.token;
  follow(first.type === "parameters" ? await submit({}) : first);
}

async function open(link) {
  token = link.token;
  show();
  follow(await submit({ code: link.code }));
}

/** Keeps the link for a reload of this tab, out of sight, until it is used. */
function keep(link) {
  history.replaceState(link, "", location.pathname + location.search);
}

/** The mailed link's token and code: `#/passwordreset/&token=…&code=…`. They leave the address bar at once. */
function mailed() {
  const parameters = new URLSearchParams(location.hash.split("&").slice(1).join("&").replaceAll("+", "%2B"));
  const [sent, code] = [parameters.get("token"), parameters.get("code")];
  if (!sent || !code) return undefined;
  const link = { token: sent, code };
  keep(link);
  return link;
}

function begin() {
  const link = mailed() ?? history.state;
  run(link ? () => open(link) : start);
}

$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const who = quote($("who").value.trim());
  run(async () => follow(await submit({ queryFilter: `(userName eq ${who} or mail eq ${who})` })));
});

$("choose").addEventListener("submit", (event) => {
  event.preventDefault();
  $("failures").replaceChildren();
  if ($("first").value !== $("second").value) {
    fail("The two passwords are not the same.");
    $("second").focus();
    return;
  }
  run(async () => follow(await submit({ password: $("first").value })));
});

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  // IDM's form for values that a header cannot hold as they are.
  const header = (value) => (/^[\x21-\x7e]+$/.test(value) ? value : "UTF-8''" + encodeURIComponent(value));
  run(async () => {
    await ask("/openidm/authentication?_action=login", {
      method: "POST",
      headers: {
        "X-Requested-With": "XMLHttpRequest",
        "X-OpenIDM-NoSession": "true",
        "X-OpenIDM-Username": header($("user").value),
        "X-OpenIDM-Password": header($("secret").value),
      },
    });
    $("status").textContent = "Signed in: the new password works.";
  });
});

$("show").addEventListener("change", (event) => {
  for (const id of ["first", "second"]) $(id).type = event.target.checked ? "text" : "password";
});
$("again").addEventListener("click", () => run(start));
addEventListener("hashchange", () => {
  const link = mailed();
  if (link) run(() => open(link));
});
begin();

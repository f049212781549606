// The dashboard: signs in, builds the frame, shows the page of the address.

import { signOut } from "./api.js";
import { startChanges, stopChanges } from "./changes.js";
import { el, fill } from "./element.js";
import { refreshTimes } from "./format.js";
import { asProblem, problemBox } from "./problem.js";
import { route } from "./router.js";
import { credential, forget } from "./session.js";
import { buildShell } from "./shell.js";
import { listenForShortcuts } from "./shortcuts.js";
import { isDevServer, showSignIn, signIn } from "./signin.js";
import { accessPage } from "./access.js";
import { auditPage } from "./audit.js";
import { groupsPage } from "./groups.js";
import { overviewPage } from "./overview.js";
import { schedulesPage } from "./schedules.js";
import { submitPage } from "./submit.js";
import { taskPage } from "./task.js";
import { tasksPage } from "./tasks.js";
import { webhooksPage } from "./webhooks.js";

const TIMES_MS = 5000;

/** @type {Record<string, import("./router.js").Page>} */
const PAGES = {
  "": overviewPage,
  tasks: (view) => (view.params[0] ? taskPage(view) : tasksPage(view)),
  submit: submitPage,
  schedules: schedulesPage,
  groups: groupsPage,
  webhooks: webhooksPage,
  access: accessPage,
  audit: auditPage,
  "*": ({ root, title }) => {
    title("Not found");
    fill(root, el("h1", null, "There is no such page"), el("p", null, el("a", { href: "#/" }, "Go to the overview"), "."));
  },
};

const app = /** @type {HTMLElement} */ (document.getElementById("app"));

/** Use the credential of this tab, or the one of `--dev`, or ask for one. @param {string} reason */
async function signedIn(reason) {
  const held = credential();
  if (held) {
    try {
      return await signIn(held);
    } catch (error) {
      const problem = asProblem(error);
      if (problem.status !== 401) {
        await new Promise((resolve) => {
          fill(app, el("main", { id: "main", class: "signin" }, problemBox("The dashboard could not start", problem, () => resolve(null))));
        });
        return signedIn(reason);
      }
      forget();
      reason = "The credential is not valid any more. Sign in again.";
    }
  } else if (!reason && await isDevServer()) {
    try {
      return await signIn({ kind: "token", token: "dev" });
    } catch {
      forget(); // the well-known token was taken away; ask for another
    }
  }
  await showSignIn(app, reason);
}

async function run() {
  let reason = "";
  for (;;) {
    await signedIn(reason);
    reason = await new Promise((resolve) => {
      const stay = new AbortController();
      const leave = (/** @type {string} */ why) => {
        stay.abort();
        stopChanges();
        forget();
        resolve(why);
      };
      signOut.addEventListener("refused", () => leave("The server does not take your credential any more. Sign in again."), { signal: stay.signal });
      startChanges();
      listenForShortcuts(stay.signal);
      route(PAGES, buildShell(app, { onSignOut: () => leave("You are signed out."), signal: stay.signal }), stay.signal);
    });
  }
}

document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault(); // the # of the address belongs to the pages
  document.getElementById("main")?.focus();
});
setInterval(refreshTimes, TIMES_MS);
void run();

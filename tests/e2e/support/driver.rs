//! Chromium, through chromedriver: the little of the WebDriver protocol (W3C) that the page's walk needs.

use std::{path::PathBuf, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{PATIENCE, program::Program, setup::client, skip, soon};

/// The key, as WebDriver writes it.
pub(crate) const ENTER: &str = "\u{e007}";
/// Ctrl and A, and let go.
const ALL: &str = "\u{e009}a\u{e000}";
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub(crate) struct Browser {
    session: String,
    http: reqwest::Client,
    _driver: Program,
    _profile: tempfile::TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Light,
    DarkPhone,
}

impl Browser {
    /// None where there is no Chromium or no driver for it.
    pub(crate) async fn start() -> Option<Self> {
        let found = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|ran| ran.status.success());
        if skip("Chromium, or its driver", found("chromium") && found("chromedriver")) {
            return None;
        }
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        let mut driver = Program::spawn(command);
        let started = driver.stdout.find("started successfully on port ").await;
        let port = started.rsplit(' ').next().unwrap().trim_end_matches('.').to_owned();
        let profile = tempfile::tempdir().unwrap();
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--lang=en",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": args},
            "timeouts": {"script": u64::try_from(PATIENCE.as_millis()).unwrap()},
        }}});
        let mut browser = Self {
            session: format!("http://127.0.0.1:{port}/session"),
            http: client(),
            _driver: driver,
            _profile: profile,
        };
        let session = browser.command("", &wanted).await["sessionId"].as_str().unwrap().to_owned();
        browser.session = format!("{}/{session}", browser.session);
        Some(browser)
    }

    async fn command(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.session)).body(body.to_string());
        self.value(path, request).await
    }

    async fn value(&self, path: &str, request: reqwest::RequestBuilder) -> Value {
        let answer = soon(path, async { request.send().await.unwrap().text().await.unwrap() }).await;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert!(answer["value"]["error"].is_null(), "{path}: {answer:#}");
        answer["value"].clone()
    }

    pub(crate) async fn open(&self, url: &str) {
        self.command("/url", &json!({"url": url})).await;
    }

    pub(crate) async fn reload(&self) {
        self.command("/refresh", &json!({})).await;
    }

    /// A window of its own from now on.
    pub(crate) async fn open_tab(&self) {
        let tab = self.command("/window/new", &json!({"type": "tab"})).await;
        self.command("/window", &json!({"handle": tab["handle"]})).await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []})).await
    }

    /// Waits until the page is as the expression says.
    pub(crate) async fn until(&self, holds: &str) {
        let script = format!(
            "const done = arguments[0];
             const watch = new MutationObserver(check);
             function check() {{ if ({holds}) {{ watch.disconnect(); done(true); }} }}
             watch.observe(document, {{subtree: true, childList: true, attributes: true, characterData: true}});
             check();"
        );
        let held = self.http.post(format!("{}/execute/async", self.session));
        let held = held.body(json!({"script": script, "args": []}).to_string()).send().await.unwrap();
        if !held.status().is_success() {
            let page = self.run("return document.body.innerText").await;
            panic!("{holds}: {}\nof a page that says:\n{}", held.text().await.unwrap(), page.as_str().unwrap());
        }
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.command("/element", &json!({"using": "css selector", "value": selector})).await;
        format!("/element/{}", found[ELEMENT].as_str().unwrap())
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.command(&format!("{}/click", self.find(selector).await), &json!({})).await;
    }

    pub(crate) async fn double_click(&self, selector: &str) {
        let button = self.find(selector).await;
        let at = json!({ELEMENT: button.trim_start_matches("/element/")});
        let (down, up) = (json!({"type": "pointerDown", "button": 0}), json!({"type": "pointerUp", "button": 0}));
        let there = json!({"type": "pointerMove", "origin": at, "x": 0, "y": 0});
        let mouse = json!({"type": "pointer", "id": "mouse", "actions": [there, down, up, down, up]});
        self.command("/actions", &json!({"actions": [mouse]})).await;
    }

    /// Types over what is there, as a person does: a page may put back what only a script took away.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        self.press(selector, &format!("{ALL}{text}")).await;
    }

    /// Types into it, or presses a key on it such as [`ENTER`], after it got the focus.
    pub(crate) async fn press(&self, selector: &str, keys: &str) {
        let element = self.find(selector).await;
        self.command(&format!("{element}/value"), &json!({"text": keys})).await;
    }

    /// Runs a script in every page from now on, before the page's own.
    pub(crate) async fn prepare(&self, script: &str) {
        let params = json!({"source": script});
        let body = json!({"cmd": "Page.addScriptToEvaluateOnNewDocument", "params": params});
        self.command("/goog/cdp/execute", &body).await;
    }

    /// The text that a person sees there.
    pub(crate) async fn text(&self, selector: &str) -> String {
        // In one step: a page may put another element in the place of the one that was found.
        let script = format!("return document.querySelector({}).innerText.trim()", json!(selector));
        self.run(&script).await.as_str().unwrap().to_owned()
    }

    pub(crate) async fn look(&self, look: Look) {
        let (width, height, scheme) = match look {
            Look::Light => (1024, 720, "light"),
            Look::DarkPhone => (390, 844, "dark"),
        };
        let phone = look == Look::DarkPhone;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        for (cmd, params) in [("Emulation.setDeviceMetricsOverride", size), ("Emulation.setEmulatedMedia", media)] {
            self.command("/goog/cdp/execute", &json!({"cmd": cmd, "params": params})).await;
        }
    }

    /// Pictures of the page as it is, for people, in `target/tmp`; and nothing sticks out of it.
    pub(crate) async fn shoot(&self, name: &str) {
        for look in [Look::DarkPhone, Look::Light] {
            self.look(look).await;
            let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(self.run(over).await, 0, "{name} is too wide: {look:?}");
            let request = self.http.get(format!("{}/screenshot", self.session));
            let picture = self.value("/screenshot", request).await;
            let picture = BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap();
            let look = format!("{look:?}").to_lowercase();
            std::fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{look}.png")), picture)
                .unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that is killed leaves its browser behind; one that is told to end takes it along.
        let close = self.http.delete(&self.session);
        tokio::task::block_in_place(|| {
            let _ = tokio::runtime::Handle::current().block_on(tokio::time::timeout(PATIENCE, close.send()));
        });
    }
}

//! IDM's own web page, unchanged, in a browser, with the gate between it and IDM.
//!
//! That page (ForgeRock's end-user UI, Vue) is not ours to keep, so `web_client/` stands in for it: written from what the
//! page was seen to do, with the same fields, the same requests in the same order, the same headers and bodies, and the
//! same faults, such as two posts for one Enter and a link that is parsed by replacing characters. So that it can be
//! trusted, the stories hold for the page itself as well: `RESETGATE_WEB_CLIENT=folder` has them walk whatever was built
//! from its sources into that folder.

mod away;
mod captcha;
mod policies;
mod questions;
mod walk;

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use crate::support::{
    driver::Browser,
    setup::{Around, Files, Gate, Plan},
    tap::Tap,
    upstream::{Seen, Upstream},
};

/// What a person sees, whichever of the two pages it is.
const QUERY: &str = "document.querySelector('input[name=mail]')";
const SENT: &str = "document.body.innerText.includes('An email has been sent to your inbox')";
/// With all rules of the policy. What is typed before they are there may be passed over.
const CHOOSE: &str =
    "document.querySelector('input[name=password]') && document.querySelectorAll('#app li').length === 3";
const DONE: &str = "document.body.innerText.includes('Your password has been reset.')";
const FAILED: &str = "document.body.innerText.includes('Error resetting your password')";
const LOGIN: &str = "document.querySelector('input[name=username]')";
const SECURE: &str = "document.body.innerText.includes('Your password is secure!')";
/// The rules that it shows as not met.
const UNMET: &str =
    "[...document.querySelectorAll('#app li:not(.fr-valid)')].map((line) => line.innerText.trim()).join()";
const BUTTON: &str = "#app .btn-primary";

/// The page's files, by their paths.
fn pages() -> HashMap<String, Vec<u8>> {
    match std::env::var_os("RESETGATE_WEB_CLIENT") {
        None => [
            ("/index.html", include_str!("web_client/index.html")),
            ("/client.js", include_str!("web_client/client.js")),
        ]
        .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
        .into(),
        Some(folder) => fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap())
            .filter(|file| file.file_type().unwrap().is_file())
            .map(|file| (format!("/{}", file.file_name().to_str().unwrap()), fs::read(file.path()).unwrap()))
            .collect(),
    }
}

fn file(path: &str, bytes: &[u8]) -> Vec<u8> {
    let kind = match Path::new(path).extension().and_then(|end| end.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => "text/plain",
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", bytes.len());
    [head.as_bytes(), bytes].concat()
}

/// The same request, and the answer to its last byte.
fn forward(seen: &Seen, server: SocketAddr) -> Vec<u8> {
    tokio::task::block_in_place(|| {
        let head = String::from_utf8(seen.head.clone()).unwrap();
        let last = [head.trim_end(), "\r\nconnection: close\r\n\r\n"].concat();
        let (mut server, mut answer) = (TcpStream::connect(server).unwrap(), Vec::new());
        server.write_all(&[last.as_bytes(), &seen.body].concat()).unwrap();
        server.read_to_end(&mut answer).unwrap();
        answer
    })
}

/// Whether IDM lets everyone ask for its policy, as it does when its own reset is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Open,
    Closed,
}

struct World {
    around: Around,
    gate: Gate,
    /// What the browser sent.
    tap: Tap,
    /// What the gate let through to IDM's web server.
    site: Upstream,
    /// Where the page is.
    home: String,
}

impl World {
    async fn start(policy: Policy, edit: impl FnOnce(&mut Plan), process: impl FnOnce(String) -> String) -> Self {
        let around = Around::start().await;
        let (pages, idm) = (pages(), around.upstream.address);
        let site = Upstream::answering(move |seen| {
            let target = seen.target();
            let path = if target == "/" { "/index.html" } else { target.as_str() };
            match pages.get(path) {
                Some(bytes) => file(path, bytes),
                None if policy == Policy::Closed && path.starts_with("/openidm/policy/") => {
                    let body = r#"{"code":403,"reason":"Forbidden","message":"Access denied"}"#;
                    let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n";
                    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
                }
                None => forward(seen, idm),
            }
        })
        .await;
        let tap = Tap::start().await;
        let mut plan = Plan { upstream: format!("http://{}", site.address), ..around.plan() };
        edit(&mut plan);
        let files = Files::of(&plan);
        let home = format!("http://{}/", tap.address);
        let text = include_str!("../../conf/selfservice-reset.json").replace("https://id.example.com/", &home);
        files.write("selfservice-reset.json", &process(text));
        let gate = Gate::run(files, &[]).await;
        tap.lead_to(gate.address);
        Self { around, gate, tap, site, home }
    }

    async fn usual() -> Self {
        Self::start(Policy::Open, |_| {}, |text| text).await
    }

    /// Begins a reset, and types that into the first form.
    async fn ask(&self, browser: &Browser, mail: &str) {
        // A browser that is there already does not load the page anew for another fragment.
        browser.open("about:blank").await;
        browser.open(&format!("{}#/passwordreset", self.home)).await;
        browser.until(QUERY).await;
        browser.fill("input[name=mail]", mail).await;
    }

    /// The link of the `nth` mail.
    async fn link(&self, nth: usize) -> String {
        let mail = self.around.mail(nth).await;
        mail.links.iter().find(|link| link.contains("&token=")).unwrap().clone()
    }

    async fn follow(&self, browser: &Browser, link: &str) {
        browser.open("about:blank").await;
        browser.open(link).await;
    }

    /// `submitRequirements`, in their order.
    fn posts(&self) -> Vec<Seen> {
        self.tap.seen("/openidm/selfservice/reset?").into_iter().filter(|seen| seen.method() == "POST").collect()
    }
}

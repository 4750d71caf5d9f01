//! The page that the mailed link leads to: it walks the whole reset in a browser. Three files, nothing from elsewhere.

use hyper::StatusCode;

use super::http::{self, Answer};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Whether the page has such a file.
pub(super) fn has(name: &str) -> bool {
    matches!(name, "app.css" | "app.js")
}

/// A file of the page; `/` is the page itself.
pub(super) fn file(name: &str) -> Answer {
    match name {
        "/" => http::file("text/html; charset=utf-8", HTML),
        "app.css" => http::file("text/css; charset=utf-8", STYLE),
        "app.js" => http::file("text/javascript; charset=utf-8", SCRIPT),
        _ => http::error(StatusCode::NOT_FOUND, "Not found"),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_nothing_from_elsewhere_and_needs_nothing_inline() {
        for text in [HTML, STYLE, SCRIPT] {
            for bad in
                ["://", "<style", " style=", " onclick=", "innerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(bad), "{bad}");
            }
        }
        assert_eq!(HTML.matches("<script").count(), 1);
        for name in ["app.css", "app.js"] {
            assert!(has(name) && HTML.contains(&format!("\"/{name}\"")));
        }
    }

    #[test]
    fn its_files_are_typed_and_kept_apart_from_other_sites() {
        for (name, content_type) in [("/", "text/html"), ("app.css", "text/css"), ("app.js", "text/javascript")] {
            let answer = file(name);
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(content_type));
            assert!(answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        }
        assert_eq!(file("x").status(), StatusCode::NOT_FOUND);
    }
}

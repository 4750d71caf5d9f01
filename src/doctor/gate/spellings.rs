//! The reset path as a stranger may spell it: each is one that some server reads as the path itself.

use std::collections::HashSet;

/// All of them. None is the path itself.
pub(super) fn spellings(path: &str) -> Vec<Vec<u8>> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.last().copied().unwrap_or_default();
    let parent = path.strip_suffix(last).unwrap_or_default();
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let first = encoded(last.get(..1).unwrap_or_default());
    let rest = last.get(1..).unwrap_or_default();
    let wide: String = last.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c)).collect();
    let doubled = path.replace('/', "//");
    let dotted = path.replace('/', "/./");
    let semi = segments.iter().map(|segment| format!("/{segment};a=b")).collect::<String>();
    let texts = [
        // What is put after it.
        format!("{path}/"),
        format!("{path}//"),
        format!("{path}/."),
        format!("{path}/x/.."),
        format!("{path};jsessionid=1"),
        format!("{path};"),
        format!("{path}?_action=submitRequirements"),
        format!("{path}/?x"),
        format!("{path}#x"),
        format!("{path}%20"),
        format!("{path}%00"),
        format!("{path}%0d%0a"),
        format!("{path}%3f"),
        format!("{path}%23"),
        format!("{path}."),
        // And before it.
        format!("/{path}"),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/x/%2e%2e{path}"),
        format!("/..;{path}"),
        format!("{parent}y/../{last}"),
        // Between its segments.
        doubled,
        dotted,
        semi,
        format!("{}%2f{last}", parent.trim_end_matches('/')),
        format!("{}%5c{last}", parent.trim_end_matches('/')),
        format!("{}%252f{last}", parent.trim_end_matches('/')),
        path.replace('/', "\\"),
        // Its letters.
        format!("{parent}{first}{rest}"),
        format!("{parent}%25{}{rest}", first.trim_start_matches('%')),
        format!("{parent}{}", encoded(last)),
        format!("/{}", encoded(path.trim_start_matches('/')).replace("%2f", "/")),
        format!("{parent}{}", last.to_ascii_uppercase()),
        path.to_ascii_uppercase(),
        format!("{parent}{}", encoded(&wide)),
        format!("{parent}{last}%c2%ad"),
        format!("{parent}%u00{}{rest}", first.trim_start_matches('%')),
        format!("{parent}%c0%ae/{last}"),
        // Other forms of a target (RFC 9112 §3.2).
        path.trim_start_matches('/').to_owned(),
        format!("http://elsewhere.invalid{path}"),
    ];
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    all.push(format!("{parent}{wide}").into_bytes());
    all.push(format!("{path}\t").into_bytes());
    // Those of a path with one segment are fewer.
    let mut told = HashSet::new();
    all.retain(|target| told.insert(target.clone()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::route::{Route, Router};

    #[test]
    fn each_is_another_and_none_passes() {
        for path in ["/openidm/selfservice/reset", "/r"] {
            let all = spellings(path);
            assert!(all.len() > 36, "{}", all.len());
            let router = Router::new(path);
            for (at, target) in all.iter().enumerate() {
                let shown = String::from_utf8_lossy(target);
                assert_ne!(target, path.as_bytes());
                assert!(!matches!(router.route(target, Some(b"h")), Route::Pass { .. }), "{shown}");
                assert!(!all[..at].contains(target), "{shown} twice");
            }
        }
    }
}

use proptest::prelude::*;

use super::{super::reading::tests::disguise, *};

const PATH: &str = "/openidm/selfservice/reset";

fn route(target: &str) -> Route<'_> {
    Router::new(PATH).route(target.as_bytes(), Some(b"idm.example.com"))
}

#[test]
fn the_reset_path_is_ours() {
    for (target, query) in [
        ("/openidm/selfservice/reset", ""),
        ("/openidm/selfservice/reset/", ""),
        ("/openidm/selfservice/reset?", ""),
        ("/openidm/selfservice/reset?_action=submitRequirements", "_action=submitRequirements"),
        ("/openidm/selfservice/reset/?_action=x&a=/../b", "_action=x&a=/../b"),
        ("/openidm/selfservice/reset?a?b", "a?b"),
        ("/openidm/selfservice/reset#x", ""),
        ("http://idm.example.com/openidm/selfservice/reset?a", "a"),
        ("HTTPS://IDM.example.com/openidm/selfservice/reset", ""),
    ] {
        assert_eq!(route(target), Route::Intercept { query: query.as_bytes() }, "{target}");
    }
}

#[test]
fn the_page_of_the_policy_is_ours_where_it_is_and_in_one_spelling() {
    const PAGE: &str = "/openidm/policy/selfservice/reset";
    let deny = [PathPattern { path: "/openidm/policy".to_owned(), below: true }];
    let ours = Router::new(PATH).telling_policy_at(Some(PAGE));
    let guarded = Router::new(PATH).telling_policy_at(Some(PAGE)).denying(&deny);
    let of = |router: &Router, target: &'static str| router.route(target.as_bytes(), Some(b"idm.example.com"));
    for (target, query) in [
        ("/openidm/policy/selfservice/reset", ""),
        ("/openidm/policy/selfservice/reset/?_action=validateObject", "_action=validateObject"),
        ("http://idm.example.com/openidm/policy/selfservice/reset?a#b", "a"),
    ] {
        assert_eq!(of(&ours, target), Route::Policy { query: query.as_bytes() }, "{target}");
        assert_eq!(of(&guarded, target), Route::Policy { query: query.as_bytes() }, "{target}");
        assert!(matches!(route(target), Route::Pass { .. }), "{target}");
    }
    for target in [
        "/openidm/policy/selfservice/reset//",
        "/openidm/policy/selfservice/RESET",
        "/openidm/policy/selfservice/%72eset",
        "/openidm/policy/selfservice/reset/x",
        "/openidm/x/../policy/selfservice/reset",
    ] {
        assert!(matches!(of(&ours, target), Route::Pass { .. }), "{target}");
        assert_eq!(of(&guarded, target), Route::Reject(Why::Denied), "{target}");
    }
    assert!(matches!(of(&ours, PATH), Route::Intercept { .. }));
}

/// Spellings that some reader takes for the reset path, and what lies below it.
const DISGUISED: &[&str] = &[
    // below
    "/openidm/selfservice/reset/x",
    "/openidm/selfservice/reset/x.css",
    "/openidm/selfservice/reset//x",
    "/openidm/selfservice/reset/../reset",
    "/openidm/selfservice/reset/../../managed/user",
    // empty and dot segments
    "//openidm/selfservice/reset",
    "/openidm//selfservice/reset",
    "/openidm/selfservice//reset",
    "/openidm/selfservice/reset//",
    "///openidm///selfservice///reset///",
    "//idm.example.com/openidm/selfservice/reset",
    "//x//openidm/selfservice/reset",
    "/./openidm/selfservice/reset",
    "/openidm/./selfservice/reset",
    "/openidm/selfservice/reset/.",
    "/openidm/selfservice/reset/./",
    "/openidm/selfservice/./././reset",
    "/../openidm/selfservice/reset",
    "/x/../openidm/selfservice/reset",
    "/openidm/x/../selfservice/reset",
    "/openidm/x/y/../../selfservice/reset",
    "/openidm/selfservice/registration/../reset",
    "/openidm/selfservice/../selfservice/reset",
    "/openidm/managed/../../openidm/selfservice/reset",
    "/openidm/%2e/selfservice/reset",
    "/openidm/x/%2e%2e/selfservice/reset",
    "/openidm/x/.%2e/selfservice/reset",
    "/openidm/x/%2E./selfservice/reset",
    "/openidm/x/%252e%252e/selfservice/reset",
    "/openidm/x/..;/selfservice/reset",
    "/openidm/x/..;a=b/selfservice/reset",
    "/openidm/x/%2e%2e;/selfservice/reset",
    "/openidm/x/..%3b/selfservice/reset",
    "/openidm/x/..%00/selfservice/reset",
    "/openidm/a%2fb/../selfservice/reset",
    "/openidm/a%2fb/../../selfservice/reset",
    "/openidm/x%2f../selfservice/reset",
    "/openidm/x/..%2fselfservice/reset",
    "/openidm/x/%c0%ae%c0%ae/selfservice/reset",
    "/openidm/x/%c0%2e%c0%2e/selfservice/reset",
    "/openidm/x/%e0%80%ae%e0%80%ae/selfservice/reset",
    "/openidm/x/%f0%80%80%ae%f0%80%80%ae/selfservice/reset",
    "/openidm/x/%u002e%u002e/selfservice/reset",
    // separators
    "/openidm%2fselfservice%2freset",
    "/openidm%2Fselfservice/reset",
    "/openidm/selfservice%2freset",
    "%2fopenidm/selfservice/reset",
    "/%2fopenidm/selfservice/reset",
    "/openidm%5cselfservice/reset",
    "/openidm/selfservice%5Creset",
    "/openidm%252fselfservice/reset",
    "/openidm%c0%afselfservice/reset",
    "/openidm%c0%2fselfservice/reset",
    "/openidm%c1%9cselfservice/reset",
    "/openidm%u2215selfservice/%72eset",
    "/openidm%ef%bc%8fselfservice/reset",
    "/openidm%ef%bc%bcselfservice/reset",
    "/openidm/selfservice/reset%2f",
    "/openidm/selfservice/reset%2fx",
    // letters
    "/openidm/selfservice/%72eset",
    "/openidm/selfservice/rese%74",
    "/%6fpenidm/selfservice/reset",
    "/openidm/%73%65%6c%66%73%65%72%76%69%63%65/reset",
    "/%6F%70%65%6E%69%64%6D/selfservice/reset",
    "/openidm/selfservice/%2572eset",
    "/openidm/selfservice/%252572eset",
    "/openidm/selfservice/%25252572eset",
    "/openidm/selfservice/%u0072eset",
    "/openidm/selfservice/%U0072eset",
    "/openidm/selfservice/%25u0072eset",
    "/openidm/selfservice/RESET",
    "/OpenIDM/selfservice/reset",
    "/OPENIDM/SELFSERVICE/RESET/",
    "/openidm/selfService/reset",
    "/openidm/selfservice/%52eset",
    "/openidm/selfservice/%c1%b2eset",
    "/openidm/selfservice/%c1%f2eset",
    "/openidm/selfservice/%c1%72eset",
    "/openidm/selfservice/%e0%41%72eset",
    "/openidm/selfservice/%f8%80%80%81%b2eset",
    "/openidm/selfservice/%fc%80%80%80%81%b2eset",
    "/openidm/selfservice/%ef%bd%92eset",
    "/openidm/selfservice/%EF%BC%B2%EF%BC%A5set",
    "/openidm/selfservice/%uFF52eset",
    "/openidm/selfservice/%E2%93%A1eset",
    "/openidm/selfserv%C4%B1ce/reset",
    "/openidm/selfserv%C4%B0ce/reset",
    "/openidm/%C5%BFelfservice/reset",
    "/openidm/selfservice/re%c2%adset",
    "/openidm/selfservice/re%e2%80%8bset",
    "/openidm/selfservice/re%ef%bb%bfset",
    "/openidm/selfservice/re%09set",
    "/openidm/selfservice/re%00set/../reset",
    "/openidm/selfservice/%%c2%ad72eset",
    "/o%c1%u0025b0enidm/selfservice/reset",
    "/openidm/s%c1%c0%a5a5lfservice/reset",
    "/openidm/sel%c1%c2%ad%a6service/reset",
    // parameters and cuts
    "/openidm/selfservice/reset;",
    "/openidm/selfservice/reset;jsessionid=1",
    "/openidm/selfservice/reset;a=b;c=d/",
    "/openidm;a=b/selfservice/reset",
    "/openidm;a%2fb/selfservice/reset",
    "/openidm;a%2fb/%73elfservice/reset",
    "/;x/openidm/selfservice/reset",
    "/openidm/selfservice%3bx/reset",
    "/openidm/selfservice/reset%3bx",
    "/openidm/selfservice/reset%253bx",
    "/openidm/selfservice/reset%00",
    "/openidm/selfservice/reset%00.css",
    "/openidm%00%2fx/selfservice/reset",
    "/openidm/selfservice/reset%3f",
    "/openidm/selfservice/reset%3f_action=submitRequirements",
    "/openidm/selfservice/reset%23",
    "/openidm/selfservice/reset%23x",
    "/openidm/selfservice/reset%2500",
    "/openidm/selfservice/reset%20x",
    "/openidm/selfservice/reset%0d%0ax",
    "/openidm/selfservice/reset|",
    "/openidm/selfservice/reset{x}",
    "/openidm/selfservice/reset%22x",
    "/openidm/selfservice/rese%7",
    "/openidm/selfservice/rese%7/",
    "/openidm/selfservice/%7Ieset",
    "/openidm/self%zzervice/reset",
    // trimming
    "/openidm/selfservice/reset.",
    "/openidm/selfservice/reset...",
    "/openidm/selfservice/reset%2e",
    "/openidm/selfservice/reset%20",
    "/openidm/selfservice/reset%09",
    "/openidm/selfservice/reset%0d%0a",
    "/openidm/selfservice/reset+",
    "/openidm/selfservice/%20reset",
    "/openidm/selfservice/reset%c2%a0",
    "/openidm/selfservice./reset",
    "/openidm%20/selfservice/reset",
    "/openidm/selfservice/reset.%20.",
    "http://idm.example.com//openidm/selfservice/reset",
    "http://idm.example.com/openidm/selfservice/%72eset",
];

#[test]
fn no_disguise_passes() {
    assert!(DISGUISED.len() >= 90, "{}", DISGUISED.len());
    for target in DISGUISED.iter().filter(|target| target.starts_with('/') || target.starts_with("http")) {
        assert_eq!(route(target), Route::Reject(Why::Disguised), "{target}");
        let with_query = format!("{target}?_action=submitRequirements");
        assert_eq!(route(&with_query), Route::Reject(Why::Disguised), "{target}");
    }
}

#[test]
fn what_is_not_the_reset_path_passes_as_it_came() {
    for target in [
        "/",
        "/?",
        "/openidm",
        "/openidm/",
        "/openidm/selfservice",
        "/openidm/selfservice/",
        "/openidm/selfservice/registration",
        "/openidm/selfservice/username?_action=submitRequirements",
        "/openidm/selfservice/resetX",
        "/openidm/selfservice/reset.json",
        "/openidm/selfservice/reset-password",
        "/openidm/selfservice/reset%58",
        "/openidm/policy/selfservice/reset",
        "/openidm/policy/selfservice/reset/?_action=validateObject",
        "/openidm/policy/selfservice%2freset",
        "/openidm/config/selfservice/reset",
        "/x/openidm/selfservice/reset",
        "/selfservice/reset",
        "/reset",
        "/openidm/managed/user/a%2Fb%2fc",
        "/openidm/managed/user/%2e%2e%2fx",
        "/openidm/managed/user/a%3bb;c=d//e/./f",
        "/openidm/managed/user/%E7%94%A8%E6%88%B7",
        "/openidm/managed/user/100%25",
        "/openidm/managed/user/100%",
        "/openidm/selfservice/%25",
        "/openidm/selfservice/%2525",
        "/openidm/managed/user/a'b\"c<d>{e}|f^`",
        "/openidm/managed/user?_queryFilter=/openidm/selfservice/reset",
        "/a?x=\u{e4}",
    ] {
        assert_eq!(route(target), Route::Pass { target: target.as_bytes() }, "{target}");
    }
    assert_eq!(route("http://idm.example.com/a?b"), Route::Pass { target: b"/a?b" });
}

#[test]
fn targets_that_readers_disagree_on_are_refused() {
    for target in [
        "",
        "*",
        "openidm/selfservice/reset",
        "\\openidm\\selfservice\\reset",
        "/openidm\\selfservice\\reset",
        "?a",
        "%2fopenidm/selfservice/reset",
        ".",
        "idm.example.com:80",
        "http:/openidm/selfservice/reset",
        "http:///openidm/selfservice/reset",
        "http://other.example.com/",
        "http://idm.example.com",
        "http://idm.example.com?x",
        "http://idm.example.com:8080/",
        "http://user@idm.example.com/",
        "http://idm.example.com\\openidm/selfservice/reset",
        "ftp://idm.example.com/",
        "//\\x",
        "/a b",
        "/a\tb",
        "/a\0",
        "/a\u{7f}",
        "/\u{ff52}eset",
        "/a?b c",
        "/a?b\r\nc",
    ] {
        assert_eq!(route(target), Route::Reject(Why::Malformed), "{target:?}");
    }
    let router = Router::new(PATH);
    assert_eq!(router.route(b"http://idm.example.com/", None), Route::Reject(Why::Malformed));
    assert_eq!(router.route(b"http:///", Some(b"")), Route::Reject(Why::Malformed));
    let longest = format!("/{}", "a".repeat(MAX_TARGET - 1));
    assert_eq!(route(&longest), Route::Pass { target: longest.as_bytes() });
    let long = vec![b'/'; MAX_TARGET + 1];
    assert_eq!(router.route(&long, None), Route::Reject(Why::TooLong));
}

#[test]
fn other_paths_can_be_guarded() {
    let router = Router::new("/Reset");
    assert_eq!(router.route(b"/Reset", None), Route::Intercept { query: b"" });
    assert_eq!(router.route(b"/reset", None), Route::Reject(Why::Disguised));
    assert_eq!(
        router.route(b"/openidm/selfservice/reset", None),
        Route::Pass { target: b"/openidm/selfservice/reset" }
    );
    let deep = Router::new("/1/2/3/4/5/6/7/8/9/10");
    assert_eq!(deep.route(b"/1/2/3/4/5/6/7/8/9/10/", None), Route::Intercept { query: b"" });
    assert_eq!(deep.route(b"/1/2/3/4/5/6/7/%38/9/10", None), Route::Reject(Why::Disguised));
    assert_eq!(deep.route(b"/1/2/3/4/5/6/7", None), Route::Pass { target: b"/1/2/3/4/5/6/7" });
}

/// A gate whose reset is elsewhere, and that denies what the others guard.
fn denying(below: bool) -> Router {
    Router::new("/elsewhere/reset").denying(&[PathPattern { path: PATH.to_owned(), below }])
}

#[test]
fn what_is_denied_is_read_as_the_reset_path_is() {
    for target in DISGUISED.iter().chain(&[PATH]) {
        let routed = denying(true).route(target.as_bytes(), Some(b"idm.example.com"));
        assert!(matches!(routed, Route::Reject(Why::Denied | Why::Malformed)), "{target}: {routed:?}");
    }
    assert_eq!(denying(false).route(b"/openidm/selfservice/%72eset", None), Route::Reject(Why::Denied));
    let below = b"/openidm/selfservice/reset/x";
    assert_eq!(denying(false).route(below, None), Route::Pass { target: below });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_chain_of_disguises_of_a_denied_path_is_denied(
        chain in prop::collection::vec((0u8..26, 0usize..64), 0..=4),
        below: bool,
    ) {
        let mut path = PATH.to_owned();
        for (how, at) in &chain {
            // What lies below is another path to a pattern that does not hold it.
            let how = if !below && *how >= 19 { how + 1 } else { *how };
            path = disguise(&path, how, *at);
        }
        // What takes too long to read is refused before anybody knows which path it is.
        let routed = denying(below).route(path.as_bytes(), None);
        prop_assert!(matches!(routed, Route::Reject(_)), "{path}: {routed:?}");
    }

    #[test]
    fn neighbours_of_a_denied_path_pass_as_they_are(
        path in r"(/(openidm|selfservice|managed|reset[A-Za-z]|user|%2[eEfF]|;[a-f]{0,4}|\.{1,3}|[a-mA-M0-9.;:@~_-]{1,12})){1,12}",
        below: bool,
    ) {
        let target = path.as_bytes();
        prop_assert_eq!(denying(below).route(target, None), Route::Pass { target });
    }
}

#[test]
fn an_authority_is_made_as_a_host_and_a_port_are() {
    for host in ["", "idm.example.com", "idm_1.example:8443", "[2001:db8::1]:80", "a%2db~"] {
        assert!(is_authority(host.as_bytes()), "{host}");
    }
    for host in ["a@b", "a/b", "a b", "a,b", "a?b", "a#b", "a\\b", "\"a\"", "\u{e9}"] {
        assert!(!is_authority(host.as_bytes()), "{host}");
    }
}

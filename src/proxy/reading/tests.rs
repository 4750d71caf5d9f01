use proptest::prelude::*;

use super::*;

const PATH: &str = "/openidm/selfservice/reset";

fn claims(path: &[u8]) -> bool {
    Guard::new(PATH).claims(path)
}

/// One way to disguise a path; `at` picks the place.
pub(in crate::proxy) fn disguise(path: &str, how: u8, at: usize) -> String {
    let slashes: Vec<usize> = path.match_indices('/').map(|(i, _)| i).collect();
    let slash = slashes.get(at % slashes.len().max(1)).copied().unwrap_or(0);
    let insert = |what: &str, place: usize| format!("{}{what}{}", &path[..place], &path[place..]);
    let char_at = at % path.len();
    let recode = |code: &dyn Fn(u8) -> String| {
        let byte = path.as_bytes()[char_at];
        let keep = byte == b'/' || byte == b';' || path.contains(';');
        if keep { path.to_owned() } else { format!("{}{}{}", &path[..char_at], code(byte), &path[char_at + 1..]) }
    };
    match how {
        0 => recode(&|byte| format!("%{byte:02x}")),
        1 => path.bytes().map(|byte| if byte == b'/' { "/".into() } else { format!("%{byte:02X}") }).collect(),
        2 => recode(&|byte| format!("%u00{byte:02x}")),
        3 => recode(&|byte| format!("%{:02x}%{:02x}", 0xc0 | byte >> 6, 0x80 | byte & 0x3f)),
        4 => recode(&|byte| format!("%e0%{:02x}%{:02x}", 0x80 | byte >> 6, 0x80 | byte & 0x3f)),
        5 => recode(&|byte| {
            let wide = char::from_u32(0xfee0 + u32::from(byte)).unwrap().to_string();
            wide.bytes().map(|byte| format!("%{byte:02x}")).collect()
        }),
        6 => path.to_ascii_uppercase().replace("%U", "%u"),
        7 => insert("/", slash),
        8 => insert("/.", slash),
        9 => insert("/x/..", slash),
        10 => insert("/x/%2e%2e", slash),
        11 if slash > 0 => insert(";a=b", slash),
        12 if slash > 0 => insert(";a%2fb", slash),
        13 => format!("{path};jsessionid=1"),
        14 => format!("{path}%00x"),
        15 => format!("{path}%20"),
        16 => format!("{path}."),
        17 => format!("{path}%3fa"),
        18 => format!("{path}/"),
        19 => format!("{path}/x"),
        20 => insert("%c2%ad", char_at.max(1)),
        // Behind parameters, an encoded slash belongs to them: that is another path.
        21 if !path.contains(';') => path.replacen('/', "%2f", at % 3 + 1).replacen("%2f", "/", 1),
        22 if !path.contains(';') => path.replacen('/', "%5c", at % 3 + 1).replacen("%5c", "/", 1),
        23 => path.replace('%', "%25"),
        24 if slash > 0 => insert("%20", slash),
        25 if slash > 0 => insert("%09.", slash),
        _ => format!("/..{path}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn every_chain_of_disguises_is_seen_through(chain in prop::collection::vec((0u8..27, 0usize..64), 0..=4)) {
        let mut path = PATH.to_owned();
        for (how, at) in &chain {
            path = disguise(&path, *how, *at);
        }
        prop_assert!(claims(path.as_bytes()), "{path}");
    }

    /// All but the one that goes below.
    #[test]
    fn a_path_alone_is_seen_through_its_disguises(chain in prop::collection::vec((0u8..26, 0usize..64), 0..=4)) {
        let mut path = PATH.to_owned();
        for (how, at) in chain.iter().map(|(how, at)| (if *how >= 19 { how + 1 } else { *how }, at)) {
            path = disguise(&path, how, *at);
        }
        prop_assert!(Guard::alone(PATH).claims(path.as_bytes()), "{path}");
    }

    /// What is guarded alone is never more than what is guarded with all below.
    #[test]
    fn alone_is_less(path in r"(/(openidm|selfservice|reset|\.\.?|%2e|x|;a|%2f|%00|)){0,8}") {
        prop_assert!(claims(path.as_bytes()) || !Guard::alone(PATH).claims(path.as_bytes()), "{path}");
    }

    /// What is seen at a glance is what every reader would see.
    #[test]
    fn no_reader_finds_more_than_a_glance(
        path in r"(/|openidm|selfService|RESET|res|et|\\|\.{1,2}|;|\+|\?|#|\||%72|x| ){0,16}"
    ) {
        for guard in [Guard::new(PATH), Guard::alone(PATH), Guard::new("/"), Guard::new("/reset")] {
            prop_assert_eq!(guard.claims(path.as_bytes()), guard.is_in_some_reading(path.as_bytes()), "{}", path);
        }
    }

    #[test]
    fn paths_without_the_words_are_not_claimed(
        path in r"(/(openidm|selfservice|managed|reset[A-Za-z]|user|%2[eEfF]|%25[2-3][0-9a-f]|%5c|;[a-f%]{0,4}|\.{1,3}|[a-mA-M0-9.;:@~_-]{0,12})){0,12}"
    ) {
        // "reset" itself is never among the segments: one letter follows it, and no escape spells a letter of it.
        prop_assert!(!claims(path.as_bytes()), "{path}");
    }

    #[test]
    fn ids_of_any_letters_pass(id in r"\PC{0,64}") {
        let id: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/openidm/managed/user/{id}");
        prop_assert!(!claims(path.as_bytes()));
    }

    #[test]
    fn any_bytes_are_judged(path in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = claims(&path);
    }
}

/// However a target is made, judging it stays cheap.
#[test]
fn effort_is_bounded() {
    let started = std::time::Instant::now();
    for unit in ["%25252525252525", "%;", "/..;%2e", "%c2%ad;%3b", "a;%3b%253b%c2%ad/", "%ef%bc%85", "%2f..", "/"] {
        let _ = claims(format!("/openidm/{}", unit.repeat(8192 / unit.len())).as_bytes());
    }
    assert!(started.elapsed().as_millis() < 2000, "{:?}", started.elapsed());
}

/// What takes too much effort is claimed, whatever it says.
#[test]
fn what_cannot_be_judged_is_claimed() {
    let nested = |levels| -> String {
        (0..levels).map(|level| "%c5%bf".replace('%', &format!("%{}", "25".repeat(level)))).collect()
    };
    assert!(!claims(format!("/openidm/{}", nested(2)).as_bytes()));
    assert!(claims(format!("/openidm/{}", nested(9)).as_bytes()));
}

/// A long but ordinary path is not an attack.
#[test]
fn long_paths_pass() {
    for unit in ["%E7%94%A8", "a/", "%2F", "%25", "x;y=z/", "%252F"] {
        let path = format!("/openidm/managed/{}", unit.repeat(8000 / unit.len()));
        assert!(!claims(path.as_bytes()), "{unit}");
    }
}

#[test]
fn what_is_guarded_alone_leaves_what_is_below() {
    let alone = Guard::alone(PATH);
    for (rest, claimed) in [
        ("", true),
        ("/", true),
        ("//", true),
        ("/.", true),
        ("/x/..", true),
        ("/%2e", true),
        (";a", true),
        (";a/x", true),
        ("%00/x", true),
        ("%3fx", true),
        ("%2f", true),
        ("/x", false),
        ("/x/y/..", false),
        ("%2fx", false),
        ("x", false),
        ("/reset", false),
        ("/openidm/selfservice/reset", false),
    ] {
        assert_eq!(alone.claims(format!("{PATH}{rest}").as_bytes()), claimed, "{rest}");
    }
    for path in ["/openidm/selfservice", "/openidm", "/", "/selfservice/reset", "/x/openidm/selfservice/reset"] {
        assert!(!alone.claims(path.as_bytes()), "{path}");
    }
    let eight = Guard::alone("/1/2/3/4/5/6/7/8");
    assert!(eight.claims(b"/1/2/3/4/5/6/7/%38") && !eight.claims(b"/1/2/3/4/5/6/7/8/9"));
    assert!(!eight.claims(b"/1/2/3/4/5/6/7"));
}

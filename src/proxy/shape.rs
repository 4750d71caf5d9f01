//! What may be said of where a request went: its path as far as its words are the product's own. What comes after those
//! is somebody's name or id, or may be, and is a star. So there are few of them, whatever clients ask for.

use std::fmt;

/// What every known resource lies below, unless the reset path says otherwise.
const ROOT: &str = "/openidm";
/// How the reset path ends, usually.
const USUAL: &str = "/selfservice/reset";

/// The words of IDM's REST interface, each with those before it.
const RESOURCES: [&str; 99] = [
    "/audit",
    "/audit/access",
    "/audit/activity",
    "/audit/authentication",
    "/audit/config",
    "/audit/recon",
    "/audit/sync",
    "/authentication",
    "/cluster",
    "/config",
    "/config/managed",
    "/config/selfservice",
    "/config/sync",
    "/config/ui",
    "/consent",
    "/csv/metadata",
    "/csv/template",
    "/endpoint",
    "/export",
    "/external/email",
    "/external/rest",
    "/file",
    "/health",
    "/health/memory",
    "/health/os",
    "/health/recon",
    "/identityProviders",
    "/info",
    "/info/features",
    "/info/login",
    "/info/ping",
    "/info/uiconfig",
    "/info/version",
    "/internal",
    "/internal/notification",
    "/internal/role",
    "/internal/user",
    "/internal/usermeta",
    "/maintenance",
    "/managed",
    "/managed/alpha_application",
    "/managed/alpha_assignment",
    "/managed/alpha_group",
    "/managed/alpha_organization",
    "/managed/alpha_role",
    "/managed/alpha_user",
    "/managed/application",
    "/managed/assignment",
    "/managed/bravo_application",
    "/managed/bravo_assignment",
    "/managed/bravo_group",
    "/managed/bravo_organization",
    "/managed/bravo_role",
    "/managed/bravo_user",
    "/managed/group",
    "/managed/organization",
    "/managed/role",
    "/managed/user",
    "/metrics/api",
    "/metrics/prometheus",
    "/notification",
    "/policy",
    "/policy/managed/user",
    "/policy/selfservice/registration",
    "/policy/selfservice/reset",
    "/privilege",
    "/profile",
    "/recon",
    "/recon/assoc",
    "/reconcile",
    "/repo",
    "/repo/internal",
    "/repo/link",
    "/repo/reconprogressstate",
    "/scheduler",
    "/scheduler/job",
    "/scheduler/trigger",
    "/schema",
    "/schema/managed",
    "/script",
    "/security",
    "/security/keystore",
    "/security/truststore",
    "/selfservice",
    "/selfservice/kba",
    "/selfservice/progressive",
    "/selfservice/registration",
    "/selfservice/reset",
    "/selfservice/socialUserClaim",
    "/selfservice/terms",
    "/selfservice/trusteddevice",
    "/selfservice/user",
    "/selfservice/username",
    "/sync",
    "/sync/mappings",
    "/system",
    "/taskscanner",
    "/ui",
    "/workflow",
];

/// What else there is beside them.
const PAGES: [&str; 6] = ["/admin", "/api", "/enduser", "/export", "/favicon.ico", "/upload"];

/// Shapes of targets.
#[derive(Debug)]
pub(super) struct Shapes {
    reset: String,
    root: String,
}

/// One shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    root: Root,
    known: &'static str,
    rest: &'static str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Root {
    #[default]
    None,
    /// What the reset path lies below.
    Own,
    /// [`ROOT`]
    Usual,
    /// The reset path, all of it.
    Reset,
}

/// A shape's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a>(&'a Shapes, Shape);

impl Shapes {
    /// For a reset path, which tells what the others lie below.
    pub(super) fn new(reset: &str) -> Self {
        Self { reset: reset.to_owned(), root: reset.strip_suffix(USUAL).unwrap_or(ROOT).to_owned() }
    }

    /// Its text.
    pub(super) const fn show(&self, shape: Shape) -> Shown<'_> {
        Shown(self, shape)
    }

    /// Of a target.
    pub(super) fn of(&self, target: &[u8]) -> Shape {
        let path = target.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default();
        if path == b"/" {
            return Shape { root: Root::None, known: "/", rest: "" };
        }
        let roots = [(Root::Own, self.root.as_str()), (Root::Usual, ROOT)];
        let at = roots.into_iter().find_map(|(root, text)| Some((root, below(path, text)?)));
        let (root, rest, known) = match at {
            Some((root, rest)) => (root, rest, &RESOURCES[..]),
            None => (Root::None, path, &PAGES[..]),
        };
        let fits = |word: &&&str| below(rest, word).is_some();
        // In order: what begins with another comes after it, and most paths are the one before which they would stand, or
        // begin with it.
        let (before, _) = known.split_at(known.partition_point(|word| word.as_bytes() <= rest));
        let same_letter = |word: &&&str| word.as_bytes().get(1) == rest.get(1);
        let longest = before.iter().rev().take_while(same_letter).find(fits).copied().unwrap_or_default();
        let all = rest.len() == longest.len() && !path.is_empty();
        let rest = if all { "" } else { "/*" };
        Shape { root, known: longest, rest }
    }
}

/// What of a path comes after that one, if it lies there.
fn below<'p>(path: &'p [u8], root: &str) -> Option<&'p [u8]> {
    path.strip_prefix(root.as_bytes()).filter(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Of what nobody has looked at.
impl Default for Shape {
    fn default() -> Self {
        Self { root: Root::None, known: "", rest: "/*" }
    }
}

impl Shape {
    /// The reset path's.
    pub(super) const RESET: Self = Self { root: Root::Reset, known: "", rest: "" };
    /// The path of the password policy, with or without a slash at its end.
    pub(super) const POLICY: Self = Self { root: Root::Own, known: "/policy/selfservice/reset", rest: "" };
}

impl<'a> Shown<'a> {
    /// Its text, in parts.
    pub(super) fn parts(self) -> [&'a str; 3] {
        let Self(shapes, Shape { root, known, rest }) = self;
        let root = match root {
            Root::None => "",
            Root::Own => &shapes.root,
            Root::Usual => ROOT,
            Root::Reset => &shapes.reset,
        };
        [root, known, rest]
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().into_iter().try_for_each(|part| f.write_str(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last that fits is the longest.
    #[test]
    fn words_are_in_order() {
        assert!(RESOURCES.is_sorted() && PAGES.is_sorted());
    }

    #[test]
    fn a_path_is_told_as_far_as_its_words_are_known() {
        let shapes = Shapes::new("/openidm/selfservice/reset");
        for (target, shape) in [
            ("/openidm/info/ping", "/openidm/info/ping"),
            ("/openidm/info/ping?x=bjensen", "/openidm/info/ping"),
            ("/openidm/info/ping/", "/openidm/info/ping/*"),
            ("/openidm/info/bjensen", "/openidm/info/*"),
            ("/openidm/managed/user", "/openidm/managed/user"),
            ("/openidm/managed/user/bjensen", "/openidm/managed/user/*"),
            // Somebody may be called like a word.
            ("/openidm/managed/user/user", "/openidm/managed/user/*"),
            ("/openidm/managed/user/reset/_meta/info", "/openidm/managed/user/*"),
            ("/openidm/managed/users", "/openidm/managed/*"),
            ("/openidm/managed/user%2fbjensen", "/openidm/managed/*"),
            ("/openidm/selfservice/%72eset", "/openidm/selfservice/*"),
            ("/openidm", "/openidm"),
            ("/openidm/", "/openidm/*"),
            ("/openidm/bjensen", "/openidm/*"),
            ("/openidmX/info/ping", "/*"),
            ("/", "/"),
            ("/?q", "/"),
            ("//", "/*"),
            ("/admin/", "/admin/*"),
            ("/bjensen", "/*"),
            ("/enduser#bjensen", "/enduser"),
            ("*", "/*"),
            ("", "/*"),
            ("http://id.example.com/openidm", "/*"),
        ] {
            assert_eq!(shapes.show(shapes.of(target.as_bytes())).to_string(), shape, "{target}");
        }
    }

    #[test]
    fn another_root_is_the_reset_paths() {
        let text = |shapes: &Shapes, target: &[u8]| shapes.show(shapes.of(target)).to_string();
        let shapes = Shapes::new("/idm/v2/selfservice/reset");
        assert_eq!(shapes.show(Shape::RESET).to_string(), "/idm/v2/selfservice/reset");
        assert_eq!(text(&shapes, b"/idm/v2/managed/user/bjensen"), "/idm/v2/managed/user/*");
        assert_eq!(text(&shapes, b"/openidm/managed/user/bjensen"), "/openidm/managed/user/*");
        let shapes = Shapes::new("/reset");
        assert_eq!(text(&shapes, b"/openidm/managed/user/bjensen"), "/openidm/managed/user/*");
        assert_eq!(text(&shapes, b"/reset/bjensen"), "/*");
        let shapes = Shapes::new("/selfservice/reset");
        assert_eq!(text(&shapes, b"/managed/user/bjensen"), "/managed/user/*");
        assert_eq!(text(&shapes, b"/"), "/");
        assert_eq!(text(&shapes, b"/bjensen"), "/*");
    }
}

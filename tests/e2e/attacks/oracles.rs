//! What must be true of an outcome.

use std::fmt;

use resetgate::demo::mailbox::Mail;

use super::case::Case;
use crate::support::{answer::Answer, upstream::Seen};

/// All that a case brought about.
pub(super) struct Outcome {
    pub(super) answers: Vec<Answer>,
    /// The target as it was sent.
    pub(super) target: String,
    /// What reached the upstream.
    pub(super) passed: Vec<Seen>,
    pub(super) patches: u64,
    pub(super) stock_resets: u64,
    pub(super) queries: Vec<String>,
    pub(super) lured: usize,
    pub(super) mails: Vec<Mail>,
    /// Whom mail may be for.
    pub(super) addresses: Vec<String>,
    pub(super) keeps_passwords: bool,
    /// Whether the password that was sent is the user's now.
    pub(super) sets_password: Option<bool>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for answer in &self.answers {
            write!(f, "{} {} ", answer.status, answer.body.chars().take(200).collect::<String>())?;
        }
        let passed: Vec<String> = self.passed.iter().map(Seen::line).collect();
        write!(f, "passed {passed:?} patches {} queries {:?} mails {}", self.patches, self.queries, self.mails.len())
    }
}

/// The start of every mailed link: the process file's `verificationLink`.
const BASE: &str = "https://id.example.com/#/passwordreset/&token=";
/// The one answer to every token that is not good.
const GENERIC: &str = r#"{"code":400,"reason":"Bad Request","message":"Snapshot token is invalid"}"#;

/// The names of all that does not hold, of what the case asks for and of what always must.
pub(super) fn failed(case: &Case, outcome: &Outcome) -> Vec<String> {
    let asked = case.expect.oracle.iter().filter(|oracle| !holds(oracle, outcome)).cloned();
    asked
        .chain(always(case, outcome).into_iter().filter(|(_, holds)| !holds).map(|(name, _)| name.to_owned()))
        .collect()
}

fn holds(oracle: &str, outcome: &Outcome) -> bool {
    let answers = || outcome.answers.iter();
    let header = |name: &str| {
        answers()
            .flat_map(|answer| answer.headers.get_all(name))
            .map(|value| value.to_str().unwrap())
            .collect::<String>()
    };
    let from_upstream = !header("x-from").is_empty();
    match oracle {
        "upstream.count(canon=/openidm/selfservice/reset)==0" => {
            outcome.stock_resets == 0 && !outcome.passed.iter().any(|seen| names_the_reset(&seen.target()))
        }
        "upstream.count(method=PATCH)==0" => outcome.patches == 0,
        "upstream.count(method=PATCH)<=1" => outcome.patches <= 1,
        "upstream.patch.password==sent" => outcome.sets_password == Some(true) && outcome.patches == 1,
        "upstream.last.raw_target==sent" => outcome.passed.last().is_some_and(|seen| seen.target() == outcome.target),
        "upstream.last.header_absent(x-original-url,x-rewrite-url)" => {
            let absent = |name| outcome.passed.iter().all(|seen| seen.header(name).is_empty());
            absent("x-original-url") && absent("x-rewrite-url")
        }
        "upstream.last.header_absent(x-http-method-override)" => {
            outcome.passed.iter().all(|seen| seen.header("x-http-method-override").is_empty())
        }
        "resp.from_upstream" => from_upstream,
        "resp.not_from_upstream" => !from_upstream,
        "resp.status!=5xx" => answers().all(|answer| answer.status < 500),
        "resp.status!=304" => answers().all(|answer| answer.status != 304),
        "resp.body_generic" => answers().all(|answer| answer.body == GENERIC),
        "resp.json(type)==resetStage" => answers().all(|answer| answer.json()["type"] == "resetStage"),
        "resp.content_type==application/json" | "resp.header(content-type)~application/json" => {
            header("content-type") == "application/json; charset=UTF-8"
        }
        "resp.header_absent(set-cookie)" => header("set-cookie").is_empty(),
        "resp.header(access-control-allow-origin)!=evil" | "resp.header(access-control-allow-origin)!=null" => {
            header("access-control-allow-origin").is_empty()
        }
        "resp.header(cache-control)~no-store" => header("cache-control").contains("no-store"),
        "resp.header(x-content-type-options)==nosniff" => header("x-content-type-options") == "nosniff",
        "resp.header(referrer-policy)==no-referrer" => header("referrer-policy") == "no-referrer",
        "resp.header(content-security-policy)~default-src 'none'" => {
            header("content-security-policy").contains("default-src 'none'")
        }
        "store.queries.all(shape in cfg.filter_shapes)" => outcome.queries.iter().all(|query| is_plain(query)),
        "store.password_unchanged(victim)" => outcome.keeps_passwords,
        "oob.hits==0" => outcome.lured == 0,
        "mailbox.new==0" => outcome.mails.is_empty(),
        "mailbox.new==1" => outcome.mails.len() == 1,
        "mailbox.new<=1" => outcome.mails.len() <= 1,
        "mailbox.only_to(stored_address)" => outcome.mails.iter().all(|mail| is_for_one_of(mail, &outcome.addresses)),
        "mailbox.every(link.startswith(cfg.base_url))" | "mailbox.every(link.count(token)==1)" => {
            outcome.mails.iter().all(has_our_link)
        }
        "mailbox.none_contains(evil)" => outcome.mails.iter().all(is_untouched),
        // Both are seen at the end, over all cases; memory is measured elsewhere.
        "proc.no_panic" | "proc.rss<cfg.rss_cap" => true,
        other => panic!("no such oracle: {other}"),
    }
}

/// What holds in every case, whatever it asks for.
fn always(case: &Case, outcome: &Outcome) -> Vec<(&'static str, bool)> {
    let ours = || outcome.answers.iter().filter(|answer| !answer.headers.contains_key("x-from"));
    let is_error = |answer: &Answer| {
        let json = answer.json();
        json["code"] == answer.status && json["reason"].is_string() && json["message"].is_string()
    };
    vec![
        ("the stock reset is never reached", outcome.stock_resets == 0),
        ("nothing reaches the upstream", case.passes() || outcome.passed.is_empty()),
        ("no password is set", outcome.patches <= case.patches()),
        ("no server error but 501", ours().all(|answer| answer.status < 500 || answer.status == 501)),
        ("never 401", ours().all(|answer| answer.status != 401)),
        ("no cookie", ours().all(|answer| !answer.headers.contains_key("set-cookie"))),
        ("never cached", ours().all(|answer| answer.headers["cache-control"].to_str().unwrap().contains("no-store"))),
        // An answer to HEAD has none.
        ("errors are JSON", ours().all(|answer| answer.status < 400 || answer.body.is_empty() || is_error(answer))),
        ("nothing is echoed", ours().all(|answer| !is_evil(&answer.body))),
        ("the store is asked plainly", outcome.queries.iter().all(|query| is_plain(query))),
        ("mail goes to whom it is for", outcome.mails.iter().all(|mail| is_for_one_of(mail, &outcome.addresses))),
        ("mails hold our link", outcome.mails.iter().all(has_our_link)),
        ("mails hold no stranger's words", outcome.mails.iter().all(is_untouched)),
    ]
}

/// Whether a stranger's word is in it. Not in what is drawn at random: one token in a thousand has every word of four
/// letters in it.
fn is_evil(text: &str) -> bool {
    const SIGNATURE: usize = 43;
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c));
    words.any(|word| word.len() < SIGNATURE && word.to_ascii_lowercase().contains("evil"))
}

fn names_the_reset(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().to_lowercase();
    decoded.contains("selfservice") && decoded.contains("reset") && !decoded.starts_with("/openidm/policy/")
}

fn is_for_one_of(mail: &Mail, addresses: &[String]) -> bool {
    matches!(mail.to.as_slice(), [to] if addresses.contains(to))
}

fn has_our_link(mail: &Mail) -> bool {
    let ours = |link: &String| {
        link.starts_with(BASE) && link.matches("token=").count() == 1 && link.matches("code=").count() == 1
    };
    !mail.links.is_empty() && mail.links.iter().all(ours)
}

fn is_untouched(mail: &Mail) -> bool {
    let all = format!("{}{:?}{}", mail.text, mail.html, String::from_utf8_lossy(&mail.raw));
    !is_evil(&all) && !mail.links.iter().any(|link| link.contains("ATTACKER"))
}

/// `field eq "…"`, perhaps several with `and` and `or`: nothing that could find more than it names.
fn is_plain(query: &str) -> bool {
    let mut bare = String::new();
    let mut chars = query.chars();
    while let Some(char) = chars.next() {
        if char != '"' {
            bare.push(char);
            continue;
        }
        bare.push_str(" literal ");
        loop {
            match chars.next() {
                Some('\\') => drop(chars.next()),
                Some('"') => break,
                Some(_) => {}
                None => return false,
            }
        }
    }
    let words: Vec<&str> = bare.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    words.split(|word| matches!(*word, "and" | "or")).all(|leaf| matches!(leaf, ["userName" | "mail", "eq", "literal"]))
}

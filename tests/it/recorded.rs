//! Requests that were recorded between a client and the open Java engine, put to the gate: it answers the same, but where
//! it means to differ. Each of those is listed with its reason, and nothing else may differ.
//!
//! Its security questions are in `kba`.

use std::{collections::BTreeSet, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resetgate::demo::store::User;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::support::{
    raw::Raw,
    world::{PATH, Plan, World},
};

/// Requests that are answered otherwise, and alike.
struct Different {
    why: &'static str,
    /// Of errors their message, else their type and tag.
    ours: (u16, &'static str),
    names: &'static [&'static str],
}

const DIFFERENT: &[Different] = &[
    Different {
        why: "Messages are constant, so that nothing a stranger sent comes back, escaped or not",
        ours: (501, "Unknown action"),
        names: &[
            "POST empty _action",
            "POST unknown _action",
            "POST unknown _action no body",
            "POST _action wrong case",
            "POST no _action",
            "POST no _action no body",
            "POST _action=create",
        ],
    },
    Different {
        why: "This engine escapes HTML in JSON, IDM's own does not",
        ours: (400, "Multiple values provided for the single-valued request parameter '_action'"),
        names: &["POST two _action"],
    },
    Different {
        why: "IDM's access rules stand before its engine: none but reading and submitting is for everyone",
        ours: (403, "Access denied"),
        names: &[
            "PUT",
            "PUT no body",
            "PUT If-None-Match *",
            "PUT If-Match *",
            "DELETE",
            "DELETE If-None-Match",
            "PATCH valid",
            "PATCH object body",
            "PATCH empty list",
            "PATCH no body",
            "OPTIONS",
            "TRACE",
            "FOO",
        ],
    },
    Different { why: "HTTP has HEAD wherever it has GET", ours: (200, ""), names: &["HEAD"] },
    Different {
        why: "A header that makes another request of a request would slip past whoever judges by its method",
        ours: (501, "Unknown action"),
        names: &["POST override GET", "POST override PATCH"],
    },
    Different { why: "There is nothing below it", ours: (404, "Not Found"), names: &["POST action on sub-path"] },
    Different {
        why: "A cache before the gate may put conditions on a request; they mean nothing for a step",
        ours: (200, "emailValidation/validateCode"),
        names: &["POST action If-None-Match *", "POST action If-Match \"1\""],
    },
    Different {
        why: "As newer IDM: what a client did wrong is 400 and says where, not an exception",
        ours: (400, "/input/queryFilter: Expecting a value"),
        names: &[
            "POST override POST",
            "input empty object",
            "input string",
            "input list",
            "input number",
            "big integer",
            "missing queryFilter",
            "queryFilter null",
        ],
    },
    Different {
        why: "Likewise",
        ours: (400, "/input/queryFilter: Expecting a java.lang.String"),
        names: &["queryFilter number", "queryFilter object", "queryFilter list", "queryFilter bool"],
    },
    Different {
        why: "Two readers may differ on which of two equal keys counts; JSON is UTF-8 without a byte order mark (RFC 8259 §8.1), and as deep as it needs to be",
        ours: (400, "The request could not be processed because the provided content is not valid JSON"),
        names: &["BOM", "duplicate key", "UTF-16LE body", "deep nesting 1200", "lone surrogate escape", "number 1e999"],
    },
    Different {
        why: "The status that HTTP has for it, with a constant message. Forms of other sites are not read, nor what is packed",
        ours: (415, "The request's content is not 'application/json'"),
        names: &[
            "latin-1 charset param",
            "text/plain",
            "form",
            "application/json-patch+json",
            "application/jsonx",
            "multipart without boundary",
            "multipart json",
            "multipart json part with content-type",
            "empty content-type",
            "gzip Content-Encoding",
        ],
    },
    Different {
        why: "IDM's guard against cross-site requests: another site can have a browser send this",
        ours: (403, "Access denied"),
        names: &["no content-type"],
    },
    Different {
        why: "Parameters that mean nothing here are passed over",
        ours: (200, "emailValidation/validateCode"),
        names: &["_mimeType + _fields", "with querystringParams number"],
    },
    Different {
        why: "A body has a bound",
        ours: (413, "The request is too large"),
        names: &["body 2 MiB of filter", "20000 parens"],
    },
    Different {
        why: "What is no filter is 400, not an exception",
        ours: (400, "Invalid query filter"),
        names: &[
            "not (userName eq \"bjensen\")",
            "userName eq bjensen",
            "userName eq \"bjensen",
            "userName eq",
            "userName",
            "eq \"bjensen\"",
            "",
            " ",
            "userName eq null",
            "userName eq \"bjensen\" )",
            "(userName eq \"bjensen\"",
            "userName eq \"bjensen\" xx",
            "userName eq \"bjensen\" mail eq \"x\"",
            "userName eq \"a\" or",
            "userName\teq\t\"bjensen\"",
            "userName\neq\n\"bjensen\"",
            "userName eq\"bjensen\"",
            "mail in [\"bjensen@example.com\"]",
            "userName in [\"bjensen\",\"x\"]",
            "userName = \"bjensen\"",
            "1000 parens",
        ],
    },
    Different {
        why: "One account's name, or one address: unequal alternatives and negations ask who else is there",
        ours: (400, "Invalid query filter"),
        names: &[
            "userName eq \"a\" or mail eq \"b\"",
            "userName eq \"bjensen\" or mail eq \"zz\"",
            "((userName eq \"bjensen\" or mail eq \"bjensen@example.com\"))",
            "userName eq \"bjensen\" OR mail eq \"x\"",
            "userName eq \"bjensen\"or mail eq \"x\"",
            "userName eq \"a\" and mail eq \"b\" or userName eq \"bjensen\"",
            "userName eq \"bjensen\" or userName eq \"nobody\" and mail eq \"zz\"",
            "long or chain 200",
            "!(userName eq \"bjensen\")",
            "! (userName eq \"bjensen\")",
        ],
    },
    Different {
        why: "Nobody is called that",
        ours: (400, "Invalid query filter"),
        names: &["userName eq true", "userName eq \"\""],
    },
    Different {
        why: "A field has one spelling, but for slashes",
        ours: (400, "Invalid query filter"),
        names: &["user%4eame eq \"bjensen\""],
    },
    Different { why: "Likewise", ours: (400, "Unable to find account"), names: &["//userName eq \"a\""] },
    Different {
        why: "Whether letters' case counts is the store's affair: it does in this one",
        ours: (400, "Unable to find account"),
        names: &["userName eq \"BJENSEN\""],
    },
    Different {
        why: "A number is compared with numbers as it is written",
        ours: (400, "Unable to find account"),
        names: &["mail eq 42.0"],
    },
    Different {
        why: "As newer IDM: no stranger says where an account's mail goes, and what is no address is none",
        ours: (400, "Unable to verify email"),
        names: &["user without mail", "user with empty mail", "user with numeric mail", "mail eq 42"],
    },
];

/// What holds of many, by what was recorded: the outcome it leads to here.
fn differs_by_rule(recorded: &Recorded, ours: &Outcome) -> bool {
    let theirs = &recorded.outcome();
    // A fork's own step: it asks for the parameters of the page's URL before it mails. IDM, and the gate, mail at once.
    let asks = |outcome: &Outcome| outcome.body["requirements"]["properties"].get("querystringParams").is_some();
    if theirs.status == 200 && asks(theirs) {
        return *ours == *MAILED;
    }
    // A parser's own words say what it is, and repeat what was sent.
    let mut short = theirs.clone();
    short.status == 400
        && short.body.as_object_mut().is_some_and(|body| body.shift_remove("detail").is_some())
        && short == *ours
}

/// The answer that was recorded once the mail was sent.
static MAILED: LazyLock<Outcome> = LazyLock::new(|| {
    Recorded::all().into_iter().find(|recorded| recorded.name == "with querystringParams").unwrap().outcome()
});

#[derive(Deserialize)]
struct Recorded {
    name: String,
    method: String,
    /// After the path.
    target: String,
    headers: Map<String, Value>,
    body: Option<String>,
    /// A body that is no text.
    base64: Option<String>,
    /// Pieces that are there so many times, each in the place of an ellipsis.
    #[serde(default)]
    filled: Vec<(String, usize)>,
    status: u16,
    /// With an ellipsis in the place of what differs from one time to the next.
    answer: Value,
}

impl Recorded {
    fn all() -> Vec<Self> {
        [
            include_str!("../data/traces/methods.jsonl"),
            include_str!("../data/traces/bodies.jsonl"),
            include_str!("../data/traces/userquery.jsonl"),
        ]
        .iter()
        .flat_map(|file| file.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
    }

    fn request(&self) -> Vec<u8> {
        let mut head = format!("{} {PATH}{} HTTP/1.1\r\nHost: idm\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {}\r\n", value.as_str().unwrap());
        }
        let text = self.filled.iter().fold(self.body.clone().unwrap_or_default(), |text, (piece, times)| {
            text.replacen('…', &piece.repeat(*times), 1)
        });
        let body = self.base64.as_ref().map_or_else(|| text.into_bytes(), |coded| STANDARD.decode(coded).unwrap());
        let has_body = self.body.is_some() || self.base64.is_some();
        if has_body && !self.headers.contains_key("Transfer-Encoding") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        [head.as_bytes(), b"\r\n", &body].concat()
    }

    fn outcome(&self) -> Outcome {
        Outcome { status: self.status, body: self.answer.clone() }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    status: u16,
    body: Value,
}

impl Outcome {
    /// What the gate makes of it.
    async fn of(world: &World, recorded: &Recorded) -> Self {
        let answer = Raw::exchange(world.gate, recorded.request()).await;
        let answer = answer.unwrap_or_else(|| panic!("an answer to {:?}", recorded.name));
        let mut body = if answer.body.is_empty() { Value::Null } else { answer.json() };
        for changing in ["token", "_rev"] {
            if let Some(member) = body.get_mut(changing) {
                *member = "…".into();
            }
        }
        Self { status: answer.status, body }
    }

    fn words(&self) -> String {
        let text = |name: &str| self.body[name].as_str();
        match (text("message"), text("type"), text("tag")) {
            (Some(message), ..) => message.to_owned(),
            (_, Some(kind), Some(tag)) => format!("{kind}/{tag}"),
            _ => String::new(),
        }
    }

    /// What every answer of that status has, and no more.
    fn has_its_shape(&self) -> bool {
        let keys: Vec<_> =
            self.body.as_object().map(|body| body.keys().map(String::as_str).collect()).unwrap_or_default();
        match self.status {
            200 => self.body.is_null() || *self == *MAILED,
            _ => keys == ["code", "reason", "message"] && self.body["code"] == self.status,
        }
    }
}

/// What all were answered by a gate that tells who has an account, as IDM does, or by one that does not.
async fn replay(reveals: bool) -> Vec<(Recorded, Outcome)> {
    let reset = if reveals {
        "answer_floor = \"1ms\"\nmail_gap = \"0s\"\ncrest_ids = true\nreveal_unknown_accounts = true"
    } else {
        "answer_floor = \"1ms\"\nmail_gap = \"0s\"\ncrest_ids = true"
    };
    let world = World::with(Plan {
        // As what was recorded.
        process: |process| {
            let only = ["userQuery", "emailValidation", "resetStage"];
            let stages = process["stageConfigs"].as_array_mut().unwrap();
            stages.retain(|stage| only.contains(&stage["name"].as_str().unwrap()));
        },
        reset,
        limits: "client = \"0\"\nstart_per_client = \"0\"\nstart_total = \"0\"\nmail_per_account = \"0\"\n\
                 mail_total = \"0\"",
        ..Plan::default()
    })
    .await;
    for (id, name) in [("u2", "o'hara"), ("u3", "Üser"), ("u4", "kate")] {
        world.store.insert(User::new(id, name, "Secret12").with("mail", format!("{id}@example.com")));
    }
    world.store.insert(User::new("u5", "nummail", "Secret12").with("mail", 42));
    world.store.insert(User::new("u6", "emptymail", "Secret12").with("mail", ""));
    let mut all = Vec::new();
    for recorded in Recorded::all() {
        let ours = Outcome::of(&world, &recorded).await;
        all.push((recorded, ours));
    }
    all
}

#[tokio::test]
async fn recorded_requests_are_answered_as_by_idm_but_where_a_reason_is_given() {
    let (mut faults, mut used) = (Vec::new(), BTreeSet::new());
    for (recorded, ours) in replay(true).await {
        let theirs = recorded.outcome();
        if theirs == ours || differs_by_rule(&recorded, &ours) {
            continue;
        }
        let name = recorded.name.as_str();
        let listed = DIFFERENT.iter().find(|different| different.names.contains(&name));
        used.insert(name.to_owned());
        let what = format!("{name:?}: {} {:?}, here {} {:?}", theirs.status, theirs.words(), ours.status, ours.words());
        match listed {
            None => faults.push(format!("{what}, and nothing says why")),
            Some(listed) if listed.ours != (ours.status, ours.words().as_str()) || !ours.has_its_shape() => {
                faults.push(format!("{what}, and not {:?} ({}): {}", listed.ours, listed.why, ours.body));
            }
            Some(_) => {}
        }
    }
    let listed = DIFFERENT.iter().flat_map(|different| different.names);
    faults.extend(listed.filter(|name| !used.contains(**name)).map(|name| format!("{name:?} does not differ")));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[tokio::test]
async fn of_what_is_recorded_only_who_has_an_account_is_not_told() {
    let mut hidden = 0;
    for ((recorded, told), (_, ours)) in replay(true).await.into_iter().zip(replay(false).await) {
        let name = &recorded.name;
        if ["Unable to find account", "Unable to verify email"].contains(&told.words().as_str()) {
            hidden += 1;
            assert_eq!(ours, *MAILED, "{name:?}");
        } else {
            assert_eq!(ours, told, "{name:?}");
        }
    }
    assert!(hidden > 10, "{hidden}");
}

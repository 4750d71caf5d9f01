//! Who plays in a case, and what its placeholders stand for. Everybody is new for every case.

use resetgate::demo::store::User;
use serde_json::{Map, Value, json};

use super::{Theatre, case::Case, forge};
use crate::support::setup::link;

const PASSWORD: &str = "Original-1";

pub(super) struct Cast<'a> {
    theatre: &'a Theatre,
    steps: Option<&'a str>,
    slug: String,
    pub(super) user: String,
    flows: Vec<Started>,
}

/// A flow of the user whose code is in the mail.
#[derive(Clone)]
struct Started {
    answered: String,
    mailed: String,
    code: String,
}

impl<'a> Cast<'a> {
    pub(super) fn of(case: &'a Case, theatre: &'a Theatre) -> Self {
        let slug = case.id.to_ascii_lowercase();
        let cast =
            Self { theatre, steps: case.steps.as_deref(), user: format!("user-{slug}"), slug, flows: Vec::new() };
        for role in ["user", "victim", "attacker"] {
            let name = cast.name(role);
            let user = User::new(&format!("id-{name}"), &name, PASSWORD);
            theatre.around.store.insert(user.with("mail", cast.mail(role)));
            theatre.is_secret(&name);
        }
        cast
    }

    pub(super) fn host(&self) -> String {
        self.theatre.gate.address.to_string()
    }

    /// Whom mail may be for.
    pub(super) fn addresses(&self) -> Vec<String> {
        let known = ["zoe@example.com", "o'brien@example.com", "bjensen@example.com"].map(str::to_owned);
        let odd =
            [self.mail("nameinj"), self.mail("traversalid"), format!("{}+reset@example.com", self.name("plusmail"))];
        ["user", "victim", "attacker"].map(|role| self.mail(role)).into_iter().chain(known).chain(odd).collect()
    }

    pub(super) fn keeps_passwords(&self) -> bool {
        ["user", "victim", "attacker"]
            .iter()
            .all(|role| self.theatre.around.store.password_is(&self.name(role), PASSWORD))
    }

    /// The password that a case would have the user's be, letter for letter.
    pub(super) fn proposed(&self, case: &Case) -> Option<String> {
        let password = (case.class == "compat-password").then(|| case.body["input"]["password"].as_str().unwrap())?;
        self.theatre.is_secret(password);
        Some(password.to_owned())
    }

    /// The owner follows the mailed link.
    pub(super) async fn prove(&mut self) {
        let flow = self.flow(0).await;
        assert_eq!(self.theatre.gate.show(&(flow.mailed, flow.code)).await.status, 200);
    }

    /// With every placeholder replaced.
    pub(super) async fn fill(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (word, after) = after.split_once("}}").expect("a placeholder ends");
            out += before;
            out += &Box::pin(self.word(word)).await;
            rest = after;
        }
        out + rest
    }

    pub(super) async fn fill_json(&mut self, json: &Value) -> Value {
        match json {
            Value::String(text) => self.fill(text).await.into(),
            Value::Array(items) => {
                let mut filled = Vec::new();
                for item in items {
                    filled.push(Box::pin(self.fill_json(item)).await);
                }
                filled.into()
            }
            Value::Object(members) => {
                let mut filled = Map::new();
                for (name, value) in members {
                    filled.insert(name.clone(), Box::pin(self.fill_json(value)).await);
                }
                filled.into()
            }
            other => other.clone(),
        }
    }

    /// What a placeholder stands for.
    pub(super) async fn word(&mut self, word: &str) -> String {
        let gate = &self.theatre.gate;
        match word {
            "HOST" => self.host(),
            "OOB" => self.theatre.lure.address.to_string(),
            "RANDOM" => self.slug.clone(),
            "NEWPW" => "Fresh-Pass1".to_owned(),
            "USER" | "VICTIM" | "ATTACKER" => self.name(&word.to_ascii_lowercase()),
            "USER_ID" => format!("id-{}", self.name("user")),
            "VICTIM_ID" => format!("id-{}", self.name("victim")),
            "MAIL" => self.mail("user"),
            "VICTIM_MAIL" => self.mail("victim"),
            "ATTACKER_MAIL" => self.mail("attacker"),
            "T_QUERY" => gate.begin().await,
            "T_CODE" | "T_CODE_A" => self.flow(0).await.answered,
            "T_CODE|mutate" => {
                let token = self.flow(0).await.answered;
                let steps = Box::pin(self.fill(self.steps.expect("the mutation"))).await;
                forge::forge(&steps, &token)
            }
            "CODE" => self.flow(0).await.code,
            "CODE_B" => self.flow(1).await.code,
            "WRONG_CODE" => self.flow(0).await.code.chars().rev().collect(),
            "T_RESET" => {
                let flow = self.flow(0).await;
                gate.show(&(flow.mailed, flow.code)).await.token()
            }
            "JSON_DEPTH_100000" => "[".repeat(100_000),
            "JSON_LONGKEY_1MB" => format!("{{\"{}\":1}}", "k".repeat(1 << 20)),
            // Neither is ever inflated, so that what would come of it does not matter.
            "GZIP_BOMB_1GB" | "GZIP2" => format!("\u{1f}\u{8b}\u{8}{}", "\u{0}".repeat(1000)),
            "NOUSER" => self.name("nobody"),
            many if many.starts_with("A*") => "a".repeat(many[2..].parse().unwrap()),
            other => self.odd(other),
        }
    }

    /// The name of an account with something about it that no honest one has.
    fn odd(&self, role: &str) -> String {
        let name = self.name(&role.to_ascii_lowercase());
        let (good, other) = (format!("{name}@example.com"), self.mail("attacker"));
        let mail = match role {
            "CRLFMAIL" => json!(format!("{good}\r\nBcc: {other}")),
            "LISTMAIL" => json!(format!("{good}, {other}")),
            "ARRAYMAIL" => json!([good, other]),
            "OBJECTMAIL" => json!({"0": good, "1": other}),
            "NUMBERMAIL" => json!(1),
            "GROUPMAIL" => json!(format!("friends:{good},{other};")),
            "NAMEDMAIL" => json!(format!("evil <{other}>")),
            "QLOCAL" => json!(format!("\"{name}\\r\\nRCPT TO:<{other}>\"@example.com")),
            "NULMAIL" => json!(format!("{good}\0")),
            "LONGMAIL" => json!(format!("{}@example.com", "x".repeat(400))),
            "NOMAIL" => Value::Null,
            "PLUSMAIL" => json!(format!("{name}+reset@example.com")),
            _ => json!(good),
        };
        let id = if role == "TRAVERSALID" { format!("../config/{name}") } else { format!("id-{name}") };
        let mut user = User::new(&id, &name, PASSWORD).with("mail", mail.clone());
        match role {
            "INACTIVE" => user = user.with("accountStatus", "inactive"),
            "NAMEINJ" => user = user.with("givenName", "<a href=\"https://evil.example\">").with("sn", "evil\r\n.\r\n"),
            "DUPMAIL" => {
                self.theatre.around.store.insert(User::new(&format!("{id}-2"), &name, PASSWORD).with("mail", mail))
            }
            _ => {}
        }
        self.theatre.around.store.insert(user);
        self.theatre.is_secret(&name);
        name
    }

    fn name(&self, role: &str) -> String {
        format!("{role}-{}", self.slug)
    }

    fn mail(&self, role: &str) -> String {
        format!("{}@example.com", self.name(role))
    }

    /// The user's `nth` flow, which is started if it is not yet.
    async fn flow(&mut self, nth: usize) -> Started {
        while self.flows.len() <= nth {
            let before = self.theatre.mails().await;
            let answered = self.theatre.gate.query(&self.user).await.token();
            assert_eq!(self.theatre.mails().await, before + 1);
            let mails = self.theatre.around.mailbox.mails();
            let mail = mails.iter().find(|mail| mail.number == before + 1).unwrap();
            let (mailed, code) = link(mail.links.iter().find(|found| found.contains("&token=")).unwrap());
            [&answered, &mailed, &code].iter().for_each(|secret| self.theatre.is_secret(secret));
            self.flows.push(Started { answered, mailed, code });
        }
        self.flows[nth].clone()
    }
}

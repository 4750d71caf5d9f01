//! Mail, through a relay of somebody else's making: aiosmtpd, which takes it only under TLS and from whom it knows.

use std::{path::Path, process::Command};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;

use crate::support::{
    program::Program,
    setup::{Around, Files, Gate, Plan, link},
    skip,
};

const USER: &str = "resetgate";
const PASSWORD: &str = "relay-password";

/// The relay, and the authority that its certificate is of.
pub(crate) struct Relay {
    program: Program,
    port: u16,
    pub(crate) ca: String,
    _folder: tempfile::TempDir,
}

impl Relay {
    /// None where there is no aiosmtpd.
    pub(crate) async fn start() -> Option<Self> {
        let python = "/usr/bin/python3";
        let found = Command::new(python).args(["-c", "import aiosmtpd"]).output().is_ok_and(|ran| ran.status.success());
        if skip("aiosmtpd", found) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let ca = certify(folder.path());
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/relay.py"));
        command.arg(folder.path().join("chain.pem")).arg(folder.path().join("key.pem")).args([USER, PASSWORD]);
        let mut program = Program::spawn(command);
        let port = program.stdout.find("port ").await.trim_start_matches("port ").parse().unwrap();
        Some(Self { program, port, ca, _folder: folder })
    }

    pub(crate) fn plan(&self, around: &Around, more: &str) -> Plan {
        let mail = format!(
            "transport = \"smtp+starttls://127.0.0.1:{}\"\nusername = \"{USER}\"\npassword = \"file:relay\"\n{more}",
            self.port
        );
        Plan { mail, ..around.plan() }
    }

    pub(crate) fn files(&self, plan: &Plan) -> Files {
        let files = Files::of(plan);
        files.write("relay", PASSWORD);
        files.write("ca.pem", &self.ca);
        files
    }

    /// The next thing that happens to it.
    async fn event(&mut self) -> Value {
        serde_json::from_str(&self.program.stdout.find("{").await).unwrap()
    }
}

/// A certificate for 127.0.0.1 of an authority that nobody knows yet.
fn certify(folder: &Path) -> String {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut relay = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    relay.use_authority_key_identifier_extension = true;
    let relay = relay.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("chain.pem"), relay.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    ca.pem()
}

#[tokio::test]
async fn mail_goes_under_tls_to_a_relay_that_wants_to_know_from_whom() {
    let Some(mut relay) = Relay::start().await else { return };
    let around = Around::start().await;
    let gate = Gate::run(relay.files(&relay.plan(&around, "ca = \"ca.pem\"\nhelo = \"gate.example.com\"")), &[]).await;
    assert_eq!(gate.query("bjensen").await.status, 200);

    assert_eq!(relay.event().await["event"], "starttls");
    let auth = relay.event().await;
    assert_eq!((&auth["event"], &auth["user"], &auth["good"]), (&"auth".into(), &USER.into(), &true.into()));
    let mail = relay.event().await;
    assert_eq!(mail["event"], "mail");
    assert_eq!(mail["tls"], true);
    assert_eq!(mail["helo"], "gate.example.com");
    assert_eq!(
        (&mail["sender"], &mail["recipients"]),
        (&"helpdesk@example.com".into(), &vec!["bjensen@example.com"].into())
    );
    assert_eq!(mail["to"], "bjensen@example.com");
    assert_eq!(mail["from"], "Example Help Desk <helpdesk@example.com>");
    assert_eq!(mail["subject"], "Choose a new password");
    assert_eq!(mail["auto_submitted"], "auto-generated");
    assert_eq!((&mail["defects"], &mail["bare_newlines"]), (&Vec::<String>::new().into(), &0.into()));
    assert_eq!(mail["types"], Value::from(vec!["text/plain", "text/html"]));
    let links: Vec<&str> = mail["links"].as_array().unwrap().iter().map(|link| link.as_str().unwrap()).collect();
    // One in the text, the same in the HTML.
    assert!(links.len() == 2 && links[0] == links[1], "{links:?}");
    assert!(links[0].starts_with("https://id.example.com/#/passwordreset/&token="), "{links:?}");

    let shown = gate.show(&link(links[0])).await;
    assert_eq!(gate.set(&shown.token(), "Fresh-Pass1").await.json()["status"]["success"], true);
    assert!(around.store.password_is("bjensen", "Fresh-Pass1"));
    gate.counts("resetgate_mail_messages_total{outcome=\"sent\"}", 1).await;
}

#[tokio::test]
async fn a_relay_that_nobody_vouches_for_gets_nothing() {
    let Some(mut relay) = Relay::start().await else { return };
    let around = Around::start().await;
    let gate = Gate::run(relay.files(&relay.plan(&around, "")), &[]).await;
    assert_eq!(gate.query("bjensen").await.status, 200);
    // Tried, and given up before a name, a password or a mail was said; and tried again.
    gate.counts("resetgate_mail_messages_total{outcome=\"delayed\"}", 2).await;
    assert_eq!(gate.metric("resetgate_mail_messages_total{outcome=\"sent\"}").await, 0);
    relay.program.signal("TERM");
    relay.program.stdout.end().await;
    let told: Vec<_> = relay.program.stdout.seen.iter().filter(|line| line.contains("event")).collect();
    assert!(told.is_empty(), "{told:#?}");
}

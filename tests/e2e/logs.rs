//! What is logged, and what never is.

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::support::{
    setup::{Around, Files, Gate, NOBODY, Plan, SERVICE_PASSWORD, link},
    soon,
};

const PASSWORD: &str = "Canary-Pass1";
const MAIL: &str = "canary.mail@example.com";
const QUERY: &str = "canary-query";
const USER: &str = "bjensen";

/// Ends it, and fails if a line is not JSON or holds any of the secrets.
pub(crate) async fn nothing_told(mut gate: Gate, secrets: &[&str]) {
    gate.program.signal("TERM");
    assert_eq!(gate.program.ended().await, 0);
    let lines = &gate.program.stderr.seen;
    let mut events = 0;
    for line in lines.iter().filter(|line| !line.starts_with("warning: ")) {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("JSON, not {line}"));
        for field in ["timestamp", "level", "target"] {
            assert!(read[field].is_string(), "{field} of {line}");
        }
        events += usize::from(read["fields"].is_object());
    }
    assert!(events >= 3, "{lines:#?}");
    for secret in secrets {
        assert!(secret.len() >= 5, "{secret:?} is no canary");
        // A part of a long one gives away as much.
        let part: String = secret.chars().take(16).collect();
        let told: Vec<_> = lines.iter().filter(|line| line.contains(&part)).collect();
        assert!(told.is_empty(), "{secret} in {told:#?}");
    }
}

pub(crate) fn loud() -> [(&'static str, &'static str); 1] {
    [("RESETGATE_LOG", "trace")]
}

#[tokio::test]
async fn a_reset_leaves_no_secret_behind() {
    let around = Around::start().await;
    let id = "5b2d9a4e-3f60-4c1a-9d0e-1f6a7c8b9d01";
    assert!(around.store.set(id, "mail", MAIL));
    let plan = Plan { more: "[log]\nformat = \"json\"".into(), ..around.plan() };
    let gate = Gate::run(Files::of(&plan), &loud()).await;

    assert_eq!(gate.get(&format!("/{QUERY}?x={QUERY}")).await.status, 200);
    let asked = gate.query(USER).await;
    assert_eq!(gate.query("canary-nobody").await.status, 200);
    let mail = around.mail(1).await;
    let found = mail.links.iter().find(|found| found.contains("&token=")).unwrap();
    let (token, code) = link(found);
    assert_eq!(gate.show(&(asked.token(), "canary-wrong-code".into())).await.status, 400);
    let shown = gate.show(&(token.clone(), code.clone())).await;
    let weak = gate.set(&shown.token(), "canary").await;
    let set = gate.set(&weak.token(), PASSWORD).await;
    assert_eq!(set.json()["status"], json!({"success": true}));
    assert_eq!(gate.post(&json!({"token": "canary-token", "input": {}})).await.status, 400);

    let secrets = [PASSWORD, MAIL, QUERY, USER, id, &token, &code, &asked.token(), &shown.token(), &weak.token()];
    nothing_told(gate, &[&secrets[..], &["canary", SERVICE_PASSWORD, "bjensen@example.com"]].concat()).await;
}

#[tokio::test]
async fn failures_leave_none_behind_either() {
    // Nothing to pass to, nobody to ask.
    let gate = Gate::run(Files::of(&Plan { more: "[log]\nformat = \"json\"".into(), ..Plan::alone() }), &loud()).await;
    assert_eq!(gate.get(&format!("/{QUERY}?x={QUERY}")).await.status, 502);
    assert_eq!(gate.query(USER).await.status, 503);
    nothing_told(gate, &[QUERY, USER, SERVICE_PASSWORD]).await;

    // A relay that is gone, and a store that will not take the password.
    let around = Around::start().await;
    let plan = Plan { mail: format!("transport = \"smtp://{NOBODY}\""), ..around.plan() };
    let gate = Gate::run(Files::of(&plan), &loud()).await;
    assert_eq!(gate.query(USER).await.status, 200);
    gate.counts("resetgate_mail_messages_total{outcome=\"delayed\"}", 1).await;
    // The mail would be tried for as long as its link lives.
    gate.program.signal("TERM");
    soon("a drain", async { while gate.ask_admin("/readyz").await.status == 200 {} }).await;
    nothing_told(gate, &[USER, "bjensen@example.com", SERVICE_PASSWORD]).await;
}

/// Where an SDK for OpenTelemetry would look.
#[tokio::test]
async fn spans_go_where_the_configuration_says_and_not_the_environment() {
    let listener = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (right, wrong) = (listener().await, listener().await);
    let url = format!("http://{}", wrong.local_addr().unwrap());
    let names = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "http_proxy",
        "HTTP_PROXY",
        "ALL_PROXY",
    ];
    let mut environment: Vec<_> = names.map(|name| (name, &*url)).into();
    environment.extend([("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SERVICE_NAME", "canary-service")]);

    let silent = Gate::run(Files::of(&Plan::alone()), &environment).await;
    assert_eq!(silent.get("/openidm/info/ping").await.status, 502);
    nothing_told(silent, &[]).await;

    let more = format!("[tracing]\notlp = \"http://{}\"\ninterval = \"100ms\"", right.local_addr().unwrap());
    let gate = Gate::run(Files::of(&Plan { more, ..Plan::alone() }), &environment).await;
    assert_eq!(gate.get("/openidm/info/ping").await.status, 502);
    let (mut collector, _) = soon("an export", right.accept()).await.unwrap();
    let mut line = [0; 24];
    soon("its first line", collector.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"POST /v1/traces HTTP/1.1");
    assert!(wrong.accept().now_or_never().is_none(), "nobody asked the other one");
}

//! The upstream: whether it is there, and which doors of its own stand open.

use std::sync::Arc;

use tokio::time::{Duration, timeout};
use url::Position;

use super::{
    clock,
    reach::{Service, Way, reach},
    sheet::Sheet,
    wire::{self, Head},
};
use crate::{
    config::Config,
    proxy::{Door, doors},
    reset::ports::Clock,
    telemetry::metrics::{Metrics, UPSTREAM_PROCESSES},
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(8);

/// Goes through all of it.
pub(super) async fn examine(sheet: &mut Sheet, config: &Config, clock: &Arc<dyn Clock>, metrics: &Arc<Metrics>) {
    let endpoints = &config.upstream.endpoints;
    let service = Service::of("upstream", "upstream.url", endpoints);
    let Some(way) = reach(sheet, &service, clock.now()).await else {
        const WHY: &str = "the upstream cannot be reached";
        sheet.skip_all(&["answers", "clock", "policy"], WHY);
        return sheet.skip_all(&UPSTREAM_PROCESSES, WHY);
    };
    let host = &endpoints.url[Position::BeforeHost..Position::AfterPort];
    let root = config.reset.path.strip_suffix("/selfservice/reset").unwrap_or_default();
    let ping = format!("{root}/info/ping");
    let target = endpoints.health.path.as_deref().unwrap_or(&ping);
    let sent = clock.now();
    match ask(&way, target, host).await {
        Ok(head) => {
            let seen = format!("{} for {target}", head.status);
            match head.status {
                500.. => {
                    sheet.fail("answers", seen, "see the upstream's own log: it, or a proxy before it, is not ready")
                }
                404 if target == ping => elsewhere(sheet, &way, root, host, &seen).await,
                _ => sheet.ok("answers", seen),
            }
            clock::judge(sheet, head.header("date"), sent, clock.now());
        }
        Err(why) => {
            let cure = "see that upstream.url has the right port, and https:// if that port speaks TLS";
            sheet.fail("answers", format!("{target}: {why}"), cure);
            sheet.skip_all(&["clock", "policy"], "the upstream does not answer");
            return sheet.skip_all(&UPSTREAM_PROCESSES, "the upstream does not answer");
        }
    }
    match config.policy.path {
        None => policy(sheet, &way, root, host).await,
        Some(_) => sheet.ok("policy", format!("the gate answers for it: policy.source = \"{}\"", config.policy.source)),
    }
    match doors(config, metrics).await {
        Ok(doors) => doors.iter().for_each(|door| judge(sheet, door)),
        Err(fault) => sheet.fail("tls", fault.to_string(), "mend [upstream.tls]"),
    }
}

/// IDM is not where the reset path is. If it is elsewhere, its own reset is passed on by the name that it has there.
async fn elsewhere(sheet: &mut Sheet, way: &Way, root: &str, host: &str, seen: &str) {
    for other in ["/openidm", "/idm"].into_iter().filter(|other| *other != root) {
        let found = ask(way, &format!("{other}/info/ping"), host).await;
        if found.is_ok_and(|head| {
            head.status == 200 && head.header("content-type").is_some_and(|kind| kind.contains("json"))
        }) {
            let seen = format!("{seen}: IDM is at {other} there, and its own reset is not kept from strangers");
            return sheet.fail("answers", seen, format!("set reset.path = \"{other}/selfservice/reset\""));
        }
    }
    let cure = "if that is IDM, see whether reset.path has IDM's own path before /selfservice/reset";
    sheet.warn("answers", format!("{seen}: no IDM is there"), cure);
}

/// IDM's client asks it for the rules of a new password. IDM answers only while its own reset is on.
async fn policy(sheet: &mut Sheet, way: &Way, root: &str, host: &str) {
    let target = format!("{root}/policy/selfservice/reset");
    match ask(way, &target, host).await {
        Ok(head) if head.status == 200 => sheet.ok("policy", format!("200 for {target}, which IDM's client asks for")),
        Ok(head) => sheet.warn(
            "policy",
            format!("{} for {target}, which IDM's client asks for the rules of a new password", head.status),
            "if that client is yours, set policy.source = \"service\" or \"local\", or switch IDM's own reset on \
             (passwordReset): it stays out of reach from here",
        ),
        Err(why) => sheet.skip("policy", format!("{target}: {why}")),
    }
}

fn judge(sheet: &mut Sheet, door: &Door) {
    let Door { name, path, passed, open } = door;
    match (open, passed) {
        (None, _) => sheet.skip(name, format!("no answer for {path}")),
        (Some(false), _) => sheet.ok(name, format!("{path} lets no strangers in")),
        (Some(true), true) => sheet.warn(
            name,
            format!("{path} of its own lets strangers in, without limits of ours"),
            format!("unless that is meant, switch it off there, or put \"{path}/**\" in edge.deny"),
        ),
        (Some(true), false) if *name == "reset" => sheet.warn(
            name,
            format!("{path} of its own lets strangers in; it is never passed from here"),
            "let nobody reach the upstream past this gate (a firewall, a network policy), or switch it off there",
        ),
        (Some(true), false) => {
            sheet.ok(name, format!("{path} of its own lets strangers in; edge.deny keeps it out of reach from here"));
        }
    }
}

async fn ask(way: &Way, target: &str, host: &str) -> Result<Head, String> {
    let asked = async {
        let mut stream = way.open().await?;
        wire::get(&mut *stream, target.as_bytes(), host).await
    };
    match timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|fault| fault.to_string()),
        Err(_) => Err(format!("no answer in {} s", ANSWER.as_secs())),
    }
}

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{check, folder, seconds, table};
use crate::support::skip;

const KINDS: [&str; 2] = ["edge", "sidecar"];

/// All that a folder makes, held against Kubernetes' schema by a program that knows neither of the two; none, where there
/// is no such program.
fn made(folder: &Path) -> Option<Result<Vec<Value>, String>> {
    let python = "/usr/bin/python3";
    let found = Command::new(python).args(["-c", "import jsonschema, yaml"]).output();
    if skip("python3-jsonschema or python3-yaml", found.is_ok_and(|ran| ran.status.success())) {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut reader = Command::new(python);
    reader.arg(root.join("tests/e2e/manifests.py")).arg(root.join("tests/data/kubernetes-1.33.json")).arg(folder);
    let ran = reader.output().unwrap();
    Some(match ran.status.success() {
        true => Ok(serde_json::from_slice(&ran.stdout).unwrap()),
        false => Err(String::from_utf8(ran.stderr).unwrap()),
    })
}

fn one<'v>(all: &'v [Value], kind: &str) -> &'v Value {
    all.iter().find(|made| made["kind"] == kind).unwrap_or_else(|| panic!("a {kind} in {all:#?}"))
}

/// The gate's container of a pod, beside others or alone.
fn gate(pod: &Value) -> &Value {
    let all = [&pod["initContainers"], &pod["containers"]].map(|list| list.as_array().map_or(&[][..], Vec::as_slice));
    all.concat().iter().position(|container| container["name"] == "resetgate").map_or_else(
        || panic!("no gate in {pod:#?}"),
        |at| {
            let first = all[0].len();
            if at < first { &all[0][at] } else { &all[1][at - first] }
        },
    )
}

fn folders() -> [PathBuf; 2] {
    KINDS.map(|kind| folder().join("kubernetes").join(kind))
}

#[test]
fn manifests_hold_by_kubernetes_schema_and_a_slip_is_told() {
    for path in folders() {
        match made(&path) {
            None => return,
            Some(made) => assert!(made.unwrap().len() >= 5),
        }
    }
    let copy = tempfile::tempdir().unwrap();
    for (key, slip) in [("readOnlyRootFilesystem", "readOnlyRootFileSystem"), ("replicas: 1", "replicas: one")] {
        for entry in fs::read_dir(&folders()[0]).unwrap() {
            let from = entry.unwrap().path();
            let text = fs::read_to_string(&from).unwrap();
            fs::write(copy.path().join(from.file_name().unwrap()), text.replace(key, slip)).unwrap();
        }
        let fault = made(copy.path()).unwrap().expect_err(slip);
        assert!(fault.starts_with("deployment.yaml: Deployment: spec."), "{fault}");
    }
}

/// What Kubernetes is told is what the program is told: ports, files, and how long an end takes.
#[test]
fn manifests_say_what_the_configuration_says() {
    for path in folders() {
        let Some(made) = made(&path) else { return };
        let made = made.unwrap();
        let pod = &one(&made, "Deployment")["spec"]["template"]["spec"];
        let gate = gate(pod);
        let config = table(one(&made, "ConfigMap")["data"]["resetgate.toml"].as_str().unwrap());

        let port =
            |address: &toml::Value| address.as_str().unwrap().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
        let ports = [("http", port(&config["listen"]["addresses"][0])), ("admin", port(&config["admin"]["address"]))];
        let told = ports.map(|(name, port)| json!({"name": name, "containerPort": port}));
        assert_eq!(gate["ports"], json!(told));
        let template = &one(&made, "Deployment")["spec"]["template"];
        assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], ports[1].1.to_string());
        assert_eq!(one(&made, "Service")["spec"]["ports"][0]["targetPort"], "http");

        // Each probe asks what is answered, and the program itself where it is asked by a command.
        for (probe, paths) in
            [("startupProbe", &["/livez"][..]), ("readinessProbe", &["/readyz"]), ("livenessProbe", &["/livez"])]
        {
            match gate[probe]["httpGet"].as_object() {
                Some(get) => {
                    assert!(
                        get["port"] == "admin" && paths.contains(&get["path"].as_str().unwrap()),
                        "{probe}: {get:?}"
                    );
                }
                None => {
                    let asks = ["/usr/bin/resetgate", "probe", "--live", "--config", "/etc/resetgate/resetgate.toml"];
                    assert_eq!(gate[probe]["exec"]["command"], json!(asks), "{probe}");
                }
            }
        }

        // The pod is given all the time that its end may take: of what ends before the gate, and of the gate.
        let before: u64 = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
        let within = seconds(config["drain"]["within"].as_str().unwrap());
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= before + within + 5, "{pod:#}");

        // Each file that the configuration names is one that the volume brings; and it holds with them.
        let sources = pod["volumes"][0]["projected"]["sources"].as_array().unwrap();
        let items = sources.iter().filter_map(|source| source["secret"]["items"].as_array()).flatten();
        let names: Vec<&str> = items.map(|item| item["path"].as_str().unwrap()).collect();
        let (holds, told) = check(one(&made, "ConfigMap")["data"]["resetgate.toml"].as_str().unwrap(), &names);
        assert!(holds, "{told}");
        for name in &names {
            let without: Vec<_> = names.iter().filter(|other| *other != name).copied().collect();
            let (holds, told) = check(one(&made, "ConfigMap")["data"]["resetgate.toml"].as_str().unwrap(), &without);
            assert!(!holds && told.contains("must name a file that can be read"), "{name} is of no use: {told}");
        }
        let mounts: Vec<_> = gate["volumeMounts"].as_array().unwrap().iter().map(|mount| &mount["mountPath"]).collect();
        assert_eq!(mounts, ["/etc/resetgate", "/var/lib/resetgate"]);
        assert_eq!(config["codes"]["state_file"].as_str(), Some("/var/lib/resetgate/codes"));
        assert_eq!(gate["args"], json!(["run", "--config", "/etc/resetgate/resetgate.toml"]));
    }
}

/// No rights, no root, nothing to write to but its state; nobody reaches IDM but through it.
#[test]
fn pods_have_no_rights_and_idm_one_door() {
    for (path, kind) in folders().iter().zip(KINDS) {
        let Some(made) = made(path) else { return };
        let made = made.unwrap();
        let pod = &one(&made, "Deployment")["spec"]["template"]["spec"];
        let gate = gate(pod);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(gate["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(gate["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(gate["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
        assert!(gate["resources"]["limits"]["memory"].is_string() && gate["resources"]["requests"]["cpu"].is_string());
        if kind == "sidecar" {
            assert_eq!(
                (&pod["initContainers"][0]["name"], &gate["restartPolicy"]),
                (&json!("resetgate"), &json!("Always"))
            );
        }

        let policies: Vec<_> = made.iter().filter(|made| made["kind"] == "NetworkPolicy").collect();
        let idm = policies.iter().find(|policy| policy["metadata"]["name"] == "idm-behind-resetgate").unwrap();
        assert_eq!(idm["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "idm");
        for rule in policies.iter().flat_map(|policy| policy["spec"]["ingress"].as_array().unwrap()) {
            assert!(!rule["from"].as_array().unwrap().is_empty() && !rule["ports"].as_array().unwrap().is_empty());
            if rule["ports"][0]["port"] == "admin" {
                let monitoring = json!({"kubernetes.io/metadata.name": "monitoring"});
                assert_eq!(rule["from"][0]["namespaceSelector"]["matchLabels"], monitoring);
            }
        }
        // No secret is in it, and no value that could be taken for one.
        assert!(made.iter().all(|made| made["kind"] != "Secret"));
    }
}

#[test]
fn what_is_there_twice_is_the_same() {
    let root = folder().join("../..");
    let same = |one: PathBuf, other: PathBuf| {
        assert_eq!(fs::read_to_string(&one).unwrap(), fs::read_to_string(&other).unwrap(), "{one:?}");
    };
    for path in folders() {
        same(path.join("selfservice-reset.json"), root.join("conf/selfservice-reset.json"));
    }
    same(folder().join("kubernetes/sidecar/resetgate.toml"), root.join("conf/sidecar.toml"));
}

//! `[captcha]`, and the stage that it is for.

use super::*;

const STAGE: &str = r#"{ "name": "captcha", "recaptchaSiteKey": "site", "recaptchaSecretKey": "hunter2",
    "recaptchaUri": "https://www.google.com/recaptcha/api/siteverify" },
        { "name": "userQuery","#;

/// With the stage, changed, and lines for the section.
fn with_stage(from: &str, to: &str, lines: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    let folder = Folder::new();
    let query = PROCESS.split_once("{\n            \"name\": \"userQuery\",").expect("the usual process");
    folder.put("selfservice-reset.json", &format!("{}{}{}", query.0, STAGE.replace(from, to), query.1));
    folder.put("keys/captcha", "another\n");
    folder.load(&GOOD.replace("[captcha]\n", &format!("[captcha]\n{lines}\n")))
}

fn siteverify(config: &Config) -> &Siteverify {
    match &config.captcha.as_ref().unwrap().judge {
        Judge::Service(service) => service,
        Judge::Own { .. } => panic!("a service"),
    }
}

#[test]
fn a_process_file_s_captcha_works_as_it_is() {
    let (config, warnings) = with_stage("", "", "").unwrap();
    assert_eq!(warnings, [] as [&str; 0]);
    let service = siteverify(&config);
    assert_eq!((service.provider, service.site_key.as_str()), (Provider::Recaptcha, "site"));
    assert_eq!((service.secret.expose().as_str(), service.service.timeout.as_secs()), ("hunter2", 3));
    assert!(!config.captcha.as_ref().unwrap().under_pressure && service.min_score.is_none() && !service.remote_ip);
    let told = format!("{config:?}{}", config.effective.toml());
    assert!(!told.contains("hunter2") && told.contains("recaptchaSiteKey"), "{told}");
    assert!(Folder::new().good(GOOD).captcha.is_none());
}

#[test]
fn all_of_it_can_be_said() {
    let lines = "when = \"pressure\"\nsecret = \"file:keys/captcha\"\nmin_score = 0.5\naction = \"reset\"\n\
                 hostnames = [\"ID.example.org\"]\nremote_ip = true\ntimeout = \"1s\"";
    let (config, _) = with_stage("https://www.google.com", "https://challenges.cloudflare.com", lines).unwrap();
    let service = siteverify(&config);
    assert_eq!((service.provider, service.secret.expose().as_str()), (Provider::Turnstile, "another"));
    assert_eq!((service.min_score, service.action.as_deref()), (Some(0.5), Some("reset")));
    assert_eq!((&service.hostnames[..], service.remote_ip), (&["id.example.org".to_owned()][..], true));
    assert!(config.captcha.as_ref().unwrap().under_pressure);
    assert!(config.files.iter().any(|file| file.ends_with("keys/captcha")), "it is taken up when it changes");
    for (written, meant) in [("0", 0.0), ("1", 1.0), ("1.0", 1.0)] {
        let (config, _) = with_stage("", "", &format!("min_score = {written}")).unwrap();
        assert_eq!(siteverify(&config).min_score, Some(meant));
    }
    let (config, _) = with_stage("\"hunter2\"", "{ \"$crypto\": {} }", "secret = \"file:keys/captcha\"").unwrap();
    assert_eq!(siteverify(&config).secret.expose(), "another");
}

#[test]
fn work_of_our_own_needs_no_keys() {
    let stage = "\"recaptchaSiteKey\": \"site\", \"recaptchaSecretKey\": \"hunter2\",\n    \"recaptchaUri\": \
                 \"https://www.google.com/recaptcha/api/siteverify\"";
    let (config, warnings) = with_stage(stage, "\"recaptchaUri\": \"altcha:\"", "difficulty = 5_000").unwrap();
    assert!(matches!(config.captcha.unwrap().judge, Judge::Own { difficulty: 5_000 }));
    assert_eq!(warnings, [] as [&str; 0]);
}

#[test]
fn what_cannot_work_is_named() {
    let secret = "`recaptchaSecretKey` must be a text, or captcha.secret in the configuration be set";
    for (from, to, lines, place, rule) in [
        ("https://www.google.com/", "ftp://x/", "", "/stageConfigs/1/recaptchaUri = \"ftp://x/", "must be an http://"),
        (
            "https://www.google.com/recaptcha/api/siteverify",
            "altcha",
            "",
            "/recaptchaUri = \"altcha\"",
            "or \"altcha:\"",
        ),
        ("\"recaptchaSecretKey\": \"hunter2\",", "", "", "/stageConfigs/1: ", secret),
        ("\"hunter2\"", "{ \"$crypto\": {} }", "", "/stageConfigs/1/recaptchaSecretKey = …", "only IDM can read"),
        (
            "https://www.google.com",
            "http://captcha.example.org",
            "",
            "captcha.allow_plaintext",
            "plaintext beyond loopback",
        ),
        ("", "", "secret = \"hunter3\"", "captcha.secret = …", "must be \"env:NAME\" or \"file:path\""),
        ("", "", "action = \"a b\"", "captcha.action = \"a b\"", "must be letters"),
        ("", "", "hostnames = [\"https://a.example\"]", "captcha.hostnames[0]", "without scheme and port"),
    ] {
        let faults = with_stage(from, to, lines).expect_err(rule);
        let named = faults.iter().any(|fault| fault.contains(place) && fault.contains(rule));
        assert!(named, "{place}: {rule}\nin {faults:#?}");
        assert!(!faults.join("").contains("hunter"), "{faults:?}");
    }
    let warned = Folder::new().warnings(&with("captcha", "min_score = 0.5"));
    assert!(warned.iter().any(|warning| warning.contains("captcha.min_score = 0.5: means nothing")), "{warned:?}");
}

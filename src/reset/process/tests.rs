use serde_json::json;

use super::*;
use crate::reset::ports::Field;

/// IDM 7's own file with every key that its stages know.
fn whole() -> Value {
    json!({
        "stageConfigs": [
            {"name": "parameters", "parameterNames": ["returnParams"]},
            {
                "name": "userQuery",
                "validQueryFields": ["userName", "/mail/"],
                "identityIdField": "_id",
                "identityEmailField": "mail",
                "identityUsernameField": "userName",
                "identityAccountStatusField": "accountStatus",
                "identityServiceUrl": "managed/user",
            },
            {"name": "validateActiveAccount", "accountStatusField": "accountStatus", "validStatusValue": "active"},
            {
                "name": "emailValidation",
                "identityEmailField": "mail",
                "emailServiceUrl": "external/email",
                "emailServiceParameters": {"waitForCompletion": false},
                "from": "helpdesk@example.org",
                "subject": "unused",
                "mimeType": "text/html",
                "subjectTranslations": {"en": "Choose a new password"},
                "messageTranslations": {"en": "<a href=\"%link%\">Continue</a>"},
                "verificationLinkToken": "%link%",
                "verificationLink": "https://id.example.org/#/passwordreset/",
            },
            {"name": "resetStage", "identityServiceUrl": "managed/user", "identityPasswordField": "password"},
        ],
        "snapshotToken": {
            "type": "jwt",
            "jweAlgorithm": "RSAES_PKCS1_V1_5",
            "encryptionMethod": "A128CBC_HS256",
            "jwsAlgorithm": "HS256",
            "tokenExpiry": "300",
        },
        "storage": "stateless",
    })
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<(String, String)> {
    let mut file = whole();
    change(&mut file);
    let faults = Process::parse(&file.to_string()).expect_err("faults");
    faults.into_iter().map(|fault| (fault.pointer, fault.rule)).collect()
}

#[track_caller]
fn assert_fault(change: impl FnOnce(&mut Value), pointer: &str, rule: &str) {
    let faults = faults(change);
    let found = faults.iter().any(|(at, said)| at == pointer && said.contains(rule));
    assert!(found, "{pointer}: {rule}\nin {faults:#?}");
}

#[test]
fn idms_own_file_is_taken_as_it_is() {
    let (process, warnings) = Process::parse(&whole().to_string()).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(process.token_expiry, Duration::from_secs(300));
    let names: Vec<_> = process.stages.iter().map(StageSettings::name).collect();
    assert_eq!(names, ["parameters", "userQuery", "validateActiveAccount", "emailValidation", "resetStage"]);
    let Some(StageSettings::UserQuery(query)) = process.stages.get(1) else { panic!("a user query") };
    assert_eq!(query.valid_fields, [Field::new("userName"), Field::new("mail")]);
    assert!(process.email().unwrap().html);
}

#[test]
fn unknown_keys_are_warned_of() {
    let mut file = whole();
    file["stageConfigs"][1]["identityPhoneField"] = json!("phone");
    let (_, warnings) = Process::parse(&file.to_string()).unwrap();
    let pointers: Vec<_> = warnings.iter().map(|warning| warning.pointer.as_str()).collect();
    assert_eq!(pointers, ["/stageConfigs/1/identityPhoneField"]);
}

#[test]
fn every_fault_is_reported() {
    let found = faults(|file| {
        file["stageConfigs"][1].as_object_mut().unwrap().remove("identityEmailField");
        file["stageConfigs"][3]["mimeType"] = json!("text/rtf");
        file["stageConfigs"][4]["identityServiceUrl"] = json!("../user");
        file["snapshotToken"]["tokenExpiry"] = json!(0);
    });
    let pointers: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let expected = [
        "/snapshotToken/tokenExpiry",
        "/stageConfigs/1",
        "/stageConfigs/3/mimeType",
        "/stageConfigs/4/identityServiceUrl",
    ];
    assert_eq!(pointers, expected);
}

#[test]
fn a_letter_s_type_and_the_mail_service_are_idm_s() {
    let email = |change: fn(&mut Value)| {
        let mut file = whole();
        change(&mut file["stageConfigs"][3]);
        Process::parse(&file.to_string()).unwrap().0.email().unwrap().clone()
    };
    let usual = email(|_| {});
    assert_eq!((usual.mime_type.as_deref(), usual.service.as_deref()), (Some("text/html"), Some("external/email")));
    assert_eq!(usual.parameters, [("waitForCompletion".to_owned(), "false".to_owned())]);
    let xml = email(|email| email["mimeType"] = json!("text/xml"));
    assert!(xml.html && xml.mime_type.as_deref() == Some("text/xml"));
    let plain = email(|email| email["mimeType"] = json!(null));
    assert!(!plain.html && plain.mime_type.is_none());
    let some = email(|email| email["emailServiceParameters"] = json!({"a": 1, "b": "x y", "c": null}));
    assert_eq!(some.parameters, [("a", "1"), ("b", "x y")].map(|(name, text)| (name.to_owned(), text.to_owned())));
    assert_eq!(email(|email| email["emailServiceParameters"] = json!(null)).parameters, []);
    for wrong in [json!("x"), json!({"a": []}), json!({"_action": "sendTemplate"}), json!({"": "x"})] {
        let change = |file: &mut Value| file["stageConfigs"][3]["emailServiceParameters"] = wrong;
        assert_fault(change, "/stageConfigs/3/emailServiceParameters", "an object of texts, numbers, true and false");
    }
}

#[test]
fn what_idm_would_fill_in_is_a_fault() {
    let fill_in =
        |file: &mut Value| file["stageConfigs"][3]["verificationLink"] = json!("https://&{host}/#/passwordreset/");
    assert_fault(fill_in, "/stageConfigs/3/verificationLink", "nobody defines");
}

#[test]
fn stages_that_are_not_here_are_refused_by_name() {
    let other = |file: &mut Value| file["stageConfigs"][0] = json!({"name": "termsAndConditions"});
    assert_fault(other, "/stageConfigs/0/name", "must be a stage that resetgate has");
}

#[test]
fn a_status_that_nobody_reads_is_a_fault() {
    let unread = |file: &mut Value| {
        file["stageConfigs"][1].as_object_mut().unwrap().remove("identityAccountStatusField");
    };
    assert_fault(unread, "/stageConfigs/2", "identityAccountStatusField");
}

#[test]
fn nobody_sets_a_password_without_a_proof() {
    let remove =
        |index: usize| move |file: &mut Value| drop(file["stageConfigs"].as_array_mut().unwrap().remove(index));
    assert_fault(remove(3), "/stageConfigs", "proves the account's owner");
    assert_fault(remove(1), "/stageConfigs", "userQuery");
    assert_fault(remove(4), "/stageConfigs", "end with resetStage");
    assert_fault(
        |file| file["stageConfigs"].as_array_mut().unwrap().swap(3, 4),
        "/stageConfigs",
        "end with resetStage",
    );
    assert_fault(
        |file| file["stageConfigs"].as_array_mut().unwrap().swap(1, 3),
        "/stageConfigs",
        "one right after the other",
    );
    let twice = |file: &mut Value| {
        let stages = file["stageConfigs"].as_array_mut().unwrap();
        stages.insert(2, stages[1].clone());
    };
    assert_fault(twice, "/stageConfigs/2", "a second time");
}

#[test]
fn a_token_is_bound_to_stages_fields_and_addresses_but_not_to_texts() {
    let binding = |change: fn(&mut Value)| {
        let mut file = whole();
        change(&mut file);
        Process::parse(&file.to_string()).unwrap().0.binding()
    };
    let usual = binding(|_| {});
    assert_eq!(usual, binding(|file| file["stageConfigs"][3]["subjectTranslations"]["en"] = json!("Other words")));
    assert_ne!(usual, binding(|file| file["stageConfigs"][3]["verificationLink"] = json!("https://other.example/#/")));
    assert_ne!(usual, binding(|file| file["stageConfigs"][1]["identityEmailField"] = json!("email")));
    assert_ne!(usual, binding(|file| drop(file["stageConfigs"].as_array_mut().unwrap().remove(2))));
}

#[test]
fn what_is_no_process_is_said_to_be_none() {
    for text in ["", "[]", "{}", "null", "{\"stageConfigs\": [1], \"snapshotToken\": 2}"] {
        assert!(!Process::parse(text).unwrap_err().is_empty(), "{text}");
    }
}

fn captcha() -> Value {
    json!({
        "name": "captcha",
        "recaptchaSiteKey": "6Lsite",
        "recaptchaSecretKey": "6Lsecret",
        "recaptchaUri": "https://www.google.com/recaptcha/api/siteverify",
    })
}

fn insert(file: &mut Value, index: usize, stage: Value) {
    file["stageConfigs"].as_array_mut().unwrap().insert(index, stage);
}

#[test]
fn a_captcha_comes_before_the_query() {
    for index in [0, 1] {
        let mut file = whole();
        if index == 0 {
            file["stageConfigs"].as_array_mut().unwrap().remove(0);
        }
        insert(&mut file, index, captcha());
        let (process, warnings) = Process::parse(&file.to_string()).unwrap();
        assert_eq!((warnings.len(), process.stages[index].name()), (0, "captcha"));
        let settings = process.captcha().unwrap();
        assert_eq!(settings.site_key, "6Lsite");
        assert_eq!(settings.secret.unwrap().expose(), "6Lsecret");
        assert!(!format!("{process:?}").contains("6Lsecret") && !process.binding().contains("6Lsecret"));
    }
    let late = |index: usize| move |file: &mut Value| insert(file, index, captcha());
    assert_fault(late(2), "/stageConfigs/2", "must come before userQuery");
    assert_fault(late(4), "/stageConfigs/4", "must come before userQuery");
    assert_fault(late(0), "/stageConfigs", "parameters as its first stage");
    let twice = |file: &mut Value| {
        insert(file, 1, captcha());
        insert(file, 1, captcha());
    };
    assert_fault(twice, "/stageConfigs/2", "a second time");
}

#[test]
fn a_captcha_needs_what_idm_needs_and_its_secret_may_be_elsewhere() {
    let without = |key: &'static str| {
        move |file: &mut Value| {
            insert(file, 1, captcha());
            file["stageConfigs"][1].as_object_mut().unwrap().remove(key);
        }
    };
    assert_fault(without("recaptchaSiteKey"), "/stageConfigs/1", "recaptchaSiteKey");
    assert_fault(without("recaptchaUri"), "/stageConfigs/1", "recaptchaUri");
    let settings = |change: fn(&mut Value)| {
        let mut file = whole();
        insert(&mut file, 1, captcha());
        change(&mut file["stageConfigs"][1]);
        Process::parse(&file.to_string()).unwrap().0.captcha().unwrap()
    };
    assert!(settings(|stage| stage["recaptchaSecretKey"] = json!(null)).secret.is_none());
    let encrypted = json!({"$crypto": {"type": "x-simple-encryption", "value": {"data": "x"}}});
    let mut file = whole();
    insert(&mut file, 1, captcha());
    file["stageConfigs"][1]["recaptchaSecretKey"] = encrypted;
    assert!(Process::parse(&file.to_string()).unwrap().0.captcha().unwrap().secret.is_none());
    let own = settings(|stage| *stage = json!({"name": "captcha", "recaptchaUri": "altcha:"}));
    assert_eq!((own.site_key.as_str(), own.uri.as_str()), ("", OWN_CAPTCHA));
}

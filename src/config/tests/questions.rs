//! `selfservice.kba.json`: found beside the process file or by `reset.kba`, and named where it is wrong.

use super::*;

const KBA: &str = r#"{
    "kbaPropertyName": "kbaInfo",
    "minimumAnswersToVerify": 2,
    "questions": { "1": { "en": "Colour?" }, "2": { "en": "Pet?" } },
    "numberOfAttemptsAllowed": "3",
    "kbaAttemptsPropertyName": "kbaLockout"
}"#;

/// The usual process with that stage before the last.
fn process(stage: &str) -> String {
    let mut process: serde_json::Value = serde_json::from_str(PROCESS).unwrap();
    let stages = process["stageConfigs"].as_array_mut().unwrap();
    stages.insert(stages.len() - 1, serde_json::from_str(stage).unwrap());
    serde_json::to_string_pretty(&process).unwrap()
}

const STAGE: &str =
    r#"{"name": "kbaSecurityAnswerVerificationStage", "identityServiceUrl": "managed/user", "kbaConfig": null}"#;

fn with(folder: &Folder, stage: &str, reset: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    folder.put("selfservice-reset.json", &process(stage));
    let key = "process = \"selfservice-reset.json\"\n";
    folder.load(&GOOD.replace(key, &format!("{key}{reset}")))
}

#[test]
fn the_file_is_found_beside_the_process_or_where_it_is_said_to_be() {
    let folder = Folder::new();
    folder.put("selfservice.kba.json", KBA);
    let (config, warnings) = with(&folder, STAGE, "").unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let kba = config.reset.process.kba().unwrap();
    assert_eq!((kba.asked(), kba.kba.questions.len()), (Some(2), 2));
    assert!(config.files.iter().any(|file| file.ends_with("selfservice.kba.json")), "it is watched");
    let told: Vec<_> = config.told.iter().map(ToString::to_string).collect();
    let honoured = "is honoured: 2 of the answers in kbaInfo have to be given; wrong ones are counted in kbaLockout, and \
                    looked at until that is above 3";
    assert!(told.iter().any(|line| line.contains(honoured)), "{told:#?}");

    folder.put(
        "questions.json",
        &KBA.replace("\"minimumAnswersToVerify\": 2", "\"minimumAnswersToVerify\": \"&{verify|1}\""),
    );
    let (config, _) = with(&folder, STAGE, "kba = \"questions.json\"\n").unwrap();
    assert_eq!(config.reset.process.kba().unwrap().asked(), Some(1), "with expressions as in the process file");
}

#[test]
fn a_missing_one_is_a_fault_only_where_it_is_needed() {
    let folder = Folder::new();
    let faults = with(&folder, STAGE, "").unwrap_err();
    assert!(
        faults[0].contains("reset.kba: must name IDM's selfservice.kba.json, which the process needs"),
        "{faults:?}"
    );
    let faults = with(&folder, STAGE, "kba = \"none.json\"\n").unwrap_err();
    assert!(faults[0].contains("reset.kba = \"none.json\": must name a file that can be read"), "{faults:?}");
    let own = STAGE.replace("null", "{\"kbaPropertyName\": \"kba\", \"questions\": {\"1\": {\"en\": \"Colour?\"}}}");
    let own = own.replace("\"kbaConfig\"", "\"numberOfQuestionsUserMustAnswer\": \"1\", \"kbaConfig\"");
    let (config, warnings) = with(&folder, &own, "").unwrap();
    let kba = config.reset.process.kba().unwrap();
    assert_eq!((kba.asked(), kba.kba.property.as_str(), warnings.len()), (Some(1), "kba", 0));
    let (_, warnings) = with(&folder, &own, "kba = \"none.json\"\n").unwrap();
    assert!(warnings[0].contains("reset.kba = \"none.json\": does nothing"), "{warnings:?}");
}

#[test]
fn its_faults_have_their_file_and_line() {
    let folder = Folder::new();
    let wrong =
        KBA.replace("\"Pet?\"", "7").replace("\"minimumAnswersToVerify\": 2", "\"minimumAnswersToVerify\": \"two\"");
    folder.put("selfservice.kba.json", &wrong);
    let faults = with(&folder, STAGE, "").unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(
        faults[0].ends_with(
            "selfservice.kba.json:3: /minimumAnswersToVerify = \"two\": must be a whole number from 1 to 20"
        ),
        "{faults:#?}"
    );
    assert!(
        faults[1].contains("selfservice.kba.json:4: /questions/2 = …: must be an object with one text"),
        "{faults:#?}"
    );
    folder.put("selfservice.kba.json", "{");
    assert!(with(&folder, STAGE, "").unwrap_err()[0].contains("selfservice.kba.json:1: must be JSON"));
    folder.put("selfservice.kba.json", "{\"questions\": {}}");
    let faults = with(&folder, STAGE, "").unwrap_err();
    assert!(faults[0].contains("needs minimumAnswersToVerify beside its questions"), "{faults:#?}");
    let faults = with(&folder, &STAGE.replace("null", "7"), "").unwrap_err();
    assert!(
        faults[0].contains("/kbaConfig = 7: must be null, which is selfservice.kba.json, or an object"),
        "{faults:#?}"
    );
}

/// The questions in the place of the mailed code.
fn alone(folder: &Folder, fields: &str, kba: &str, more: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    let mut process: serde_json::Value = serde_json::from_str(PROCESS).unwrap();
    for stage in process["stageConfigs"].as_array_mut().unwrap() {
        if stage["name"] == "emailValidation" {
            *stage = serde_json::from_str(STAGE).unwrap();
        }
        if stage["name"] == "userQuery" {
            stage["validQueryFields"] = serde_json::from_str(fields).unwrap();
        }
    }
    folder.put("selfservice.kba.json", kba);
    folder.put("selfservice-reset.json", &process.to_string());
    let key = "process = \"selfservice-reset.json\"\n";
    let (reset, limits) = more.split_once('|').unwrap_or((more, ""));
    let toml = GOOD.replace(key, &format!("{key}{reset}")).replace("from = \"help@example.com\"\n", "");
    folder.load(&toml.replace("[limits]\n", &format!("[limits]\n{limits}\n")))
}

#[test]
fn questions_stand_alone_only_by_the_operators_word() {
    let folder = Folder::new();
    let named = |outcome: Result<(Config, Vec<String>), Vec<String>>, rule: &str| {
        let faults = outcome.unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(rule), "{rule}: {faults:#?}");
    };
    let one = "[\"userName\"]";
    let word = "kba_alone = true\n";
    named(
        alone(&folder, one, KBA, ""),
        "must have a stage that proves the account's owner: emailValidation, or security",
    );
    named(
        alone(&folder, "[\"userName\", \"mail\"]", KBA, word),
        "must have one field where strangers are asked questions",
    );
    let three = KBA.replace("\"minimumAnswersToVerify\": 2", "\"minimumAnswersToVerify\": 3");
    named(alone(&folder, one, &three, word), "asks strangers, and needs 3 questions of the process's own");
    for off in ["answer_per_account = \"0\"", "observe = [\"answer_per_account\"]"] {
        let limits = format!("{word}|{off}");
        named(alone(&folder, one, KBA, &limits), "reset.kba_alone = true: needs limits.answer_per_account");
    }
    let (config, warnings) = alone(&folder, one, KBA, word).unwrap();
    assert!(config.reset.process.email().is_none() && config.mail.from.is_none());
    assert!(warnings.iter().any(|w| w.contains("reset.kba_alone = true: lets strangers guess")), "{warnings:#?}");
    let told: Vec<_> = config.told.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|line| line.contains("no wrong ones are counted in kbaLockout")), "{told:#?}");
    let (_, warnings) = with(&folder, STAGE, word).unwrap();
    assert!(warnings.iter().any(|w| w.contains("reset.kba_alone = true: does nothing")), "{warnings:#?}");
}

#[test]
fn questions_come_after_the_mailed_code() {
    let folder = Folder::new();
    folder.put("selfservice.kba.json", KBA);
    let mut process: serde_json::Value = serde_json::from_str(PROCESS).unwrap();
    let stages = process["stageConfigs"].as_array_mut().unwrap();
    let query = stages.iter().position(|stage| stage["name"] == "userQuery").unwrap();
    stages.insert(query, serde_json::from_str(STAGE).unwrap());
    folder.put("selfservice-reset.json", &process.to_string());
    let faults = folder.load(GOOD).unwrap_err();
    assert!(faults.iter().any(|fault| fault.contains("must come after emailValidation")), "{faults:#?}");
    // By the operator's word before it, and never before the query.
    let key = "process = \"selfservice-reset.json\"\n";
    let word = GOOD.replace(key, &format!("{key}kba_alone = true\n"));
    assert!(folder.load(&word).unwrap_err().iter().any(|fault| fault.contains("one right after the other")));
    let stages = process["stageConfigs"].as_array_mut().unwrap();
    let stage = stages.remove(query);
    let email = stages.iter().position(|stage| stage["name"] == "emailValidation").unwrap();
    stages.insert(email, stage);
    stages[query]["validQueryFields"] = serde_json::json!(["userName"]);
    folder.put("selfservice-reset.json", &process.to_string());
    let (config, warnings) = folder.load(&word).unwrap();
    assert!(config.reset.process.asks_strangers() && config.reset.process.email().is_some());
    assert!(warnings.iter().any(|w| w.contains("lets strangers guess")), "{warnings:#?}");
}

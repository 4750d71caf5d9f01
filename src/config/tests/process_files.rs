//! Process files as those of IDM's own versions are, with all that IDM allows in them.

use super::*;

const OPENIDM_4: &str = include_str!("../../../tests/data/processes/openidm-4.json");
const IDM_7: &str = include_str!("../../../tests/data/processes/idm-7.json");
const PROPERTIES: &str = include_str!("../../../tests/data/processes/boot.properties");

fn with(process: &str, reset: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    let folder = Folder::new();
    folder.put("selfservice-reset.json", process);
    folder.put("boot.properties", PROPERTIES);
    let key = "process = \"selfservice-reset.json\"\n";
    folder.load(&GOOD.replace(key, &format!("{key}{reset}")).replace("from = \"help@example.com\"\n", ""))
}

fn told(config: &Config) -> Vec<String> {
    config
        .told
        .iter()
        .map(|told| told.to_string().split_once("selfservice-reset.json:").unwrap().1.to_owned())
        .collect()
}

#[test]
fn that_of_openidm_4_works_as_it_is() {
    let (config, warnings) = with(OPENIDM_4, "").unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.reset.process.token_expiry.as_secs(), 1800);
    assert_eq!(config.mail.from.as_deref(), Some("helpdesk@example.org"));
    let expected = [
        "32: /snapshotToken = …: has type, keyPairAlgorithm, keyPairSize, jweAlgorithm, encryptionMethod, jwsAlgorithm, \
         in place of which each token is a JWT (HS256) whose state is sealed, by token.keys",
        "39: /snapshotToken/tokenExpiry = \"1800\": is honoured: the asker's tokens live so many seconds; the mailed link \
         lives reset.link_lifetime",
        "41: /storage = \"stateless\": is replaced: a client carries the state; codes and tries are where codes.store says",
    ];
    assert_eq!(told(&config), expected);
}

#[test]
fn expressions_are_filled_in_from_a_properties_file() {
    let (config, warnings) = with(IDM_7, "properties = [\"boot.properties\"]\n").unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let process = &config.reset.process;
    assert_eq!(process.token_expiry.as_secs(), 600);
    assert_eq!(config.mail.from.as_deref(), Some("helpdesk@example.org"));
    let email = process.email().unwrap();
    assert_eq!(email.verification_link, "https://id.example.org:443/#/passwordreset/");
    assert_eq!(email.subjects[0].1, "Choose a new password at id.example.org");
    let binding = process.binding();
    assert!(binding.contains("managed/alpha_user") && !binding.contains("&{"), "{binding}");
    assert!(told(&config).iter().any(|line| line.contains("/storage = \"LOCAL\": is replaced")));
    // Another file, or another value, is taken up as a change of any other file is.
    assert!(config.files.iter().any(|file| file.ends_with("boot.properties")));
}

#[test]
fn what_nobody_defines_is_named_where_it_stands_and_as_it_is_written() {
    let faults = with(IDM_7, "").unwrap_err();
    let rule = "must not hold a &{…} that nobody defines: set it in the environment (a.b is A_B there) or in a file of \
                reset.properties, or give it a default (&{a.b|x})";
    for expected in [
        format!("selfservice-reset.json:12: /stageConfigs/1/identityServiceUrl = \"managed/&{{realm}}_user\": {rule}"),
        format!("selfservice-reset.json:20: /stageConfigs/3/from = \"&{{mail.from}}\": {rule}"),
        format!("selfservice-reset.json:33: /snapshotToken/tokenExpiry = …: {rule}"),
    ] {
        assert!(faults.contains(&expected), "{expected}\nin {faults:#?}");
    }
    // Nothing is said of them that only follows from that.
    assert!(faults.len() == 6 && faults.iter().all(|fault| fault.ends_with(&rule)), "{faults:#?}");
}

#[test]
fn a_fault_shows_the_expression_and_not_what_it_comes_to() {
    let wrong = PROPERTIES.replace("realm=alpha", "realm=hunter2?").replace("600", "hunter3");
    let folder = Folder::new();
    folder.put("selfservice-reset.json", IDM_7);
    folder.put("boot.properties", &wrong);
    let key = "process = \"selfservice-reset.json\"\n";
    let faults = folder.load(&GOOD.replace(key, &format!("{key}properties = [\"boot.properties\"]\n"))).unwrap_err();
    let all = faults.join("\n");
    assert!(
        all.contains("/stageConfigs/1/identityServiceUrl = \"managed/&{realm}_user\": must be a relative path"),
        "{all}"
    );
    assert!(all.contains("/snapshotToken/tokenExpiry = …: must be a text that its transformation"), "{all}");
    assert!(!all.contains("hunter"), "{all}");
}

#[test]
fn a_file_that_defines_nothing_is_a_fault_of_its_key() {
    let folder = Folder::new();
    folder.put("broken.properties", "a = b\nc = \\u00x\n");
    let key = "process = \"selfservice-reset.json\"\n";
    let lists = "properties = [\"broken.properties\", \"none.properties\"]\n";
    let faults = folder.load(&GOOD.replace(key, &format!("{key}{lists}"))).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("reset.properties[0] = \"broken.properties\": must name a Java properties file"),
        "{faults:?}"
    );
    assert!(
        faults[1].contains("reset.properties[1] = \"none.properties\": must name a file that can be read"),
        "{faults:?}"
    );
}

#[test]
fn a_stage_by_its_class_is_refused_by_that() {
    let with_class = |class: &str| {
        let (name, rest) = IDM_7.split_once("{ \"name\" : \"validateActiveAccount\",").unwrap();
        let process = format!("{name}{{ \"class\" : \"{class}\",{rest}");
        with(&process, "properties = [\"boot.properties\"]\n").unwrap_err()
    };
    let own = with_class("org.forgerock.selfservice.stages.user.ValidateActiveAccountConfig");
    assert!(
        own[0].contains("/stageConfigs/2/class = ") && own[0].contains("must be \"name\": \"validateActiveAccount\""),
        "{own:?}"
    );
    let other = with_class("com.example.selfservice.SmsStageConfig");
    assert!(other[0].contains("\"com.example.selfservice.SmsStageConfig\": is a stage in Java"), "{other:?}");
    assert_eq!((own.len(), other.len()), (1, 1));
}

#[test]
fn a_secret_that_idm_encrypted_is_told_to_be_given_anew() {
    let encrypted = "\"$crypto\" : { \"type\" : \"x-simple-encryption\", \"value\" : { \"data\" : \"hunter2\" } }";
    let process = IDM_7.replace("\"&{mail.from}\"", &format!("{{ {encrypted} }}"));
    let faults = with(&process, "properties = [\"boot.properties\"]\n").unwrap_err();
    assert!(faults.iter().any(|fault| fault.contains("is encrypted with IDM's own keys")), "{faults:?}");
    assert!(!faults.join("").contains("hunter2"));
}

#[test]
fn fewer_fields_can_be_queried_than_the_file_says() {
    let reset = |fields: &str| format!("properties = [\"boot.properties\"]\nquery_fields = {fields}\n");
    let binding = |fields: &str| with(IDM_7, &reset(fields)).unwrap().0.reset.process.binding();
    assert!(binding("[\"mail\"]").contains("valid_fields: [Field(\"mail\")]"), "{}", binding("[\"mail\"]"));
    assert_eq!(binding("[]"), binding("[\"userName\", \"/mail\"]"));
    let faults = with(IDM_7, &reset("[\"mail\", \"sn\"]")).unwrap_err();
    let rule = "reset.query_fields[1] = \"sn\": must be one of validQueryFields in the process file";
    assert!(faults.len() == 1 && faults[0].ends_with(rule), "{faults:?}");
}

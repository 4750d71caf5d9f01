//! What a service says of an answer, and what is made of it.

use serde::Deserialize;
use serde_json::Value;

/// What the service says. A member that is there twice, or is of another type, makes it nonsense: two readers could differ.
#[derive(Debug, Deserialize)]
pub(super) struct Said {
    pub(super) success: bool,
    score: Option<f64>,
    action: Option<String>,
    hostname: Option<String>,
    #[serde(rename = "error-codes")]
    errors: Option<Value>,
}

impl Said {
    /// Reads a body: an object, and nothing after it.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        // A list would be taken for the members in their order.
        let object = body.trim_ascii_start().starts_with(b"{");
        object.then(|| serde_json::from_slice(body).ok())?
    }

    /// Whether it says that the mistake is ours: the secret is none, or another site's.
    pub(super) fn blames_us(&self) -> bool {
        const OURS: [&str; 4] =
            ["missing-input-secret", "invalid-input-secret", "sitekey-secret-mismatch", "not-using-dummy-secret"];
        !self.success && self.errors().any(|error| OURS.contains(&error))
    }

    /// Whether it says that it could not do its work.
    pub(super) fn is_its_own_fault(&self) -> bool {
        !self.success && self.errors().any(|error| error == "internal-error")
    }

    fn errors(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str)
    }
}

/// What an answer must be besides right.
pub(super) struct Rules {
    pub(super) min_score: Option<f64>,
    pub(super) action: Option<String>,
    pub(super) hostnames: Vec<String>,
}

impl Rules {
    /// Why an answer is refused, if it is. What the service does not say is not so.
    pub(super) fn refuse(&self, said: &Said) -> Option<&'static str> {
        let Self { min_score, action, hostnames } = self;
        let known = |name: &String| hostnames.iter().any(|known| known.eq_ignore_ascii_case(name));
        if !said.success {
            Some("unsolved")
        } else if !hostnames.is_empty() && !said.hostname.as_ref().is_some_and(known) {
            Some("hostname")
        } else if action.is_some() && said.action != *action {
            Some("action")
        } else if min_score.is_some_and(|least| !said.score.is_some_and(|score| score >= least && score <= 1.0)) {
            Some("score")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Said> {
        Said::read(body.as_bytes())
    }

    const NONE: Rules = Rules { min_score: None, action: None, hostnames: Vec::new() };

    #[test]
    fn only_an_object_that_says_true_once_is_a_yes() {
        let yes = [
            r#"{"success": true}"#,
            " \n{\"success\":true,\"challenge_ts\":\"2026-01-01T00:00:00Z\",\"hostname\":\"a.example\"}",
            r#"{"success": true, "error-codes": [], "score": null, "cdata": {"success": false}}"#,
            r#"{"success": true, "error-codes": "odd"}"#,
        ];
        for body in yes {
            assert_eq!(NONE.refuse(&read(body).expect(body)), None, "{body}");
        }
        let nonsense = [
            "",
            "true",
            "[true]",
            "[true, 0.9]",
            "null",
            "\"success\"",
            "{}",
            "<html>success</html>",
            r#"{"success": "true"}"#,
            r#"{"success": 1}"#,
            r#"{"success": null}"#,
            r#"{"success": [true]}"#,
            r#"{"success": {"success": true}}"#,
            r#"{"result": {"success": true}}"#,
            r#"{"Success": true}"#,
            r#"[{"success": true}]"#,
            r#"{"success": true, "success": false}"#,
            r#"{"success": false, "success": true}"#,
            r#"{"success": true} {"success": true}"#,
            r#"{"success": true"#,
            r#"{"success": true, "score": "0.9"}"#,
            r#"{"success": true, "hostname": ["a"]}"#,
            r#"{"success": true, "hostname": "a", "hostname": "b"}"#,
            "\u{feff}{\"success\": true}",
        ];
        for body in nonsense {
            assert!(read(body).is_none(), "{body}");
        }
        assert!(Said::read(b"{\"success\": true, \"hostname\": \"\xff\"}").is_none());
        assert_eq!(NONE.refuse(&read(r#"{"success": false}"#).unwrap()), Some("unsolved"));
    }

    #[test]
    fn what_is_asked_for_must_be_said() {
        let rules = Rules {
            min_score: Some(0.5),
            action: Some("reset".to_owned()),
            hostnames: vec!["id.example.org".to_owned(), "b.example".to_owned()],
        };
        let refused = |members: &str| rules.refuse(&read(&format!("{{\"success\": true{members}}}")).unwrap());
        let good = r#", "hostname": "ID.example.org", "action": "reset", "score": 0.5"#;
        assert_eq!(refused(good), None);
        for (from, to, why) in [
            ("ID.example.org", "evil.example", "hostname"),
            ("ID.example.org", "id.example.org.evil.example", "hostname"),
            ("ID.example.org", "", "hostname"),
            ("\"reset\"", "\"login\"", "action"),
            ("\"reset\"", "null", "action"),
            ("\"reset\"", "\"RESET\"", "action"),
            ("0.5", "0.49", "score"),
            ("0.5", "null", "score"),
            ("0.5", "-1", "score"),
            ("0.5", "99", "score"),
        ] {
            assert_eq!(refused(&good.replace(from, to)), Some(why), "{to}");
        }
        assert_eq!(refused(""), Some("hostname"));
    }

    #[test]
    fn whose_fault_it_is_is_told_apart() {
        let said = |errors: &str| read(&format!("{{\"success\": false, \"error-codes\": {errors}}}")).unwrap();
        assert!(said(r#"["invalid-input-secret"]"#).blames_us());
        assert!(said(r#"["invalid-input-response", "missing-input-secret"]"#).blames_us());
        assert!(said(r#"["sitekey-secret-mismatch"]"#).blames_us());
        assert!(said(r#"["internal-error"]"#).is_its_own_fault());
        for errors in [r#"["invalid-input-response"]"#, r#"["timeout-or-duplicate"]"#, "[]", "null", "7", "[7]"] {
            assert!(!said(errors).blames_us() && !said(errors).is_its_own_fault(), "{errors}");
        }
        assert!(!read(r#"{"success": true, "error-codes": ["invalid-input-secret"]}"#).unwrap().blames_us());
    }
}

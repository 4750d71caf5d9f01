//! IDM's configuration expressions: `&{openidm.host}` in the process file and its companions, and the few objects that
//! turn a text into something else, such as `{"$int": "&{expiry}"}`.
//!
//! As in IDM, a token is looked for in the environment first (`openidm.host` is `OPENIDM_HOST` there), then in properties
//! files; what is found may hold expressions again; `&{token|default}` has a default. Names of members are never
//! expressions. What nobody defines stays as it is, to be refused where it stands.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Number, Value};

use super::{raw::Section, secret::Surroundings};

/// How deep an expression may lead to another.
const DEPTH: usize = 8;
/// The longest text that an expression may come to.
const MAX_TEXT: usize = 64 << 10;

/// Where expressions are looked up.
pub(super) struct Expressions<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    files: Vec<HashMap<String, String>>,
}

impl<'a> Expressions<'a> {
    /// Reads the files that `properties` names, of which the first that has a token counts. `None` where one is wrong.
    pub(super) fn read(section: &mut Section<'_>, around: &'a Surroundings<'_>) -> Option<Self> {
        let files = section.list("properties", &[], |text| {
            properties(&around.read(text)?).map_err(|line| match line {
                Some(line) => format!("must name a Java properties file, and is none in line {line}"),
                None => "must name a Java properties file".to_owned(),
            })
        });
        Some(Self { env: around.env, files: files? })
    }

    /// The value without expressions, as far as they are defined; what is wrong with a transformation is said of its
    /// pointer.
    pub(super) fn fill(&self, value: Value, say: &mut dyn FnMut(&str, &'static str)) -> Value {
        self.fill_at(value, &mut String::new(), say)
    }

    fn fill_at(&self, value: Value, pointer: &mut String, say: &mut dyn FnMut(&str, &'static str)) -> Value {
        match value {
            Value::String(text) => self.text(&text, DEPTH).unwrap_or(text).into(),
            Value::Array(items) => {
                let fill = |(index, item)| self.below(&format!("/{index}"), item, pointer, say);
                items.into_iter().enumerate().map(fill).collect()
            }
            Value::Object(members) => {
                let transformed = match members.iter().next() {
                    Some((name, inner)) if members.len() == 1 => transformation(name).map(|how| (how, inner.clone())),
                    _ => None,
                };
                let Some((how, inner)) = transformed else {
                    let fill = |(name, member): (String, Value)| {
                        let step = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
                        let member = self.below(&step, member, pointer, say);
                        (name, member)
                    };
                    return Value::Object(members.into_iter().map(fill).collect());
                };
                let filled = match self.fill_at(inner, pointer, say) {
                    Value::String(text) if !text.contains("&{") => how(&text),
                    // Said of what it is that nobody defines.
                    Value::String(text) => return text.into(),
                    _ => None,
                };
                filled.unwrap_or_else(|| {
                    say(pointer, "must be a text that its transformation can make something of");
                    Value::Object(members)
                })
            }
            plain => plain,
        }
    }

    fn below(&self, step: &str, value: Value, pointer: &mut String, say: &mut dyn FnMut(&str, &'static str)) -> Value {
        let length = pointer.len();
        pointer.push_str(step);
        let value = self.fill_at(value, pointer, say);
        pointer.truncate(length);
        value
    }

    /// The text without its expressions; `None` if one of them comes to nothing.
    fn text(&self, text: &str, depth: usize) -> Option<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, expression)) = rest.split_once("&{") {
            filled.push_str(before);
            let end = end(expression)?;
            let (inner, after) = expression.split_at_checked(end)?;
            let (token, default) = match inner.split_once('|') {
                Some((token, default)) => (token, Some(default)),
                None => (inner, None),
            };
            let found = self.look_up(token.trim()).or_else(|| default.map(str::to_owned))?;
            filled.push_str(&self.text(&found, depth.checked_sub(1)?)?);
            rest = after.strip_prefix('}')?;
            if filled.len() > MAX_TEXT {
                return None;
            }
        }
        filled.push_str(rest);
        Some(filled)
    }

    fn look_up(&self, token: &str) -> Option<String> {
        let variable = token.replace('.', "_").to_uppercase();
        (self.env)(&variable).or_else(|| self.files.iter().find_map(|file| file.get(token).cloned()))
    }
}

/// What a Java properties file defines; the error is the line that defines nothing.
fn properties(text: &str) -> Result<HashMap<String, String>, Option<usize>> {
    // The format is of a time before UTF-8: other characters are spelled out.
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            ascii.push_str(&units);
        }
    }
    java_properties::read(ascii.as_bytes()).map_err(|fault| fault.line_number())
}

/// Where an expression's own brace closes: its default may hold others.
fn end(expression: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in expression.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// What makes something else of a text.
type Transformation = fn(&str) -> Option<Value>;

/// That of a name, as IDM has them.
fn transformation(name: &str) -> Option<Transformation> {
    Some(match name {
        "$string" => |text| Some(text.into()),
        "$int" => |text| Some(text.trim().parse::<i64>().ok()?.into()),
        "$number" => |text| text.trim().parse::<Number>().ok().map(Value::Number),
        "$bool" => |text| match text.trim() {
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            _ => None,
        },
        "$list" => |text| Some(text.split(',').map(str::trim).collect()),
        "$array" => |text| serde_json::from_str::<Vec<Value>>(text).ok().map(Value::Array),
        "$object" => |text| serde_json::from_str::<Map<_, _>>(text).ok().map(Value::Object),
        "$base64:encode" => |text| Some(STANDARD.encode(text).into()),
        "$base64:decode" => |text| Some(String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(name: &str) -> Option<String> {
        let text = match name {
            "OPENIDM_HOST" => "id.example.org",
            "PORT" => "&{port.prefix}43",
            "PORT_PREFIX" => "84",
            "ROUND" => "&{round}",
            "LIFE" => "300",
            "WHERE" => "env",
            _ => return None,
        };
        Some(text.to_owned())
    }

    fn filled(value: Value) -> (Value, Vec<String>) {
        let file = |text: &str| properties(text).unwrap();
        let files = vec![
            file("# IDM's boot.properties\nopenidm.instance.type = clustered\nwhere=file\na.b : one \\\n  two\n"),
            file("openidm.instance.type=other\numl=\\u00fc\nown=ü\n"),
        ];
        let mut said = Vec::new();
        let expressions = Expressions { env: &env, files };
        let value = expressions.fill(value, &mut |pointer, rule| said.push(format!("{pointer}: {rule}")));
        (value, said)
    }

    fn text(text: &str) -> String {
        filled(json!(text)).0.as_str().unwrap().to_owned()
    }

    #[test]
    fn a_token_is_of_the_environment_or_of_the_first_file_that_has_it() {
        assert_eq!(text("https://&{openidm.host}:&{port}/#/x/"), "https://id.example.org:8443/#/x/");
        assert_eq!(text("&{openidm.instance.type}"), "clustered");
        assert_eq!(text("&{where}"), "env");
        assert_eq!(text("&{a.b} &{uml}&{own}"), "one two üü");
        assert_eq!(properties("a=b\nc=\\u00x"), Err(Some(2)));
    }

    #[test]
    fn a_default_is_for_what_nobody_defines() {
        assert_eq!(text("&{none|x y}"), "x y");
        assert_eq!(text("&{none|}"), "");
        assert_eq!(text("&{none|&{openidm.host}}!"), "id.example.org!");
        assert_eq!(text("&{openidm.host|x}"), "id.example.org");
    }

    #[test]
    fn what_comes_to_nothing_stays_as_it_is() {
        for unresolved in
            ["&{none}", "a &{openidm.host} &{none}", "&{round}", "&{", "&{openidm.host", "&{none|&{none}}"]
        {
            assert_eq!(text(unresolved), unresolved);
        }
        for plain in ["", "a & b {c}", "}", "&amp;"] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn texts_become_what_they_are_to_be() {
        let value = json!({
            "expiry": {"$int": "&{life}"},
            "ratio": {"$number": "0.5"},
            "on": {"$bool": "true"},
            "fields": {"$list": "userName, mail"},
            "array": {"$array": "[1, \"&{life}\"]"},
            "object": {"$object": {"$base64:decode": "eyJhIjoxfQ=="}},
            "text": {"$string": "&{life}"},
            "own": {"$crypto": {"type": "x"}, "&{life}": 1},
        });
        let (value, said) = filled(value);
        assert_eq!(said, Vec::<String>::new());
        let expected = json!({
            "expiry": 300,
            "ratio": 0.5,
            "on": true,
            "fields": ["userName", "mail"],
            "array": [1, "300"],
            "object": {"a": 1},
            "text": "300",
            "own": {"$crypto": {"type": "x"}, "&{life}": 1},
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn what_cannot_is_said_where_it_stands() {
        let (_, said) = filled(json!({"a/b": [{"$int": "x"}, {"$bool": 7}, {"$int": "&{none}"}]}));
        let rule = "must be a text that its transformation can make something of";
        assert_eq!(said, [format!("/a~1b/0: {rule}"), format!("/a~1b/1: {rule}")]);
    }
}

//! The names of the fields in `tracing`'s macros.

const MACROS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "event"];

/// Each field with its line.
pub(super) fn logged(source: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices("tracing::") {
        let rest = &source[at + "tracing::".len()..];
        let Some((name, rest)) = rest.split_once("!(") else { continue };
        if !MACROS.contains(&name) {
            continue;
        }
        let line = source[..at].matches('\n').count() + 1;
        // What comes after the message are its own parts.
        let before_message = arguments(rest).into_iter().take_while(|argument| !argument.starts_with('"'));
        let fields = before_message.filter(|argument| !argument.starts_with("target:") && !is_level(argument));
        found.extend(fields.map(|field| (name_of(&field), line)));
    }
    found
}

/// What stands between the commas up to the closing bracket.
fn arguments(text: &str) -> Vec<String> {
    let (mut all, mut now, mut depth, mut quoted) = (Vec::new(), String::new(), 0, false);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' if quoted => {
                now.push(char);
                now.extend(chars.next());
                continue;
            }
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(std::mem::take(&mut now).trim().to_owned());
                continue;
            }
            _ => {}
        }
        now.push(char);
    }
    all.push(now.trim().to_owned());
    all.retain(|argument| !argument.is_empty());
    all
}

fn is_level(argument: &str) -> bool {
    argument.starts_with("Level::") || argument.starts_with('$')
}

fn name_of(field: &str) -> String {
    let name = field.split_once('=').map_or(field, |(name, _)| name);
    name.trim().trim_start_matches(['%', '?']).to_owned()
}

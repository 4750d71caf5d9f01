//! `[reset]`: the path, the process file, and how long things last.

use std::time::Duration;

use super::{
    LimitName, Limits, Rate, Reset,
    expressions::Expressions,
    messages::messages,
    process::{self, ProcessFile},
    raw::Section,
    secret::Surroundings,
    units,
};
use crate::reset::process::Process;

/// Reads the process file that the section names.
pub(super) fn process_file<'n>(section: &mut Section<'n>, around: &Surroundings<'_>) -> Option<ProcessFile<'n>> {
    let notes = section.notes();
    let expressions = Expressions::read(section, around);
    let alone = section.flag("kba_alone");
    let fields = section.list("query_fields", &[], |text| match text.trim_matches('/') {
        "" => Err("must be the name of an attribute".to_owned()),
        name => Ok(name.to_owned()),
    });
    let fields = fields.unwrap_or_default();
    let read = section
        .required("process", |text| around.process(text).map(|found| (text.to_owned(), around.path(text), found)));
    let loaded = read.and_then(|(name, path, text)| {
        Some((name, process::load(&path, text, expressions.as_ref()?, (&fields, alone), notes)?))
    });
    let Some((name, mut file)) = loaded else {
        // Nobody knows yet whether it is needed.
        section.optional("kba", |text| around.place(text));
        return None;
    };
    for (index, name) in fields.iter().enumerate() {
        if !file.has_query_field(name) {
            section.item_fault("query_fields", index, "must be one of validQueryFields in the process file");
        }
    }
    questions(section, &name, &mut file, expressions.as_ref()?, around);
    let asks = file.process.as_ref().map(Process::asks_strangers);
    if alone && asks == Some(false) {
        section.warn("kba_alone", "does nothing: no stranger is asked a security question by this process");
    } else if alone {
        section.warn(
            "kba_alone",
            "lets strangers guess the answers that people give, which others often know, and keeps owners out meanwhile",
        );
    }
    Some(file)
}

/// Reads the file of security questions, where the process needs one.
fn questions(
    section: &mut Section<'_>,
    process: &str,
    file: &mut ProcessFile<'_>,
    expressions: &Expressions<'_>,
    around: &Surroundings<'_>,
) {
    if file.wants_questions() {
        let beside = ProcessFile::beside(process);
        let found = section.or("kba", &beside, |text| around.read(text).map(|found| (around.path(text), found)));
        if found.is_none() && !section.has("kba") {
            let rule = "must name IDM's selfservice.kba.json, which the process needs";
            section.fault("kba", &format!("{rule}, and which is not at {beside}"));
        }
        if let Some((path, text)) = found {
            file.take_questions(&path, text, expressions);
        }
    } else {
        section.optional("kba", |text| around.place(text));
        if section.has("kba") {
            section.warn("kba", "does nothing: no stage of the process leaves its questions to that file");
        }
    }
    file.check_questions();
}

/// Reads the rest of it.
pub(super) fn reset(mut section: Section<'_>, file: Option<ProcessFile<'_>>, limits: Option<&Limits>) -> Option<Reset> {
    let path = section.or("path", "/openidm/selfservice/reset", units::path);
    let link_lifetime = section.or("link_lifetime", "20m", units::duration_in("1s"..="24h"));
    let answer_floor = section.or("answer_floor", "250ms", units::duration_in("1ms"..="10s"));
    let repeat_window = section.or("repeat_window", "60s", units::duration_in("1s"..="10m"));
    let mail_gap = section.or("mail_gap", "60s", units::duration_in("0s"..="1h"));
    let max_in_flight = section.number("max_in_flight", 4096, 1..=100_000);
    let crest_ids = section.flag("crest_ids");
    let reveal_unknown_accounts = section.flag("reveal_unknown_accounts");
    if reveal_unknown_accounts {
        section.warn("reveal_unknown_accounts", "tells strangers who has an account");
    }
    let case_sensitive = section.flag("case_sensitive");
    let sharing = [("none", false), ("each", true)];
    let each_of_a_mailbox = section.or("shared_mailbox", "none", |text| units::one_of(text, &sharing));
    if let Some(life) = link_lifetime {
        check_reach(&section, life, mail_gap, limits.and_then(|limits| limits.mail_per_account));
    }
    let unguarded =
        |limits: &Limits| limits.answer_per_account.is_none() || limits.observe.contains(&LimitName::AnswerPerAccount);
    let alone = file.as_ref().and_then(|file| file.process.as_ref()).is_some_and(Process::asks_strangers);
    if alone && limits.is_some_and(unguarded) {
        section.fault("kba_alone", "needs limits.answer_per_account: answers can be guessed");
    }
    let messages = messages(section.section("messages"));
    let mut cors = section.section("cors");
    let cors_origins = cors.list("origins", &[], units::origin);
    cors.finish();
    section.finish();
    Some(Reset {
        path: path?,
        process: file?.process?,
        link_lifetime: link_lifetime?,
        answer_floor: answer_floor?,
        repeat_window: repeat_window?,
        mail_gap: mail_gap?,
        crest_ids,
        reveal_unknown_accounts,
        case_sensitive,
        each_of_a_mailbox: each_of_a_mailbox?,
        messages: messages?,
        cors_origins: cors_origins?,
        max_in_flight: usize::try_from(max_in_flight?).ok()?,
    })
}

/// At any moment an owner either can get a mail or holds a live link, whatever strangers have asked for.
fn check_reach(section: &Section<'_>, life: Duration, gap: Option<Duration>, mails: Option<Rate>) {
    const OR: &str = "or an owner could be without mail and without link";
    if let Some(refill) = mails.map(|rate| rate.refill()).filter(|refill| life < *refill) {
        let refill = refill.as_secs_f64();
        section.fault(
            "link_lifetime",
            &format!("must be at least one refill of limits.mail_per_account, {refill}s, {OR}"),
        );
    }
    if gap.is_some_and(|gap| gap > life) {
        section.fault("mail_gap", &format!("must not be longer than reset.link_lifetime, {OR}"));
    }
}

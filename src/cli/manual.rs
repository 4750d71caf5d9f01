//! Manual pages and completions, made of the command line's own definition.

use clap::Command;
pub use clap_complete::Shell;
use clap_complete::generate;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

/// What a page says besides the command line.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "EXIT STATUS",
        &[
            ("0", "What was asked for is done; of run: it was told to end, and has finished what it had begun."),
            ("1", "It failed, for a reason that it told standard error: a port is taken, a folder cannot be read."),
            ("64", "The command line or the configuration is wrong; each fault was told with its file, line and key."),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM",
                "Ends in good order: it says that it is not ready, lets nobody in any more after drain.linger, and finishes \
                 what runs and what is queued for mail, within drain.within. A second one ends it at once.",
            ),
            ("SIGINT", "Ends it at once."),
            (
                "SIGHUP",
                "Reads the configuration and the process file anew, and takes them up as a whole if they hold. If they do \
                 not, the log says why, and it goes on as before.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("RESETGATE_LOG", "What is logged, such as info, or info,resetgate::proxy=debug; info by default."),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
                "Where a service manager wants to hear how it goes: sd_notify(3).",
            ),
            (
                "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
                "Sockets that a service manager opened, for systemd:NAME in listen.addresses.",
            ),
            ("any other", "Where the configuration names it for a secret, as env:NAME."),
        ],
    ),
    (
        "FILES",
        &[
            (
                "the configuration (--config)",
                "TOML. Its reference, conf/resetgate.toml, has every key with its default, unit and effect. Relative paths in \
                 it begin at its own folder.",
            ),
            ("the process file (reset.process)", "The identity management server's own selfservice-reset.json."),
            ("secrets (file:PATH)", "One in a file, that nobody else may read. They are taken up when they change."),
            ("codes.state_file", "What an end leaves to the next start, sealed, so that mailed links go on working."),
            ("upgrade.folder", "Where run --upgrade meets the process that runs."),
        ],
    ),
];

/// The script that a shell reads.
pub(super) fn completions(shell: Shell, mut command: Command) -> Vec<u8> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    generate(shell, &mut command, name, &mut script);
    script
}

/// The page of the program, and after it that of each command, with the names of their files.
pub(super) fn pages(command: Command) -> Vec<(String, Vec<u8>)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = vec![("resetgate.1".to_owned(), page(&command, true))];
    for sub in command.get_subcommands() {
        let name = sub.get_display_name().unwrap_or_else(|| sub.get_name());
        pages.push((format!("{name}.1"), page(sub, false)));
    }
    pages
}

fn page(command: &Command, whole: bool) -> Vec<u8> {
    let man = Man::new(command.clone());
    let mut out = Vec::new();
    // To write into memory does not fail.
    let _ = man.render_title(&mut out);
    let _ = man.render_name_section(&mut out);
    let _ = man.render_synopsis_section(&mut out);
    let _ = man.render_description_section(&mut out);
    let _ = man.render_options_section(&mut out);
    if whole {
        let _ = man.render_subcommands_section(&mut out);
    }
    let mut roff = Roff::new();
    for (title, entries) in SECTIONS.iter().filter(|(title, _)| whole || *title == "EXIT STATUS") {
        roff.control("SH", [*title]);
        for (name, text) in *entries {
            roff.control("TP", []);
            roff.text([clap_mangen::roff::bold(*name)]);
            roff.text([roman(*text)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let also = if whole { names(command) } else { "resetgate(1)".to_owned() };
    roff.text([roman(also)]);
    let _ = roff.to_writer(&mut out);
    out
}

fn names(command: &Command) -> String {
    let names: Vec<_> = command.get_subcommands().map(|sub| format!("resetgate-{}(1)", sub.get_name())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;
    use crate::cli::CommandLine;

    /// As it is read: without what roff needs.
    fn read(page: &[u8]) -> String {
        String::from_utf8(page.to_vec()).unwrap().replace("\\-", "-").replace("\\fB", "").replace("\\fR", "")
    }

    #[test]
    fn every_command_and_option_has_its_place_in_the_manual() {
        let pages = pages(CommandLine::command());
        let whole = read(&pages[0].1);
        for (title, _) in SECTIONS {
            assert!(whole.contains(&format!(".SH \"{title}\"")) || whole.contains(&format!(".SH {title}")), "{whole}");
        }
        let mut command = CommandLine::command();
        command.build();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let name = format!("resetgate-{}", sub.get_name());
            assert!(whole.contains(&format!("{name}(1)")), "{name} in {whole}");
            let (_, page) = pages.iter().find(|(file, _)| *file == format!("{name}.1")).unwrap();
            let page = read(page);
            for option in sub.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(page.contains(&format!("--{option}")), "--{option} in {page}");
            }
            assert!(page.contains("EXIT STATUS") && page.contains("resetgate(1)"), "{page}");
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell, CommandLine::command())).unwrap();
            for sub in CommandLine::command().get_subcommands() {
                assert!(script.contains(sub.get_name()), "{shell:?}: {}", sub.get_name());
            }
        }
    }
}

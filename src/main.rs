//! resetgate: the program. Exit codes: 0, 1 when it failed, 64 for a bad command line or configuration.

use std::{error::Error, io, net::SocketAddr, process::ExitCode, sync::Arc};

use resetgate::{
    app::{self, App, StartError},
    cli::{self, Command},
    config::{Config, LogFormat},
    demo, memory,
    supervisor::Supervisor,
    telemetry::log,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = cli::parse();
    if let Err(fault) = memory::forbid_dumps() {
        warn("a crash may leave this process's memory, with its secrets, on a disk", &fault);
    }
    if let Err(fault) = memory::forbid_huge_pages() {
        warn("this process may take more memory than it needs", &fault);
    }
    match command {
        Command::Check { config, .. } => cli::check(&config),
        Command::Doctor(doctor) => cli::doctor(doctor),
        Command::Key => cli::key(),
        Command::Probe(probe) => cli::probe(&probe),
        Command::Completions { shell } => cli::completions(shell),
        Command::Man { into } => cli::man(into.as_deref()),
        Command::Audit { what } => cli::audit(&what),
        Command::Run { config, upgrade } => match cli::load(&config) {
            Ok(config) => finish(config.log.format, run(config, upgrade)),
            Err(code) => code,
        },
        Command::Demo => finish(LogFormat::Text, run_demo()),
    }
}

async fn run(config: Config, upgrade: bool) -> Result<(), Box<dyn Error>> {
    let stops = Stops::listen()?;
    let mut reloads = signal(SignalKind::hangup())?;
    let app = if upgrade { App::take_over(config).await? } else { App::start(config).await? };
    let supervisor = Arc::new(Supervisor::from_env());
    let environment = Arc::new(|name: &str| std::env::var(name).ok());
    let watch = app::watch(app.reloader(), environment, Arc::clone(&supervisor), async move || {
        reloads.recv().await;
    });
    let _watch = AbortOnDropHandle::new(tokio::spawn(watch));
    app.supervised(supervisor).run(stops.after(1), stops.after(2)).await?;
    Ok(())
}

async fn run_demo() -> Result<(), Box<dyn Error>> {
    let stops = Stops::listen()?;
    let surroundings = demo::surroundings().await?;
    let (app, listen, admin) = start_demo(&surroundings).await?;
    #[expect(clippy::print_stdout, reason = "the demo speaks to a person")]
    {
        println!("{}", demo::introduction(&surroundings, listen, admin));
    }
    app.run(stops.after(1), stops.after(2)).await?;
    Ok(())
}

/// The addresses were free a moment ago; somebody else, such as another demo, may have taken one since.
async fn start_demo(around: &demo::Surroundings) -> Result<(App, SocketAddr, SocketAddr), Box<dyn Error>> {
    let mut attempts = 10;
    loop {
        let (listen, admin) = demo::addresses().await?;
        attempts -= 1;
        match App::start(demo::config(around, listen, admin)?).await {
            Err(StartError::Serve(_)) if attempts > 0 => {}
            started => return Ok((started?, listen, admin)),
        }
    }
}

fn finish(format: LogFormat, work: impl Future<Output = Result<(), Box<dyn Error>>>) -> ExitCode {
    let format = match format {
        LogFormat::Json => log::Format::Json,
        LogFormat::Text => log::Format::Text,
    };
    let lines = match log::init(format) {
        Ok(lines) => lines,
        Err(fault) => return fail(&fault, ExitCode::from(cli::BAD_CONFIG)),
    };
    log::quiet_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(&fault, ExitCode::FAILURE),
    };
    let ended = runtime.block_on(work);
    // What still runs was given its time, or was told to end at once.
    runtime.shutdown_background();
    drop(lines);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fail(&*fault, ExitCode::FAILURE),
    }
}

#[expect(clippy::print_stderr, reason = "nothing is known yet of how to log")]
fn warn(what: &str, fault: &io::Error) {
    eprintln!("warning: {what}: {fault}");
}

#[expect(clippy::print_stderr, reason = "the log may be what failed")]
fn fail(fault: &dyn Error, code: ExitCode) -> ExitCode {
    eprintln!("resetgate: {}", log::with_causes(fault));
    code
}

/// How urgently the program was told to stop: SIGTERM once is a drain, SIGTERM again or SIGINT the end.
struct Stops(watch::Receiver<u8>);

impl Stops {
    fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (urge, stops) = watch::channel(0_u8);
        tokio::spawn(async move {
            loop {
                let more = tokio::select! {
                    _ = terminate.recv() => 1,
                    _ = interrupt.recv() => 2,
                };
                urge.send_modify(|urgency| *urgency = urgency.saturating_add(more));
            }
        });
        Ok(Self(stops))
    }

    async fn after(&self, urgency: u8) {
        let mut stops = self.0.clone();
        // The sender lives as long as the runtime does.
        let _ = stops.wait_for(|urge| *urge >= urgency).await;
    }
}

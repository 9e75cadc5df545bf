//! What a user of `cargo xtask bench` can say. xtask reads this file too, so that it knows the words
//! before it builds anything.

use std::path::PathBuf;

/// A profile of cargo.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Optimized.
    Release,
    /// Laid out by what load on it showed.
    Dist,
}

/// Which scenarios, and how long.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Scenarios by name, such as S1 S3F; all of them if none is named, or `all` is. `profile` before them
    /// tells where the time of this project goes in each. `micro` is what its parts cost by themselves.
    /// `packets`, which may be followed by test-run, drop or flood, is what the kernel half costs and holds
    /// off
    pub(crate) scenarios: Vec<String>,
    /// Gateways by name, such as nginx,ours; all of a scenario if none is named
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    /// Rounds per scenario
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Milliseconds of load that each gateway gets per round
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) load: u64,
    /// Milliseconds of load before it is another gateway's turn
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(10..))]
    pub(crate) slice: u64,
    /// Few rounds, few tokens, few sizes: whether everything works, not how fast it is
    #[arg(long)]
    pub(crate) quick: bool,
    /// How this project's daemon is compiled: as `cargo xtask build` does, or `cargo xtask dist`, which
    /// takes more than twice as long
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t = Profile::Release)]
    pub(crate) profile: Profile,
    /// Every gateway twice: what differs then is noise
    #[arg(long)]
    pub(crate) twice: bool,
    /// The core of the gateway and that of load and upstream
    #[arg(long, value_name = "GATEWAY,LOAD", default_value = "0,1", value_delimiter = ',')]
    pub(crate) cores: Vec<usize>,
    /// Where results go [default: target/bench/DATE-SECOND.json]; a file that is there is added to
    #[arg(long, value_name = "FILE")]
    pub(crate) into: Option<PathBuf>,
    /// Write tables and picture into docs/ as well; scenarios that are not measured keep theirs
    #[arg(long, conflicts_with_all = ["peers", "quick", "twice"])]
    pub(crate) document: bool,
    /// Measure nothing; take the results of a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenarios", "into"])]
    pub(crate) report: Option<PathBuf>,
    /// Measure nothing; compare two files of results
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["scenarios", "into", "document", "report"])]
    pub(crate) compare: Vec<PathBuf>,
}
